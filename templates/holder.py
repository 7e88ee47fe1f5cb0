# SPDX-License-Identifier: Apache-2.0
# A process of this machine that another one will look for, by a note in ROOT: who holds the lock of
# an environment, among them. Read by probe and rollout; layout.py and activation.py stand before
# this text.
import grp
import json
import os
import re

ARMED = "armed.json"  # the process that watches the deadline of an activation
OUTLIVES = "outlives.json"  # one that only shows that it does
LOCK = "lock.json"    # who holds it, or held it last and did not give it back
EPOCH = "epoch.json"  # the highest that came, and whose it is


def paths_of_releases(root):
    """What names a release in the maps of a process, proc_pid_maps(5): its SHA-256."""
    place = os.fsencode(os.path.join(os.path.realpath(root), "releases"))
    return re.compile(re.escape(place) + rb"/([0-9a-f]{64})/")


def start_of(pid):
    """When the process began, in ticks since boot: proc_pid_stat(5), field 22; None once it ended."""
    with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as source:
        fields = source.read().rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def this_process(identity):
    return {"id": identity, "pid": os.getpid(), "started": start_of(os.getpid()),
            "boot": boot_id()}


def read_note(root, name):
    """{} where there is none, or one that is not ours."""
    def read():
        fd = os.open(os.path.join(root, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as source:
            text = source.read(8192).decode("utf-8").partition("\n")[0]
        return json.loads(text) if text else {}
    try:
        value = read_again(read)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def is_hidden(said):
    """Whether another user's process has its number, and /proc does not show which (hidepid)."""
    try:
        if said["boot"] != boot_id() or os.path.exists("/proc/%d" % said["pid"]):
            return False
        os.kill(said["pid"], 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        pass
    return False


def still_runs(said):
    """Whether the process that this_process() described does. One that is hidden may."""
    try:
        return (said["started"], said["boot"]) == (start_of(said["pid"]), boot_id())
    except FileNotFoundError:
        return is_hidden(said)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False


def is_there(root, name, identity):
    """Whether the process that wrote the file still runs."""
    said = read_note(root, name)
    return said.get("id") == identity and still_runs(said)


def machine_id():
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            with open(path, encoding="ascii") as source:
                return source.read(64).strip()
        except OSError:
            pass
    return ""


def is_locked(path):
    """Whether a process of this machine has it by flock(2), such as a pip that goes on after the
    program that began it: proc_locks(5)."""
    try:
        status = os.stat(path)
        with open("/proc/locks", encoding="ascii") as source:
            lines = [line.split() for line in source.read(1 << 20).splitlines()]
    except (OSError, ValueError):
        return False
    place = "%02x:%02x:%d" % (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    return any("FLOCK" in fields and place in fields for fields in lines)


def lock_facts(root):
    """Who holds the lock, by what it wrote: a process that runs, one that ended, or one elsewhere,
    on another machine that has this folder; None where nobody does."""
    held = read_note(root, LOCK)
    if not held:
        return None
    said = {key: str(held.get(key, ""))[:200] for key in ("run", "who", "from", "since")}
    if held.get("machine") != machine_id():
        return dict(said, holder="elsewhere")
    runs = still_runs(held) or is_locked(os.path.join(root, LOCK))
    return dict(said, holder="runs" if runs else "ended")


def group_of(root):
    """Whose ROOT is by --owner-group; "" where it is none's."""
    try:
        return grp.getgrgid(os.stat(root).st_gid).gr_name if is_shared(root) else ""
    except (OSError, KeyError):
        return ""


def last_run(root):
    """The run with the highest epoch that came; "" where none did, or its note is damaged."""
    return str(read_note(root, EPOCH).get("run", ""))[:200]


def last_epoch(root):
    epoch = read_note(root, EPOCH).get("epoch", 0)
    return epoch if isinstance(epoch, int) and 0 <= epoch <= 10 ** 12 else 0
