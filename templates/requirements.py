# SPDX-License-Identifier: Apache-2.0
"""Lets the pip of this interpreter install what a wheel requires. Standard library only.

Reads one JSON request line from stdin, prints one line: nonce, blank, JSON answer. layout.py
(release_root) stands before this text. What is pinned keeps the version that it has: pip takes it
or fails, and installs nothing in its place.
"""
import fcntl
import json
import os
import subprocess
import sys
import tempfile

TAIL = 256 << 10


def is_error(line):
    return line.lower().startswith("error:")


def last_error(said):
    """The line of pip's output that tells why; what conflicts stands below its own heading."""
    lines = [line.strip() for line in said.splitlines()]
    heading = "The conflict is caused by:"
    if heading in lines:
        conflict = lines[lines.index(heading) + 1:]
        conflict = conflict[:conflict.index("")] if "" in conflict else conflict
        if conflict:
            return "these conflict: " + "; ".join(conflict[:6])
    errors = [line for line in lines if is_error(line)] or [line for line in lines if line]
    return errors[-1] if errors else "it said nothing"


def run_pip(request, pins):
    """Its exit status, and the end of what it said."""
    words = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check",
             "--no-color", "--progress-bar", "off", "--constraint", pins, "--",
             *request["install"]]
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    if request["mirror"]:
        # Not -i: whoever lists the processes of this host would read the mirror's password.
        environment["PIP_INDEX_URL"] = request["mirror"]
    with tempfile.TemporaryFile() as output:
        status = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, env=environment, cwd="/",
                                check=False).returncode
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - TAIL))
        return status, output.read().decode("utf-8", "replace")


def one_at_a_time(root):
    """pip has no lock of its own, and several hosts may have this environment on one file system;
    whoever comes second finds nothing left to do. The open file is the lock."""
    os.makedirs(root, mode=0o755, exist_ok=True)
    lock = open(os.path.join(root, "pip.lock"), "a", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        pass  # this file system has none
    return lock


def install(request):
    with one_at_a_time(release_root(sys.prefix)), tempfile.TemporaryDirectory(prefix="ds-deploy-pins.") as folder:
        pins = os.path.join(folder, "pins.txt")
        with open(pins, "w", encoding="utf-8") as out:
            out.write("".join(pin + "\n" for pin in request["pins"]))
        status, said = run_pip(request, pins)
    if status == 0:
        return {"ok": True, "changed": "Successfully installed" in said}
    if "No module named pip" in said:
        return {"ok": False, "problem": "%s has no pip; give it one (%s -m ensurepip), or install "
                                        "there: %s" % (sys.executable, sys.executable,
                                                       " ".join(request["install"]))}
    return {"ok": False, "problem": "pip could not install %s: %s"
                                    % (" ".join(request["install"]), last_error(said))}


def main():
    request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    try:
        answer = install(request)
    except OSError as error:
        answer = {"ok": False, "problem": "pip could not be run: %s" % error}
    sys.stdout.write("\n%s %s\n" % (request["nonce"], json.dumps(answer)))
    sys.stdout.flush()


main()
