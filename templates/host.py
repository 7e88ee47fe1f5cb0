# SPDX-License-Identifier: Apache-2.0
"""The host's side of a rollout: stage, verify, activate, roll back, and of a look at what is active.
Standard library only.

Reads one JSON request line from stdin (stage: the stream's bytes follow), prints one line: nonce,
blank, JSON answer. The texts that phase.cc names stand before this one.
"""
import json
import os
import py_compile
import sys
import sysconfig


def install_hook(request, root):
    """Our module and the two files that start it; written only where they differ."""
    site = sysconfig.get_paths()["purelib"]
    hook = request["hook"].replace("@ROOT@", ascii(os.path.realpath(root)))
    files = [("_ds_deploy.py", hook),
             ("ds_deploy.start", "_ds_deploy:activate\n"),
             ("ds_deploy.pth", "import _ds_deploy; _ds_deploy.activate()\n")]
    changed = False
    for name, text in files:
        path = os.path.join(site, name)
        try:
            with open(path, "rb") as present:
                same = present.read() == text.encode("ascii")
        except OSError:
            same = False
        if not same:
            write_whole(path, text.encode("ascii"), 0o644)
            changed = True
    if changed:
        py_compile.compile(os.path.join(site, "_ds_deploy.py"), quiet=1)
    return changed


def activate(request, root):
    wanted = request["releases"]
    for sha256 in wanted:
        if read_seal(root, sha256) is None:
            raise Refused("release %s is not sealed" % sha256[:12])
    changed = install_hook(request, root)
    previous = read_pointer(root)
    if previous != wanted:
        write_whole(os.path.join(root, "active"), point_at(wanted), 0o644)
        changed = True
    return {"previous": previous, "changed": changed}


def roll_back(request, root):
    previous = request["releases"]
    for sha256 in previous:
        if not os.path.isdir(release_folder(root, sha256)):
            raise Refused("the previous release %s is gone" % sha256[:12])
    if read_pointer(root) != previous:
        write_whole(os.path.join(root, "active"), point_at(previous), 0o644)
    return {}


def main():
    os.umask(0o022)
    request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    phases = {"lacking": lacking, "stage": stage, "verify": verify, "activate": activate,
              "rollback": roll_back, "check": check}
    try:
        answer = phases[request["phase"]](request, release_root(sys.prefix))
        answer["ok"] = True
    except Damaged as damaged:
        answer = {"ok": False, "problem": str(damaged), "checksum": True, "again": damaged.again}
    except Refused as refused:
        answer = {"ok": False, "problem": str(refused)}
    except OSError as error:
        answer = {"ok": False, "problem": "%s: %s" % (error.strerror, error.filename)}
    sys.stdout.write("\n%s %s\n" % (request["nonce"], json.dumps(answer)))
    sys.stdout.flush()


main()
