# SPDX-License-Identifier: Apache-2.0
# The dead-man's switch: an activation stays only if the coordinator says so within its time, else
# the host goes back by itself. The host alone decides which of the two came first, by one rename.
# durable.py, activation.py, holder.py and history.py stand before this text.
import base64
import contextlib
import fcntl
import json
import os
import pwd
import shutil
import subprocess
import sys
import time

BACK = "back"            # the pointer of before, ready to be renamed when the disk is full
CALLED_OFF = "called-off"  # an activation that must not begin any more
PROBE_SECONDS = 900      # a process that only shows that it is still there


@contextlib.contextmanager
def deciding(root):
    """One decision at a time in this environment."""
    with contextlib.ExitStack() as held:
        try:
            lock = held.enter_context(open_ours(os.path.join(root, "decide.lock"), 0o644))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except FileNotFoundError:
            raise
        except OSError:
            pass  # full, read-only or without locks; the rename decides all the same
        yield


def record_of(root, name):
    try:
        return read_record(root, name)
    except ValueError as damaged:
        raise Refused("%s; it says what this host goes back to: look at it, write the pointer %s "
                      "by hand if it must change, then remove it"
                      % (damaged, os.path.join(root, "active"))) from None


def on_trial(root):
    return record_of(root, UNCONFIRMED) or record_of(root, OVERDUE)


def confirmed_before(root, previous, back_to=None):
    """Release sets to go back to, the newest last: what is active, and what was confirmed before.
    From one that was gone back to it goes further back, never forward."""
    last = record_of(root, CONFIRMED)
    earlier = last["before"] if last and last["releases"] == previous else []
    if back_to is None:
        return (earlier + [previous])[-20:]
    at = max((at for at, one in enumerate(earlier) if one == back_to), default=len(earlier))
    return earlier[:at]


def put_on_trial(root, activation, releases, previous, seconds, back=False, by=None):
    """The note of what is about to happen, on disk before it happens."""
    if on_trial(root):
        raise Refused("another activation of this environment is not decided yet")
    if activation == called_off(root):
        raise Refused("it was called off before it began")
    write_note(root, BACK, point_at(previous))
    record = {"schema": "ds-deploy.activation/1", "id": activation, "releases": releases,
              "previous": previous, "boot": boot_id(), "machine": this_machine(),
              "before": confirmed_before(root, previous, releases if back else None),
              "back": bool(back), "by": by or {},
              "deadline": awake_since_boot() + seconds, "seconds": seconds, "at": time.time()}
    write_record(root, UNCONFIRMED, record)
    if os.path.lexists(os.path.join(root, ROLLED_BACK)):
        os.unlink(os.path.join(root, ROLLED_BACK))  # no more the last that happened


def keep(root, activation):
    """The coordinator's word that it stays. How it ended: confirmed, or rolled back and why."""
    with deciding(root):
        trial = record_of(root, UNCONFIRMED)
        if trial and trial["id"] == activation and seconds_left(trial) > 0:
            os.rename(os.path.join(root, UNCONFIRMED), os.path.join(root, CONFIRMED))
            sync_folder(root)
            note_history(root, "confirmed", trial)
            return {"state": "confirmed"}
    trial = on_trial(root)
    if trial and trial["id"] == activation:
        go_back(root, "its confirmation came after its deadline", activation)
    for name, state in ((CONFIRMED, "confirmed"), (ROLLED_BACK, "rolled-back")):
        record = record_of(root, name)
        if record and record["id"] == activation:
            return {"state": state, "because": str(record.get("because", ""))}
    raise Refused("nothing of activation %s is known here" % activation)


def note_use(root, releases):
    """The time of a seal is when its release was active last."""
    for sha256 in releases:
        seal = os.path.join(root, "releases", sha256 + ".json")
        with contextlib.suppress(OSError):  # the notes of activations tell too
            try:
                os.utime(seal)
            except PermissionError:  # another member's of ROOT's group
                with open(seal, "rb") as content:
                    write_whole(seal, content.read(), 0o444)


def move_pointer_back(root, previous):
    for sha256 in previous:
        if not os.path.isdir(os.path.join(root, "releases", sha256)):
            raise Refused("the previous release %s is gone" % sha256[:12])
    active = read_pointer(root)
    if active == previous:
        return
    note_use(root, active + previous)
    try:
        write_note(root, "active", point_at(previous))
    except OSError:  # no space for one more file: the one that was written before
        with open(os.path.join(root, BACK), "rb") as back:
            if back.read(65536) != point_at(previous):
                raise
        os.rename(os.path.join(root, BACK), os.path.join(root, "active"))
        sync_folder(root)


def write_record(root, name, record):
    write_note(root, name, json.dumps(record).encode("utf-8"))


def called_off(root):
    """The activation that its run took back before this host had begun it."""
    try:
        with open(os.path.join(root, CALLED_OFF), encoding="utf-8") as source:
            return source.read(1000)
    except (OSError, ValueError):
        return None


def call_off(root, activation):
    """One that comes late, after the word to go back, must not begin. Without room for this note it
    has none for its own; should there be some by then, its deadline takes it back."""
    with contextlib.suppress(OSError):
        if os.path.isdir(root):
            write_note(root, CALLED_OFF, activation.encode("utf-8"))


def begin_return(root, activation, confirmed_too):
    """The record of what goes back now, and its file says so; None where nothing does."""
    trial = on_trial(root)
    if trial and trial["id"] != activation:
        return None
    if not trial:
        last = record_of(root, CONFIRMED) if confirmed_too else None
        if not last or last["id"] != activation:
            return None
        write_record(root, OVERDUE, last)  # it stays already, and goes back all the same
        return last
    if not os.path.lexists(os.path.join(root, OVERDUE)):
        os.rename(os.path.join(root, UNCONFIRMED), os.path.join(root, OVERDUE))
        sync_folder(root)
    return trial


def forget_confirmed(root, trial):
    """What was confirmed before it is what was confirmed last."""
    last = record_of(root, CONFIRMED)
    if last and last["id"] == trial["id"]:
        write_record(root, CONFIRMED, dict(last, id=last["id"] + ".back", previous=last["releases"],
                                           releases=last["previous"], before=last["before"][:-1]))


def go_back(root, because, activation, confirmed_too=False):
    """Ends the trial of that activation with what was active before; finishes what a killed process
    began. The record of what went back, or None where nothing did."""
    with deciding(root):
        trial = begin_return(root, activation, confirmed_too)
        if not trial:
            return None
        move_pointer_back(root, trial["previous"])
        overdue, ended = os.path.join(root, OVERDUE), os.path.join(root, ROLLED_BACK)
        trial.update(because=because, at=time.time())
        try:
            forget_confirmed(root, trial)
            write_record(root, ROLLED_BACK, trial)
            os.unlink(overdue)
        except OSError:  # no space to say why
            os.rename(overdue, ended)
        sync_folder(root)
        note_history(root, "rolled-back", trial, back=True)
    return trial


def manager_outlives():
    """systemd's; a user's own ends soon after the last session does, but for one that lingers."""
    if not os.path.isdir("/run/systemd/system") or not shutil.which("systemd-run"):
        return False
    if os.geteuid() == 0:
        return True
    try:
        return os.path.exists("/var/lib/systemd/linger/" + pwd.getpwuid(os.geteuid()).pw_name)
    except KeyError:
        return False


def start_outliving(program, words):
    """Runs it so that it lives on when this session ends: by systemd where that works, else as a
    process that has left the session, which is given back."""
    code = "import base64; exec(base64.b64decode('%s').decode())" \
        % base64.b64encode(program.encode("utf-8")).decode("ascii")
    command = [sys.executable, "-I", "-S", "-B", "-c", code] + words
    if manager_outlives():
        manager, mine = "systemd-run", [] if os.geteuid() == 0 else ["--user"]
        try:
            if subprocess.run([manager] + mine + ["--collect", "--quiet", "--"] + command, cwd="/",
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=10, check=False).returncode == 0:
                return None
        except (OSError, subprocess.SubprocessError):
            pass
    return subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True)


def start_and_see(root, program, words, name):
    """words: mode, ROOT, identity."""
    child = start_outliving(program, words)
    end = time.monotonic() + 20
    while not is_there(root, name, words[2]):
        if time.monotonic() > end or (child and child.poll() is not None):
            write_record(root, name, {})  # says what it could not: a full disk, as a rule
            raise Refused("no process could be started that outlives this session")
        time.sleep(0.01)


def watch(root, activation):
    """Until the activation is decided, or its time is over."""
    while True:
        try:
            trial = read_record(root, UNCONFIRMED)
            left = seconds_left(trial) if trial else 0
            trial = trial or read_record(root, OVERDUE)  # whoever began it may be dead
            if not trial or trial["id"] != activation:
                return
            if left <= 0:
                go_back(root, "the coordinator did not confirm it within %d s" % trial["seconds"],
                        activation)
                return
        except (OSError, ValueError, Refused):
            if not os.path.isdir(root):
                return
            left = 5
        time.sleep(min(1, left))


def show_life(root):
    end = awake_since_boot() + PROBE_SECONDS
    while os.path.lexists(os.path.join(root, OUTLIVES)) and awake_since_boot() < end:
        time.sleep(1)
