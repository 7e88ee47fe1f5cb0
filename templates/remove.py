# SPDX-License-Identifier: Apache-2.0
# Takes releases out of an environment, or all that is there of ds-deploy. keep.py, lock.py and
# launchers.py stand before this text; host.py, behind it, gives the lock back.
import glob
import os
import sysconfig

# What lies in ROOT beside the releases.
NOTES = ("active", BACK, CALLED_OFF, "decide.lock", UNCONFIRMED, OVERDUE, CONFIRMED, ROLLED_BACK,
         ARMED, OUTLIVES, EPOCH, LOCK, HISTORY, PINS, "pip.lock")
PARENTS = (".ds-deploy", "ds-deploy")  # of ROOT, where they are ours: release_root()


def named(why):
    return [{"what": what, "because": why[what]} for what in sorted(why)]


def refuse_shared(request, root):
    shared = shared_by(root)
    if shared and not request["all_asked"]:
        raise Refused("%s: " % root + NOT_ASKED % shared)


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
    if request["releases"] is not None:  # else all goes that nobody uses
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


def hook_files(root, why):
    """In the order in which they can go: what starts the hook before what it starts."""
    site = sysconfig.get_paths()["purelib"]
    hook = os.path.join(site, "_ds_deploy.py")
    try:
        with open(hook, encoding="utf-8") as source:
            own = "ROOT = %s\n" % ascii(os.path.realpath(root)) in source.read()
    except FileNotFoundError:
        own = True
    except (OSError, ValueError):
        own = False
    if not own:
        why[hook] = "it is not the hook of this environment"
        return []
    return ([os.path.join(site, name) for name in ("ds_deploy.pth", "ds_deploy.start")] + [hook] +
            glob.glob(os.path.join(glob.escape(site), "__pycache__", "_ds_deploy.*.pyc")))


def remove_root(root, why):
    """Our files in ROOT, and the folders that are empty then."""
    removed = remove_files([os.path.join(root, name) for name in NOTES], why)
    for folder, name in leftovers(root, float("-inf")):
        path = os.path.join(folder, name)
        if remove_leftover(folder, name):
            removed.append(path)
        else:
            why[path] = "a run may still write it"
    releases, parent = os.path.join(root, "releases"), os.path.dirname(root)
    for folder in [releases, root] + [parent] * (os.path.basename(parent) in PARENTS):
        try:
            os.rmdir(folder)
        except OSError:
            pass  # what is in it is named below, or is of another environment
    for folder in (root, releases):
        for name in sorted(os.listdir(folder) if os.path.isdir(folder) else ()):
            path = os.path.join(folder, name)
            if path != releases and path not in why and name[:64] not in why:
                why[path] = "ds-deploy did not write it"
    return removed


def remove_all(request, root):
    why = {}
    files = remove_files(launchers_of(root) + hook_files(root, why), why)
    removed, size = [], 0
    if os.path.isdir(os.path.join(root, "releases")):
        removed, size, stays = remove_releases(request, root, present(root))
        why.update(stays)
    if os.path.isdir(root):
        files += remove_root(root, why)
    unlock(request, root)
    return {"removed": removed, "bytes": size, "files": files, "stays": named(why)}


def remove(request, root):
    """releases: SHA-256 of those that go, or None: all that ds-deploy has here, hook and launchers
    too."""
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
            return remove_all(request, root)
        removed, size, why = remove_releases(request, root, chosen)
    return {"removed": removed, "bytes": size, "files": [], "stays": named(why)}
