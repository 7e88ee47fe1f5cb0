# SPDX-License-Identifier: Apache-2.0
# What another machine wrote to an environment that both have on a shared file system, as this one
# sees it: attributes and names are cached there for seconds (nfs(5), acregmax and acdirmax).
# durable.py, holder.py and lock.py stand before this text.
import os
import time


def is_seen(request, root):
    """The lock of that run and machine; or these releases, and them active."""
    if "lock" in request:
        note, wanted = read_note(root, LOCK), request["lock"]
        return note.get("run") == wanted["run"] and \
            wanted["machine"] in ("", note.get("machine"))
    places = [os.path.join(root, "releases", sha256 + ".json") for sha256 in request["releases"]]
    return read_pointer(root) == request["releases"] and all(map(os.path.isfile, places))


def what_is_seen(request, root):
    if "lock" not in request:
        return "active is " + ("+".join(name[:12] for name in read_pointer(root)) or "none")
    note = read_note(root, LOCK)
    return "not its lock" + (", but that of %s" % shown(note) if note else "")


def see(request, root):
    """Waits for it, so many seconds."""
    end = time.monotonic() + request["seconds"]
    while not is_seen(request, root):
        if time.monotonic() > end:
            raise Refused(
                "what another host wrote to %s does not show here after %d s: %s; look whether both "
                "have one folder there, and at how long the mount caches (actimeo in nfs(5))"
                % (root, request["seconds"], what_is_seen(request, root)))
        time.sleep(0.2)
    return {}
