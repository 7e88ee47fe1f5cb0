@SHEBANG@
# ds-deploy launcher
# SPDX-License-Identifier: Apache-2.0
"""Runs the command NAME of the release that is active when it starts; ds-deploy wrote it.

It never changes. What runs is what the hook put on sys.path: the pointer may move meanwhile.
"""
import sys

ROOT = @ROOT@
NAME = @NAME@


def entry_points(distribution):
    try:
        return list(distribution.entry_points)
    except Exception:
        return []  # no tool can read it


def find(releases):
    """What runs the command, or None."""
    import glob
    import importlib.metadata
    for release in releases:
        for distribution in importlib.metadata.distributions(path=[release]):
            for point in entry_points(distribution):
                if point.name == NAME and point.group in ("console_scripts", "gui_scripts"):
                    return lambda: point.load()()
        for path in glob.glob(glob.escape(release) + "/*.data/scripts/" + glob.escape(NAME)):
            return lambda: run_file(path)
    return None


def run_file(path):
    """In this interpreter where the file asks for Python: a new one might get another release."""
    import os
    import runpy
    with open(path, "rb") as script:
        if not script.readline(4096).startswith(b"#!python"):
            os.execv(path, [path] + sys.argv[1:])
    runpy.run_path(path, run_name="__main__")


def main():
    releases = [entry for entry in sys.path if entry.startswith(ROOT + "/releases/")]
    command = find(releases)
    if command:
        return command()
    if releases:
        why = "release %s, active in %s, has no such command" % (
            "+".join(release.rpartition("/")[2][:12] for release in releases), sys.prefix)
    else:
        why = "no release of ds-deploy is active in %s" % sys.prefix
    sys.stderr.write("%s: %s; deploy one that has it, or delete %s\n"
                     % (NAME, why, __file__))
    return 127


if __name__ == "__main__":
    sys.exit(main())
