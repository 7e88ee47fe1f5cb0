# SPDX-License-Identifier: Apache-2.0
"""Lets the pip of this interpreter install what a wheel requires. Standard library only.

Reads one JSON request line from stdin, prints one line: nonce, blank, JSON answer. layout.py
(release_root), durable.py and call_pip.py stand before this text. What is pinned keeps the version
that it has: pip takes it or fails, and installs nothing in its place.
"""
import fcntl
import json
import os
import sys
import tempfile


def run_install(request, pins):
    """Its exit status, and the end of what it said."""
    environment = dict(os.environ)
    if request["mirror"]:
        # Not -i: whoever lists the processes of this host would read the mirror's password.
        environment["PIP_INDEX_URL"] = request["mirror"]
    return call_pip(["install", "--constraint", pins, "--", *request["install"]], environment)


def one_at_a_time(root):
    """pip has no lock of its own, and several hosts may have this environment on one file system;
    whoever comes second finds nothing left to do. The open file is the lock."""
    os.makedirs(root, mode=0o755, exist_ok=True)
    lock = open_ours(os.path.join(root, "pip.lock"), 0o644)
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
        status, said = run_install(request, pins)
    if status == 0:
        return {"ok": True, "changed": "Successfully installed" in said}
    if "No module named pip" in said:
        return {"ok": False, "problem": "%s, or install there: %s" % (no_pip(),
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
