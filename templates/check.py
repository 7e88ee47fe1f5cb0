@SHEBANG@
# ds-deploy launcher
# SPDX-License-Identifier: Apache-2.0
"""ds-deploy-check [--expect SHA[,SHA...]]: is what ds-deploy activated here in order?

One line, exit status 0 or 1, in milliseconds: for a Slurm prolog, NHC, or the head of a job script.
SHA is a SHA-256 of a release or a beginning of it; several are all to be active, and no other. What
is on trial is in order. No file of a release is hashed: `ds-deploy verify` does that.
"""
import os
import sys

ROOT = @ROOT@
HOOK = @HOOK@


def active():
    """Names in the pointer; a line of text where it cannot be used."""
    try:
        with open(ROOT + "/active", encoding="ascii") as pointer:
            names = pointer.read(65536).split()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return "%s cannot be read: %s" % (ROOT + "/active", error)
    if names == ["none"]:
        return []
    if not names or not all(len(name) == 64 and name.isalnum() for name in names):
        return "%s is damaged" % (ROOT + "/active")
    return names


def problem(names, expected):
    for name in names:
        release = ROOT + "/releases/" + name
        if not os.path.isdir(release) or not os.path.isfile(release + ".json"):
            return "release %s is active and not whole" % name[:12]
    if names and not os.path.isfile(HOOK):
        return "what starts a release is missing: %s" % HOOK
    if os.path.lexists(ROOT + "/overdue.json"):
        return "an activation was not confirmed, and is not taken back yet"
    if expected is None:
        return ""
    wrong = [name for name in names if not any(name.startswith(one) for one in expected)]
    missing = [one for one in expected if not any(name.startswith(one) for name in names)]
    if wrong or missing:
        return "%s is active, and %s expected" % (
            "+".join(name[:12] for name in names) or "no release",
            "+".join(one[:12] for one in expected) + (" was" if len(expected) == 1 else " were"))
    return ""


def main(words):
    expected = None
    if len(words) == 2 and words[0] == "--expect":
        expected = [one for one in words[1].lower().split(",") if one]
    elif words:
        print("ds-deploy-check: usage: ds-deploy-check [--expect SHA[,SHA...]]")
        return 1
    names = active()
    wrong = names if isinstance(names, str) else problem(names, expected)
    if wrong:
        print("ds-deploy-check: %s" % wrong)
        return 1
    trial = " (on trial)" if os.path.lexists(ROOT + "/unconfirmed.json") else ""
    print("ds-deploy-check: %s%s" % ("+".join(name[:12] for name in names) or "no release", trial))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
