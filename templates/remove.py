# SPDX-License-Identifier: Apache-2.0
# Takes releases out of an environment, or all that is there of ds-deploy. keep.py, lock.py and
# launchers.py stand before this text; host.py, behind it, gives the lock back.
import contextlib
import glob
import os
import re
import sys
import sysconfig
import time

# What lies in ROOT beside the releases. The lock is the last to go: until then nobody else begins.
NOTES = ("active", BACK, CALLED_OFF, "decide.lock", UNCONFIRMED, OVERDUE, CONFIRMED, ROLLED_BACK,
         ARMED, OUTLIVES, EPOCH, HISTORY, PINS, "pip.lock", LOCK)
# What network file systems make of a file that goes while it is open, until it is closed: our locks.
STILL_OPEN = (".nfs", ".fuse_hidden")
PARENTS = (".ds-deploy", "ds-deploy")  # of ROOT, where they are ours: release_root()
HOOK_FILES = ("ds_deploy.pth", "ds_deploy.start", "_ds_deploy.py")  # what starts it comes first


def named(why):
    return [{"what": what, "because": why[what]} for what in sorted(why)]


def refuse_shared(request, root):
    shared = shared_by(root)
    if shared and not request["all_asked"]:
        raise Refused("%s: " % root + NOT_ASKED % shared + "; if none of them uses it: --also-shared")


def refuse_active(root, chosen):
    """`chosen`: SHA-256 of some, or None for all."""
    trial, active = on_trial(root), sure_pointer(root)
    if trial and chosen is None:
        raise Refused("an activation is not decided yet")
    if active and chosen is None:
        raise Refused("release %s is active; first: ds-deploy rollback --to pip" % active[0][:12])
    for sha256 in chosen or ():
        if sha256 in active:
            raise Refused("release %s is active" % sha256[:12])
        if trial and sha256 in trial["releases"] + trial["previous"]:
            raise Refused("release %s is named by an activation that is not decided yet"
                          % sha256[:12])


def remove_releases(request, root, chosen):
    """(removed, bytes, SHA-256 -> why one stays)"""
    there, mapped = present(root), mapped_because(request, mapped_releases(root))
    why = {sha256: "it is not there" for sha256 in chosen if sha256 not in there}
    why.update((sha256, "it belongs to another user") for sha256 in chosen
               if not can_remove(release_folder(root, sha256)))
    why.update((sha256, mapped[sha256]) for sha256 in chosen if sha256 in mapped)
    why.update((sha256, PROMISED) for sha256 in pins_of(root) if sha256 in chosen)
    sizes = {sha256: inodes(release_folder(root, sha256)) for sha256 in sorted(set(chosen))
             if sha256 not in why}
    why.update(take_away(root, list(sizes)))
    removed = [sha256 for sha256 in sizes if sha256 not in why]
    return removed, freed([sizes[sha256] for sha256 in removed]), why


def remove_files(paths, why):
    """Those that are gone; `why` gets the others."""
    removed = []
    for path in paths:
        try:
            os.unlink(path)
            removed.append(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            why[path] = error.strerror
    return removed


def is_own_hook(hook, root):
    """Also where there is none: what starts it may be there."""
    try:
        with open(hook, encoding="utf-8") as source:
            return "ROOT = %s\n" % ascii(os.path.realpath(root)) in source.read()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def unfinished(path):
    """What write_whole() left of it where it was killed."""
    return [name for name in glob.glob(glob.escape(path) + ".*.new")
            if re.match(r"\.\d+\.new$", name[len(path):])]


def hook_files(root, why):
    """In the order in which they can go."""
    site = sysconfig.get_paths()["purelib"]
    paths = [os.path.join(site, name) for name in HOOK_FILES]
    if not is_own_hook(paths[-1], root):
        why[paths[-1]] = "it is not the hook of this environment"
        return []
    paths += [rest for path in paths for rest in unfinished(path)]
    paths += glob.glob(os.path.join(glob.escape(site), "__pycache__", "_ds_deploy.*.pyc*"))
    return [path for path in paths if os.path.lexists(path)]


def files_outside(root, why):
    """Ours in the folders of the environment."""
    scripts, names = sysconfig.get_path("scripts"), {CHECK}
    for sha256 in releases_in(root):
        names |= commands_of(release_folder(root, sha256))
    rests = [rest for name in sorted(names) for rest in unfinished(os.path.join(scripts, name))]
    return launchers_of(root) + rests + hook_files(root, why)


def releases_in(root):
    return present(root) if os.path.isdir(os.path.join(root, "releases")) else []


def folders_of(root):
    """ROOT and those to it that are ours, where they are empty."""
    parent = os.path.dirname(root)
    own = os.path.basename(parent) in PARENTS or parent == os.path.join(
        os.path.realpath(sys.prefix), "var")
    return [os.path.join(root, "releases"), root] + [parent] * own


def remove_empty(folders):
    for folder in folders:
        with contextlib.suppress(OSError):  # what is in it is named, or is another's
            os.rmdir(folder)


def refuse_what_stays(request, root, releases, files):
    """All goes or nothing does: a job may go on with what it has."""
    if os.path.isdir(root):
        refuse_shared(request, root)
    mapped = mapped_because(request, mapped_releases(root)) if releases else {}
    pins = pins_of(root)
    for sha256 in releases:
        why = mapped.get(sha256)
        if not why and sha256 in pins:
            until = time.strftime("%Y-%m-%d", time.localtime(pins[sha256]))
            why = "%s until %s; to take it all the same, remove %s first" % (
                PROMISED, until, os.path.join(root, PINS))
        if not why and not can_remove(release_folder(root, sha256)):
            why = "it belongs to another user"
        if why:
            raise Refused("release %s stays, and so does all else: %s" % (sha256[:12], why))
    for folder in sorted({os.path.dirname(path) for path in files}):
        if not os.access(folder, os.W_OK):
            raise Refused("%s cannot be written, and files of ds-deploy are in it" % folder)


def look_at_all(request, root):
    """What would go if all of it went; changes nothing. Refused where it would be."""
    why, releases = {}, releases_in(root)
    files = files_outside(root, why)
    parent = os.path.dirname(root)
    empty = os.path.basename(parent) in PARENTS and os.path.isdir(parent) and not os.listdir(parent)
    if not files and not os.path.isdir(root) and not empty:
        return {"nothing": True}
    refuse_what_stays(request, root, releases, files)
    sizes = [inodes(release_folder(root, sha256)) for sha256 in releases]
    return {"nothing": False, "removed": releases, "bytes": freed(sizes), "files": files,
            "stays": named(why)}


def remove_root(root, why):
    """Our files in ROOT, and the folders that are empty then."""
    removed = []
    for folder, name in leftovers(root, float("-inf")):
        path = os.path.join(folder, name)
        if remove_leftover(folder, name):
            removed.append(path)
        else:
            why[path] = "a run may still write it"
    removed += remove_files([os.path.join(root, name) for name in NOTES], why)
    remove_empty(folders_of(root))
    releases = os.path.join(root, "releases")
    for folder in (root, releases):
        for name in sorted(os.listdir(folder) if os.path.isdir(folder) else ()):
            path = os.path.join(folder, name)
            if path != releases and path not in why and name[:64] not in why and \
                    not name.startswith(STILL_OPEN):
                why[path] = "ds-deploy did not write it"
    return removed


def remove_all(request, root):
    why, releases = {}, releases_in(root)
    files = files_outside(root, why)
    refuse_what_stays(request, root, releases, files)
    files = remove_files(files, why)
    remove_empty([os.path.join(sysconfig.get_paths()["purelib"], "__pycache__")])
    removed, size = [], 0
    if releases:
        removed, size, stays = remove_releases(request, root, releases)
        why.update(stays)
    if os.path.isdir(root):
        files += remove_root(root, why)
    else:
        remove_empty(folders_of(root))
    unlock(request, root)
    return {"removed": removed, "bytes": size, "files": files, "stays": named(why)}


def remove(request, root):
    """releases: SHA-256 of those that go, or None: all that ds-deploy has here, hook and launchers
    too; look: only tells."""
    if request.get("look"):
        return look_at_all(request, root)
    chosen = request["releases"]
    for sha256 in chosen or ():
        release_folder(root, sha256)
    if not os.path.isdir(root):
        if chosen is None:
            return remove_all(request, root)
        return {"removed": [], "bytes": 0, "files": [],
                "stays": named(dict.fromkeys(chosen, "it is not there"))}
    refuse_shared(request, root)
    with deciding(root):
        refuse_active(root, chosen)
        if chosen is None:
            answer = remove_all(request, root)
        else:
            removed, size, why = remove_releases(request, root, chosen)
    if chosen is None:
        remove_empty(folders_of(root))  # the last lock is closed
        return answer
    return {"removed": removed, "bytes": size, "files": [], "stays": named(why)}
