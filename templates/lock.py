# SPDX-License-Identifier: Apache-2.0
# One run at a time changes an environment: its process on this host holds the lock while it lives.
# And a run that was overtaken changes nothing any more: each has an epoch, and hosts refuse an older
# one. durable.py and holder.py stand before this text.
import errno
import fcntl
import json
import os
import time


class Locked(Refused):
    """Another run holds it; `holder` is what it wrote."""

    def __init__(self, text, holder):
        super().__init__(text)
        self.holder = holder


class Overtaken(Refused):
    """A later run was here."""


def shown(holder):
    said = {key: str(holder.get(key, "?"))[:200] for key in ("run", "who", "from", "since")}
    return "run %(run)s of %(who)s from %(from)s, since %(since)s" % said


def refuse_holder(holder, here):
    """Whoever holds the lock, by what it wrote: still there, or not to be judged from here."""
    if holder.get("machine") != machine_id():
        raise Locked("the environment is locked by another machine that shares it (%s); if that run "
                     "is dead: --break-lock" % shown(holder), holder)
    if here or still_runs(holder):
        hidden = "" if here or not is_hidden(holder) else \
            ", which is hidden from this user; if that run is dead: --break-lock"
        raise Locked("the environment is locked by %s (process %s%s)"
                     % (shown(holder), holder.get("pid"), hidden), holder)


def wait_for_note(root):
    """Whoever has just taken the lock writes its name at once."""
    for _ in range(20):
        time.sleep(0.05)
        held = read_note(root, LOCK)
        if held:
            return held
    return {}


def take_lock(root, request):
    """The open file in ROOT that is the lock, and who held it before and ended without giving it
    back."""
    path = os.path.join(root, LOCK)
    if request.get("break_lock") and read_note(root, LOCK).get("machine") not in (None,
                                                                                 machine_id()):
        os.unlink(path)
    end = time.monotonic() + 10
    while True:
        lock = open_ours(path, 0o644)
        held = read_note(root, LOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                lock.close()
                held = held or wait_for_note(root)
                # This run's own process, whose connection was cut, ends within seconds.
                if held.get("run") != request["run"] or time.monotonic() > end:
                    refuse_holder(held, True)
                time.sleep(0.05)
                continue
            # This file system has none, so that what is written there must do.
            elif held and not (request.get("break_lock") and is_hidden(held)):
                refuse_holder(held, False)
        if os.path.lexists(path) and os.path.samestat(os.fstat(lock.fileno()), os.lstat(path)):
            break
        lock.close()  # somebody broke it meanwhile
    held = read_note(root, LOCK)
    note = dict(this_process(request["run"]), run=request["run"], machine=machine_id(),
                who=request["who"], since=request["since"])
    note["from"] = request["from"]
    # One line, then what an earlier and longer one left is cut: a reader never finds half of one.
    line = json.dumps(note).encode("utf-8") + b"\n"
    os.pwrite(lock.fileno(), line, 0)
    lock.truncate(len(line))
    os.fsync(lock.fileno())
    return lock, held if held.get("run") != request["run"] else {}


def give_lock_back(lock):
    lock.truncate(0)
    lock.close()


def epoch_of(root):
    """The highest that came, and the run that has it."""
    known = read_note(root, EPOCH)
    epoch, run = known.get("epoch", 0), known.get("run", "")
    lost = not known and os.path.lexists(os.path.join(root, EPOCH))
    if lost or not isinstance(epoch, int) or not 0 <= epoch <= 10 ** 12:
        raise Refused("%s is damaged: look at it, then remove it" % os.path.join(root, EPOCH))
    return epoch, run


def refuse_overtaken(root, request):
    """Notes the request's epoch if it is the highest that came."""
    epoch, run = epoch_of(root)
    if request["epoch"] < epoch or (request["epoch"] == epoch and request["run"] != run):
        raise Overtaken("run %s (epoch %d) came after this one (epoch %d), which must not change "
                        "this host any more" % (str(run)[:100], epoch, request["epoch"]))
    if request["epoch"] > epoch:
        write_record(root, EPOCH, {"epoch": request["epoch"], "run": request["run"]})
