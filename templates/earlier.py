# SPDX-License-Identifier: Apache-2.0
# What a host need not be sent, because an earlier release holds it. release.py stands behind this
# text and gives what it calls.
import os
import stat


def seals(root):
    """SHA-256 of the sealed releases, the latest first."""
    folder = os.path.join(root, "releases")
    found = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.endswith(".json") and HEX64.match(name[:-5]):
            found.append((os.lstat(os.path.join(folder, name)).st_mtime, name[:-5]))
    return [sha256 for _, sha256 in sorted(found, reverse=True)]


def held_files(root, manifest):
    """Where earlier releases should hold what the manifest names: SHA-256 -> (folder, path). Who
    takes a file from there holds it against its hash first."""
    wanted = {entry["sha256"] for entry in manifest["files"]}
    held = {}
    for sha256 in seals(root):
        if sha256 == manifest["wheel"]["sha256"]:
            continue
        folder = os.path.realpath(release_folder(root, sha256))
        try:
            for entry in read_seal(root, sha256)["manifest"]["files"]:
                if entry["sha256"] in wanted:
                    held.setdefault(entry["sha256"], []).append(
                        (folder, installed_path(entry["path"])))
        except (KeyError, TypeError, Refused):
            continue  # not a seal that we wrote
    return held


def is_whole(folder, path, entry):
    """Whether this is a regular file of the release, reached through no link, with the entry's
    content; it is read."""
    full = os.path.join(folder, path)
    try:
        status = os.lstat(full)
        return (full.startswith(folder + os.sep) and os.path.realpath(full) == full
                and stat.S_ISREG(status.st_mode) and status.st_size == entry["size"]
                and hash_file(full) == entry["sha256"])
    except (OSError, ValueError):
        return False


def find_lacking(root, manifest):
    """Where in the manifest those files are that no earlier release holds whole."""
    held = held_files(root, manifest)
    whole = {}
    for entry in manifest["files"]:
        sha256 = entry["sha256"]
        if sha256 not in whole:
            whole[sha256] = any(is_whole(*place, entry) for place in held.get(sha256, ()))
    return [at for at, entry in enumerate(manifest["files"]) if not whole[entry["sha256"]]]


def can_be_linked(full, entry):
    """One inode for both releases: so its mode must do for both, and it must be ours. What
    byte-compiling writes is never shared."""
    status = os.lstat(full)
    return (stat.S_IMODE(status.st_mode) == sealed_mode(entry) and status.st_uid == os.geteuid()
            and not full.endswith(".pyc"))


def take_over(place, full, entry):
    """The file of an earlier release at `full` as well, linked or else copied; False if it is
    damaged there."""
    if not is_whole(*place, entry):
        return False
    source = os.path.join(*place)
    try:
        if can_be_linked(source, entry):
            os.link(source, full)
            return True
    except OSError:
        pass  # another file system, too many links, not allowed: what is wrong shows when copying
    with open(source, "rb") as content:
        write_file(full, entry, content)
    return True


def as_runs(indexes):
    """[0, 1, 2, 7] as [0, 3, 7, 1]: where each run begins and how long it is."""
    runs = []
    for at in indexes:
        if runs and runs[-2] + runs[-1] == at:
            runs[-1] += 1
        else:
            runs += [at, 1]
    return runs


def from_runs(runs, number):
    """Indexes of a list that has `number` things, each once."""
    indexes = []
    for at, length in zip(runs[::2], runs[1::2]):
        if not 0 <= at <= at + length <= number:
            raise Refused("the stream's list of files is not the manifest's")
        indexes.extend(range(at, at + length))
    if len(set(indexes)) != len(indexes):
        raise Refused("the stream's list of files names one twice")
    return indexes
