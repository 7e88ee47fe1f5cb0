# SPDX-License-Identifier: Apache-2.0
"""The host's side of a rollout: stage, verify, activate, roll back, and of a look at what is active.
Standard library only.

Reads JSON request lines from stdin (stage, pip-send: the stream's bytes follow) until it ends;
answers each by one line: nonce, blank, JSON. The texts that phase.cc names stand before this one.
"""
import contextlib
import json
import os
import py_compile
import sys
import sysconfig
import time


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
        give_as_root_is(path, root)
    if changed:
        # By default SOURCE_DATE_EPOCH decides.
        py_compile.compile(os.path.join(site, "_ds_deploy.py"), quiet=1,
                           invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    return changed


def recover(request, root):
    """Finishes what an earlier run left undecided, if it is the one that the facts told of."""
    go_back(root, "the run that activated it ended before it was confirmed",
            request["activation"])
    return {"releases": read_pointer(root)}


def show_outliving(request, root):
    """Starts a process that a later connection will look for."""
    make_root(root, None)
    start_and_see(root, request["dead_man"], ["probe", root, request["run"]], OUTLIVES)
    return {}


def is_outlived(request, root):
    """Asked over another connection: is that process still there? It ends then. systemd-logind
    ends the processes of a session in the moments after it."""
    if os.path.isdir("/run/systemd/system"):
        time.sleep(1)
    there = is_there(root, OUTLIVES, request["run"])
    if os.path.lexists(os.path.join(root, OUTLIVES)):
        os.unlink(os.path.join(root, OUTLIVES))
    return {"outlives": there}


def activate(request, root):
    wanted = request["releases"]
    for sha256 in wanted:
        if read_seal(root, sha256) is None:
            raise Refused("release %s is not sealed" % sha256[:12])
    changed = install_hook(request, root)
    scripts = install_launchers(request, root)
    changed |= scripts.pop("changed")
    identity, seconds = request["activation"], request["confirm_timeout"]
    with deciding(root):
        previous = read_pointer(root)
        if previous == wanted:
            return dict(scripts, previous=previous, changed=changed)
        put_on_trial(root, identity, wanted, previous, seconds, request.get("back", False),
                     who_asks(request))
    try:
        if request["armed"]:
            start_and_see(root, request["dead_man"], ["watch", root, identity], ARMED)
        with deciding(root):
            trial = record_of(root, UNCONFIRMED)
            if not trial or trial["id"] != identity or seconds_left(trial) <= 0:
                raise Refused("it was taken back before it was active")
            write_note(root, "active", point_at(wanted))
            note_use(root, previous + wanted)
            note_history(root, "activated", trial)
    except BaseException as error:
        go_back(root, "it could not be activated: %s" % error, identity)
        raise
    return dict(scripts, previous=previous, changed=True)


def confirmed(request, root):
    return keep(root, request["activation"])


def roll_back(request, root):
    identity = request["activation"]
    if not go_back(root, request["because"], identity, True):
        call_off(root, identity)
    return {"releases": read_pointer(root)}


HELD = []  # the lock, while this process has it


def lock(request, root):
    """For as long as this process lives. The epoch that this environment has seen, who held the
    lock last and ended without giving it back, what is active or on trial, and what is worth
    knowing of who may write here."""
    group = group_asked(request)
    refuse_new_group(root, group)
    make_root(root, group)
    taken, before = take_lock(root, request)
    HELD.append(taken)
    share_root(root, group)
    trial = on_trial(root)
    return {"epoch": epoch_of(root)[0], "taken_over": shown(before) if before else "",
            "active": read_pointer(root), "trial": trial["id"] if trial else "",
            "remark": groups_that_write(root)}


def unlock(_request, _root):
    while HELD:
        give_lock_back(HELD.pop())
    return {}


def records(request, root):
    """What the coordinator noted of releases when it staged them; null where it noted nothing."""
    found = {}
    for sha256 in request["releases"]:
        found[sha256] = None
        with contextlib.suppress(Refused):
            seal = read_seal(root, sha256)
            found[sha256] = seal.get("record") if seal else None
    return {"records": found}


PHASES = {"lock": lock, "unlock": unlock, "recover": recover, "show-outliving": show_outliving,
          "is-outlived": is_outlived, "lacking": lacking, "stage": stage, "verify": verify,
          "activate": activate, "keep": confirmed, "rollback": roll_back, "check": check, "see": see,
          "records": records, "history": history, "pin": pin,
          "clean": clean, "remove": remove, "pip-lacking": lacking_by_pip, "pip-send": take_wheel,
          "pip-install": install_by_pip, "pip-verify": verify_by_pip,
          "relay-open": relay_open, "relay-close": relay_close}
STREAMED = ("stage", "pip-send")  # bytes follow the request, unless other hosts give them


# What ends what was begun is never refused because of who may write here.
ENDS = ("unlock", "recover", "keep", "rollback", "relay-close")


def answer_to(request, root):
    try:
        if request["phase"] not in ENDS:
            learn_owners(request)
            refuse_strangers(root)
        os.umask(0o002 if is_shared(root) else 0o022)
        if "epoch" in request:
            refuse_overtaken(root, request)
        return dict(PHASES[request["phase"]](request, root), ok=True)
    except Damaged as damaged:
        return {"ok": False, "problem": str(damaged), "checksum": True, "again": damaged.again}
    except (Locked, Overtaken) as refused:
        return {"ok": False, "problem": str(refused), "locked": True}
    except RelayFailed as failed:
        return {"ok": False, "problem": str(failed), "relay_failed": True}
    except Refused as refused:
        return {"ok": False, "problem": str(refused)}
    except OSError as error:
        return {"ok": False, "problem": "%s: %s" % (error.strerror, error.filename)}


def main():
    root = release_root(sys.prefix)
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line.decode("utf-8"))
        if "more" in request:
            request.update(json.loads(sys.stdin.buffer.read(request["more"]).decode("utf-8")))
        answer = answer_to(request, root)
        relay = request.get("relay")
        if relay:
            answer["relay"] = relay_account()
        sys.stdout.write("\n%s %s\n" % (request["nonce"], json.dumps(answer)))
        sys.stdout.flush()
        by_hosts = relay and relay["sources"]
        if request["phase"] in STREAMED and not by_hosts and not answer.get("changed"):
            break  # what is left of the stream is no request


try:
    main()
finally:
    drop_wheels()
