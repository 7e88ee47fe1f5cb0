# SPDX-License-Identifier: Apache-2.0
# Who changed what here: a line of JSON in ROOT/history.jsonl for each move of the pointer and for each
# decision that it stays. layout.py and durable.py stand before this text.
import contextlib
import json
import os
import pwd
import time

HISTORY = "history.jsonl"
LAST_BYTES = 1 << 20  # of it are read


def who_asks(request):
    """Whom the coordinator names, and who that is on this host."""
    said = request.get("by", {})
    by = {key: str(said.get(key, ""))[:500] for key in ("user", "machine", "command", "message")}
    try:
        by["login"] = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        by["login"] = "%d" % os.geteuid()
    by["sudo_user"] = os.environ.get("SUDO_USER", "")[:100]
    return by


def note_history(root, event, trial, back=False):
    """A record of dead_man.py; `back`: to what was active before. Never refuses: what was done counts,
    and a full disk leaves a gap."""
    before, after = trial["previous"], trial["releases"]
    by = trial.get("by")
    entry = dict(by if isinstance(by, dict) else {})
    entry.update(at=int(time.time()), run=trial["id"], event=event)
    entry.update({"from": after, "to": before} if back else {"from": before, "to": after})
    if back:
        entry["because"] = str(trial.get("because", ""))[:500]
    with contextlib.suppress(OSError, ValueError):
        with open_ours(os.path.join(root, HISTORY), 0o644) as lines:
            end = lines.seek(0, os.SEEK_END)
            lines.seek(max(0, end - 1))
            cut = end > 0 and lines.read(1) != b"\n"  # a write that was cut short
            lines.seek(end)
            lines.write((b"\n" if cut else b"") + json.dumps(entry).encode("ascii") + b"\n")
            os.fsync(lines.fileno())


def history(request, root):
    """The newest entries, the oldest of them first; a line that is none is passed over."""
    entries = []
    with contextlib.suppress(FileNotFoundError):
        with open(os.path.join(root, HISTORY), "rb") as lines:
            size = lines.seek(0, os.SEEK_END)
            lines.seek(max(0, size - LAST_BYTES))
            for line in lines.read(LAST_BYTES).split(b"\n"):
                with contextlib.suppress(ValueError):
                    entry = json.loads(line.decode("utf-8"))
                    if isinstance(entry, dict):
                        entries.append(entry)
    return {"entries": entries[-request["most"]:]}
