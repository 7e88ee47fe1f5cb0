# SPDX-License-Identifier: Apache-2.0
"""What the tests of old releases and of leaving share: an environment with releases that are sealed
and empty, and all that can be told apart of a folder."""
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest

from support.host_side import FILES, HostSide, text_of

DAY = 86400
NFS = "def mount_of(path):\n    return ('nfs4', 'server:/env', 'rw')\n\n\n"
MAPS = """
import mmap, sys
with open(sys.argv[1], "rb") as source:
    there = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
print("mapped", flush=True)
sys.stdin.read()
"""


def mapping(case, path):
    """A process that has the file mapped until its input ends."""
    child = subprocess.Popen([sys.executable, "-c", MAPS, str(path)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)

    def end():
        child.stdin.close()
        child.stdout.close()
        child.wait()
    case.addCleanup(end)
    case.assertEqual(child.stdout.readline(), b"mapped\n")
    return child


def state_of(folder):
    """Every path below: kind, mode, owner, group, links; of files also inode, content, size and
    change time, of links where they lead. Not compared are the times of folders, which change with
    what comes and goes in them."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        status = path.lstat()
        said = [stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid,
                status.st_gid, {name: os.getxattr(path, name, follow_symlinks=False)
                                for name in os.listxattr(path, follow_symlinks=False)}]
        if path.is_symlink():
            said += [os.readlink(path), status.st_ino, status.st_mtime_ns]
        elif path.is_file():
            said += [path.read_bytes(), status.st_ino, status.st_nlink, status.st_mtime_ns]
        found[str(path.relative_to(folder))] = said
    return found


class KeepCase(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.host = HostSide(self.folder)
        self.releases = self.host.root / "releases"
        self.runs = 0

    def seal(self, letters, content=b"12345"):
        names = []
        for letter in letters:
            names.append(self.host.seal(letter))
            (self.releases / names[-1] / "file").write_bytes(content)
        self.age()
        return names

    def age(self, days=2.0):
        """Everything that lies there, the older the earlier its letter."""
        for place in (self.host.root, self.releases):
            for at, path in enumerate(sorted(place.iterdir() if place.exists() else ())):
                then = time.time() - days * DAY + at
                os.utime(path, (then, then))
        for name in ("confirmed.json", "rolled-back.json"):
            record = self.host.record(name)
            if record:
                record["at"] -= days * DAY
                (self.host.root / name).write_text(json.dumps(record))

    def activate(self, *releases, keep=True):
        self.runs += 1
        identity = "run-%d" % self.runs
        answer = self.host.activate(list(releases), identity, armed=False)
        self.assertTrue(answer["ok"], answer)
        if keep:
            self.assertEqual(self.host.ask("keep", activation=identity)["state"], "confirmed")
        return identity

    def mapping(self, path):
        return mapping(self, path)

    def patched(self, text):
        self.host.program = text_of(FILES[:-1]) + text + text_of(FILES[-1:])

    def clean(self, keep=3, all_asked=False, **more):
        answer = self.host.ask("clean", keep=keep, all_asked=all_asked, **more)
        self.assertTrue(answer["ok"], answer)
        self.because = {one["sha256"][:1]: one["because"] for one in answer["kept"]}
        self.answer = answer
        return "".join(sha256[0] for sha256 in answer["removed"])

    def there(self):
        """First letters of what lies there with a seal, and without one."""
        names = {path.name for path in self.releases.iterdir()}
        folders = sorted(name for name in names if len(name) == 64)
        return ("".join(name[0] for name in folders if name + ".json" in names),
                "".join(name[0] for name in folders if name + ".json" not in names))
