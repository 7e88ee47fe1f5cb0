# SPDX-License-Identifier: Apache-2.0
# What a host notes of the last activations of an environment; read by probe and rollout. Each is one
# file of JSON in ROOT, and its name says how far it came, so that one rename decides.
import json
import os
import re
import time

UNCONFIRMED = "unconfirmed.json"  # active, and nobody has said yet that it stays
OVERDUE = "overdue.json"          # it goes back: the pointer is about to move
CONFIRMED = "confirmed.json"      # the last that stayed
ROLLED_BACK = "rolled-back.json"  # the last went back, and why
RELEASE = re.compile(r"^[0-9a-f]{64}$")


def awake_since_boot():
    """Seconds, with those asleep: no change of the clock moves it. CLOCK_BOOTTIME, time(7)."""
    return time.clock_gettime(7)


def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
        return source.read(64).strip()


def this_machine():
    """Its machine id, machine-id(5); "" where it has none."""
    try:
        with open("/etc/machine-id", encoding="ascii") as source:
            return source.read(64).strip()
    except (OSError, ValueError):
        return ""


def is_elsewhere(record):
    """Whether another machine that shares the environment has it on trial: its clock is no clock
    here."""
    machine = record.get("machine", "")
    return bool(machine) and bool(this_machine()) and machine != this_machine()


def is_releases(value):
    return (isinstance(value, list) and len(value) <= 100 and
            all(isinstance(one, str) and RELEASE.match(one) for one in value))


def is_record(value):
    return (isinstance(value, dict) and isinstance(value.get("id"), str) and
            is_releases(value.get("releases")) and is_releases(value.get("previous")) and
            isinstance(value.get("before"), list) and all(map(is_releases, value["before"])) and
            isinstance(value.get("boot"), str) and
            all(isinstance(value.get(key), (int, float)) for key in ("deadline", "seconds", "at")))


def read_again(read):
    """What read() gives, once it raises no ValueError; for a second or so. Of a file that another
    machine has just replaced, one that caches attributes may have the old length."""
    for wait in (0.1, 0.2, 0.4, 0.8):
        try:
            return read()
        except ValueError:
            time.sleep(wait)
    return read()


def read_record(root, name):
    """None where there is none. Raises ValueError where it is not what we write."""
    def read():
        try:
            fd = os.open(os.path.join(root, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as source:
            try:
                value = json.loads(source.read(1 << 20).decode("utf-8"), parse_constant=int)
            except OSError:
                value = None
        if not is_record(value):
            raise ValueError
        return value
    try:
        return read_again(read)
    except OSError as error:
        raise ValueError("%s cannot be read: %s" % (os.path.join(root, name), error.strerror))
    except ValueError:
        raise ValueError("%s is damaged" % os.path.join(root, name)) from None


def seconds_left(record):
    """Until the host takes it back by itself; 0 where that is due, after a reboot too. On another
    machine it never is."""
    if is_elsewhere(record):
        return record["seconds"]
    if record["boot"] != boot_id():
        return 0
    return max(0, record["deadline"] - awake_since_boot())
