# SPDX-License-Identifier: Apache-2.0
# Where releases of an environment lie. Probe and rollout both begin with this text.
import os
import re
import stat


def release_root(prefix):
    """The folder of ours for the environment `prefix` (sys.prefix).

    A sibling folder, because as root `pip uninstall` deletes files of a release that lies inside
    sys.prefix; and not one whose path begins with the prefix's text, because pip compares strings.
    """
    prefix = os.path.realpath(prefix)
    if prefix in ("/usr", "/usr/local"):
        return "/var/lib/ds-deploy/" + prefix.strip("/").replace("/", "-")
    parent, name = os.path.split(prefix)
    beside = os.path.join(parent, ".ds-deploy", name)
    inside = os.path.join(prefix, "var", "ds-deploy")
    if os.path.isdir(beside) or (not os.path.isdir(inside) and os.access(parent, os.W_OK)):
        return beside
    return inside


def is_shared(folder):
    """Whether it is its group's: --owner-group makes ROOT and what lies in it so, and nothing else
    of ours has both bits."""
    try:
        mode = os.stat(folder).st_mode
    except FileNotFoundError:
        return False
    return mode & (stat.S_ISGID | stat.S_IWGRP) == stat.S_ISGID | stat.S_IWGRP


def mount_of(path):
    """(file system, source, options) of the mount that holds it, from proc_pid_mountinfo(5)."""
    best, found = "", ("", "", "")
    with open("/proc/self/mountinfo", "rb") as source:
        text = source.read(1 << 20).decode("utf-8", "replace")
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if len(fields) < 6 or len(tail) < 2:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code.group(1), 8)), fields[4])
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, found = mount, (tail[0], tail[1], fields[5])
    return found if best else (kind_of(path), "", "")


def kind_of(path):
    """Of its file system, by stat(1): within a chroot no mount need be listed. "": not known."""
    import subprocess
    try:
        said = subprocess.run(["stat", "-f", "-c", "%T", "--", path], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5,
                              check=False).stdout.decode("ascii", "replace").strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    if said.startswith("UNKNOWN"):
        return ""
    return {"fuseblk": "fuse.", "v9fs": "9p", "gfs/gfs2": "gfs2", "smb": "cifs",
            "smb2": "smb3"}.get(said, said)
