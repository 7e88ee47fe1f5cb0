# SPDX-License-Identifier: Apache-2.0
# Which releases of an environment stay, and how the others are removed: the seal first, so that a
# kill leaves none that counts and is not whole. layout.py, durable.py, trust.py, receive.py,
# release.py, activation.py, dead_man.py and pins.py stand before this text.
import contextlib
import os
import re
import stat
import time

# What runs that were killed leave: the first three are under the lock of a release's .part.
LEFT = re.compile(r"^(?:\.stage-([0-9a-f]{64})|([0-9a-f]{64})\.part|([0-9a-f]{64})\.json\.\d+\.new"
                  r"|.+\.\d+\.new)$")
# File systems that several machines can have mounted; shared_environment.cc has the same.
SHARED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "wekafs", "cifs", "smb3", "9p", "afs", "panfs",
          "pvfs2", "gfs2", "ocfs2", "virtiofs", "fuse.")
ASKED = re.compile(rb"(?:^|\0)DS_DEPLOY_RELEASE=([^\0]*)")
NOT_ASKED = "other machines may use it (%s), and not all of them were asked"


def sure_pointer(root):
    """What is active. Refused where that is not certain: nothing may be removed then."""
    path = os.path.join(root, "active")
    try:
        with open(path, "rb") as pointer:
            names = pointer.read(65536).decode("ascii", "replace").split()
    except FileNotFoundError:
        return []
    if names == ["none"]:
        return []
    if not names or not all(HEX64.match(name) for name in names):
        raise Refused("%s is damaged, so that nobody knows what is active" % path)
    return names


def shared_by(root):
    """The file system's name if other machines can have it mounted, or nobody knows."""
    filesystem = mount_of(os.path.realpath(root))[0]
    return (filesystem or "unknown") if not filesystem or filesystem.startswith(SHARED) else ""


def mapped_releases(root):
    """SHA-256 -> a process that has files of it mapped, or that asked for it by DS_DEPLOY_RELEASE, of
    those that this user may see."""
    inside, found, there = paths_of_releases(root), {}, present(root)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/maps" % pid, "rb") as maps:
                found.update((name.decode(), int(pid)) for name in inside.findall(maps.read()))
            with open("/proc/%s/environ" % pid, "rb") as variables:
                asked = ASKED.search(variables.read())
        except OSError:
            continue  # another user's, or it has ended
        for word in re.findall(rb"[0-9a-f]{12,64}", asked.group(1)) if asked else ():
            found.update((name, int(pid)) for name in there if name.startswith(word.decode()))
    return found


def last_use(root, releases):
    """SHA-256 -> when it was sealed, put on trial or active for the last time, as far as seals and
    notes tell."""
    used = {}
    for sha256 in releases:
        place = release_folder(root, sha256)
        seal = place + ".json"
        used[sha256] = os.lstat(seal if os.path.lexists(seal) else place).st_mtime
    for name in (UNCONFIRMED, OVERDUE, CONFIRMED, ROLLED_BACK):
        record = record_of(root, name)
        for sha256 in (record["releases"] + record["previous"]) if record else ():
            used[sha256] = max(used.get(sha256, 0), record["at"])
    return used


def past_sets(root):
    """Release sets that were active before this one, the latest first, each once."""
    sets = []
    for record in filter(None, (on_trial(root), record_of(root, CONFIRMED))):
        for one in [record["releases"]] + record["before"][::-1]:
            if one and one not in sets:
                sets.append(one)
    return sets


def present(root):
    """SHA-256 of what lies there as a release, with a seal or without one."""
    names = (name[:64] for name in os.listdir(os.path.join(root, "releases"))
             if re.match(r"^[0-9a-f]{64}(\.json)?$", name))
    return sorted(set(names))


def wanted_because(root, keep):
    """SHA-256 -> why it stays, of those that somebody may go back to, or on to."""
    active, trial, past = sure_pointer(root), on_trial(root), past_sets(root)
    why = {}
    others = [sha256 for sha256 in seals(root) if not any(sha256 in one for one in past)]
    for sha256 in [one for one in others if one not in active][:keep]:
        why[sha256] = "it is one of the newest %d others" % keep
    for one in [one for one in past if one != active][:keep]:
        why.update((sha256, "it is one of the last %d that were active" % keep) for sha256 in one)
    for sha256 in trial["releases"] + trial["previous"] if trial else ():
        why[sha256] = "an activation that is not decided may go back to it"
    why.update((sha256, "it is active") for sha256 in active)
    return why


def can_remove(folder):
    """Else its seal might go, and it not. Folders of an --owner-group its members can empty."""
    if not os.path.lexists(folder):
        return True
    status = os.lstat(folder)
    own = os.geteuid() in (0, status.st_uid)
    return is_trusted(status.st_uid) and (
        own or (status.st_mode & stat.S_IWGRP != 0 and is_own_group(status.st_gid)))


def used_because(root, request, releases):
    """SHA-256 -> why it may be in use, or is not ours to remove."""
    shared, now, used = shared_by(root), time.time(), last_use(root, releases)
    why = {}
    days = request.get("keep_days")
    for sha256 in releases:
        if shared and days and now - used[sha256] < days * DAY:
            why[sha256] = "other machines may use it (%s), and it was in use less than %d days " \
                "ago" % (shared, days)
        elif shared and not days and not request["all_asked"]:
            why[sha256] = NOT_ASKED % shared
        if not can_remove(release_folder(root, sha256)):
            why[sha256] = "it belongs to another user"
        if now - used[sha256] < DAY:  # that of a clock that went back is negative
            why[sha256] = "it was in use less than a day ago"
    return why


def mapped_because(request, mapped):
    why = {sha256: "another host that shares it uses it" for sha256 in request.get("in_use", ())}
    why.update((sha256, "process %d uses it" % pid)
               for sha256, pid in mapped.items())
    return why


def inodes(folder):
    """Those of a release's files: inode -> (links, bytes)."""
    found = {}
    for path in walk_files(folder):
        status = os.lstat(os.path.join(folder, path))
        found[status.st_dev, status.st_ino] = (status.st_nlink, status.st_size)
    return found


def freed(releases):
    """Bytes of the files that no other release has; `releases`: inodes() of each."""
    times, known = {}, {}
    for found in releases:
        known.update(found)
        for inode in found:
            times[inode] = times.get(inode, 0) + 1
    return sum(size for inode, (links, size) in known.items() if links == times[inode])


def take_away(root, releases):
    """The seals, then the folders. SHA-256 -> why one is still there."""
    why = {}
    for sha256 in releases:
        seal = release_folder(root, sha256) + ".json"
        try:
            if os.path.lexists(seal):
                os.unlink(seal)
        except OSError as error:
            why[sha256] = "%s: %s" % (error.strerror, seal)
    if releases:
        sync_folder(os.path.join(root, "releases"))
    for sha256 in releases:
        try:
            if sha256 not in why:
                remove_tree(release_folder(root, sha256))
        except OSError as error:
            why[sha256] = "%s: %s" % (error.strerror, error.filename)
    return why


def leftovers(root, older):
    """(folder, name) of what runs that were killed left, if it is older than so many seconds."""
    for folder in (root, os.path.join(root, "releases")):
        for name in sorted(os.listdir(folder) if os.path.isdir(folder) else ()):
            try:
                age = time.time() - os.lstat(os.path.join(folder, name)).st_mtime
            except OSError:
                continue
            if LEFT.match(name) and age > older:
                yield folder, name


def remove_leftover(folder, name):
    """False while a run holds the lock of what it belongs to."""
    sha256 = next(filter(None, LEFT.match(name).groups()), None)
    try:
        if sha256 is None:
            remove_tree(os.path.join(folder, name))
            return True
        path = os.path.join(folder, sha256 + ".part")
        part, locked = open_part(path)
        with part:
            if locked:
                remove_tree(os.path.join(folder, name))
            if os.path.lexists(path) and os.fstat(part.fileno()).st_size == 0:
                os.unlink(path)
            return bool(locked)
    except (Refused, OSError):
        return False


def reasons(request, root, there, mapped):
    """SHA-256 -> why it stays."""
    why = used_because(root, request, there)
    why.update((sha256, PROMISED) for sha256 in pins_of(root))
    why.update(mapped_because(request, mapped))
    why.update(wanted_because(root, request["keep"]))
    return why


def clean(request, root):
    """Removes the releases that nobody needs. dry: only tells."""
    answer = {"removed": [], "kept": [], "bytes": 0, "leftovers": [], "in_use": [], "shared": ""}
    if not os.path.isdir(os.path.join(root, "releases")):
        return answer
    dry = request.get("dry", False)
    with contextlib.nullcontext() if dry else deciding(root):
        there, mapped = present(root), mapped_releases(root)
        why = reasons(request, root, there, mapped)
        sizes = {sha256: inodes(release_folder(root, sha256)) for sha256 in there
                 if sha256 not in why}
        if not dry:
            why.update(take_away(root, list(sizes)))
    left = [os.path.relpath(os.path.join(folder, name), root)
            for folder, name in leftovers(root, DAY) if dry or remove_leftover(folder, name)]
    removed = [sha256 for sha256 in there if sha256 not in why]
    return dict(answer, removed=removed, bytes=freed([sizes[sha256] for sha256 in removed]),
                kept=[{"sha256": sha256, "because": why[sha256]} for sha256 in there
                      if sha256 in why],
                leftovers=sorted(left), in_use=sorted(set(mapped) & set(there)),
                shared=shared_by(root))
