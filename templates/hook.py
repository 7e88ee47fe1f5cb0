"""Puts releases of this environment on sys.path. Installed by ds-deploy.

Read at interpreter start through ds_deploy.pth (and ds_deploy.start, PEP 829). The file "active" in
ROOT names the releases, one SHA-256 a line, or says "none". A process keeps what it started with.
DS_DEPLOY_RELEASE, beginnings of SHA-256 with commas between them, names others for a process and its
children: those of them that are here, one for each distribution; else an import of what a release
holds fails. This module never fails at start and never changes.
"""
ROOT = @ROOT@


class Missing:
    """A finder on sys.meta_path: in place of a release that was asked for and is not here."""

    def __init__(self, why, modules):
        self.why, self.modules = why, modules

    def find_spec(self, name, path=None, target=None):
        if name in self.modules:
            raise ImportError(self.why, name=name)


def entries(folder):
    import os

    try:
        return os.listdir(folder)
    except OSError:
        return []


def active():
    try:
        with open(ROOT + "/active", encoding="ascii") as pointer:
            return [name for name in pointer.read(65536).split()
                    if len(name) == 64 and name.isalnum()]
    except (OSError, ValueError):
        return []


def distributions(release):
    """Names of what a release brings, as far as folders tell."""
    found = {name.partition("-")[0] for name in entries(release) if name.endswith(".dist-info")}
    return found or {release}


def kept():
    """The releases that are whole, by name."""
    names = set(entries(ROOT + "/releases"))
    return sorted(name for name in names if len(name) == 64 and name + ".json" in names)


def pinned(asked, active):
    """The releases that count, and why there are none of those that were asked for."""
    import sys

    here, found, held = kept(), [], set()
    words = [word.strip() for word in asked.replace("+", ",").split(",")]
    for word in words:
        if len(word) < 12 or word.strip("0123456789abcdef"):
            return active, "%r names no release: write 12 or more digits of its SHA-256" % word[:80]
        for name in here:
            if name.startswith(word) and not distributions(ROOT + "/releases/" + name) & held:
                found.append(name)
                held |= distributions(ROOT + "/releases/" + name)
    if not found:
        return active, "there are %s in %s" % (
            ", ".join(name[:12] for name in here) or "none", sys.prefix)
    return found + [name for name in active
                    if not distributions(ROOT + "/releases/" + name) & held], ""


def refuse(asked, why):
    import sys

    modules = {name.partition(".")[0] for release in kept()
               for name in entries(ROOT + "/releases/" + release)
               if not name.endswith((".dist-info", ".data"))} - {"__pycache__"}
    text = "DS_DEPLOY_RELEASE=%s: no such release is here; %s" % (asked[:200], why)
    sys.meta_path.insert(0, Missing(text, modules))


def activate():
    try:
        import os
        import sys

        names = active()
        asked = os.environ.get("DS_DEPLOY_RELEASE")
        if asked and "DS_DEPLOY_PHASE" not in os.environ:  # not a health command's
            names, why = pinned(asked, names)
            if why:
                refuse(asked, why)
        here = os.path.dirname(os.path.abspath(__file__))
        at = [os.path.abspath(entry) for entry in sys.path].index(here)
        releases = [ROOT + "/releases/" + name for name in names]
        sys.path[at:at] = [path for path in releases if path not in sys.path]
    except Exception:
        pass
