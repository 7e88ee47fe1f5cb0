"""Puts the active release of this environment on sys.path. Installed by ds-deploy.

Read at interpreter start through ds_deploy.pth (and ds_deploy.start, PEP 829). The file "active" in
ROOT names the releases, one SHA-256 a line, or says "none". A process keeps what it started with.
This module never fails and never changes.
"""
ROOT = @ROOT@


def activate():
    try:
        import os
        import sys

        with open(ROOT + "/active", encoding="ascii") as pointer:
            names = pointer.read(65536).split()
        here = os.path.dirname(os.path.abspath(__file__))
        at = [os.path.abspath(entry) for entry in sys.path].index(here)
        releases = []
        for name in names:
            path = ROOT + "/releases/" + name
            if len(name) == 64 and name.isalnum() and path not in sys.path:
                releases.append(path)
        sys.path[at:at] = releases
    except Exception:
        pass
