# SPDX-License-Identifier: Apache-2.0
# Releases that jobs were promised: they stay for so many days, whatever is activated meanwhile.
# durable.py, release.py and dead_man.py stand before this text.
import json
import os
import time

PINS = "pins.json"  # {SHA-256: until when, seconds since 1970}
DAY = 86400
PROMISED = "a job was promised it (ds-deploy pin)"


def pins_of(root):
    """Those that count still. A note that is damaged keeps everything: nothing may go then."""
    path = os.path.join(root, PINS)
    try:
        with open(path, encoding="ascii") as source:
            pins = json.loads(source.read(1 << 20))
        if not all(HEX64.match(name) and isinstance(until, (int, float))
                   for name, until in pins.items()):
            raise ValueError
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError):
        raise Refused("%s is damaged: look at it, then remove it" % path) from None
    return {name: until for name, until in pins.items() if until > time.time()}


def pin(request, root):
    """releases: those that stay for `days` more; what was promised for longer stays longer. The
    hook of an older run, or none, would let a job have another one."""
    with deciding(root):
        for sha256 in request["releases"]:
            if read_seal(root, sha256) is None:
                raise Refused("release %s is not here" % sha256[:12])
        install_hook(request, root)
        until = time.time() + request["days"] * DAY
        pins = pins_of(root)
        for sha256 in request["releases"]:
            pins[sha256] = max(until, pins.get(sha256, 0))
        write_note(root, PINS, json.dumps(pins).encode("ascii"))
    return {"until": int(min(pins[sha256] for sha256 in request["releases"]))}
