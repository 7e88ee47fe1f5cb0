# SPDX-License-Identifier: Apache-2.0
"""What the tests of owners share: an environment, the host's side of a rollout, and users that ask
it. alice and bob administer it together, mallory is a stranger."""
import json
import os
import pathlib
import shutil
import stat
import tempfile
import time
import unittest

from support import other_users
from support.fault_case import remove
from support.host_side import HostSide, sha256_of
from support.other_users import GROUPS, give
from support.recorded_wheel import pack

BY = {"who": "ada", "from": "head", "since": "2026-11-26T03:00:00Z"}
DAY = 86400


@unittest.skipIf(other_users.missing(), "%s" % other_users.missing())
class OwnedCase(unittest.TestCase):
    """An environment of `owner` at opt/env, and what is asked of it by one user or another."""

    owner, group, mode = "root", "root", 0o755

    @classmethod
    def setUpClass(cls):
        cls.made = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        cls.addClassCleanup(remove, cls.made)
        cls.made.chmod(0o755)
        cls.users = other_users.OtherUsers(cls.made)
        HostSide(cls.made, other_users.python())
        cls.wheels = [pack(tempfile.mkdtemp(dir=cls.made), {
            "demo/__init__.py": b"VERSION = %d\n" % at, "demo/data": b"data" * 50},
            name="demo", version="%d.0" % at) for at in (1, 2)]

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(remove, self.folder)
        self.folder.chmod(0o755)
        self.parent = self.folder / "opt"
        self.parent.mkdir()
        give(self.parent, self.owner, self.group, self.mode)
        shutil.copytree(self.made / "env", self.parent / "env", symlinks=True)
        for path in [self.parent / "env", *(self.parent / "env").rglob("*")]:
            give(path, self.owner, self.group)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (self.mode & 0o020))
        self.host = HostSide(self.parent)
        self.root = self.host.root
        self.releases = self.root / "releases"

    def ask(self, phase, user="root", **request):
        return self.host.ask(phase, self.users.within(user), **request)

    def lock(self, user="root", run="run-1", **more):
        return self.ask("lock", user, run=run, **BY, **more)

    def assert_well(self, answer):
        self.assertTrue(answer["ok"], answer)
        return answer

    def assert_refused(self, answer, *words):
        self.assertFalse(answer["ok"], answer)
        for word in words:
            self.assertIn(str(word), answer["problem"])

    def stage(self, at=0, user="root", **more):
        return self.host.stage(self.wheels[at], self.users.within(user), **more)

    def activate(self, sha256, identity, user="root", **more):
        self.assert_well(self.ask("activate", user, **self.host.activation(
            [sha256], identity, armed=False, **more)))
        self.assertEqual(self.ask("keep", user, activation=identity)["state"], "confirmed")

    def manifest(self, at=0):
        seal = json.loads((self.releases / (sha256_of(self.wheels[at].read_bytes()) + ".json"))
                          .read_text())
        return seal["manifest"]

    def age(self):
        """As if all of it had been there for two days."""
        then = time.time() - 2 * DAY
        for path in [*self.root.iterdir(), *self.releases.iterdir()]:
            os.utime(path, (then, then))
        for name in ("confirmed.json", "rolled-back.json"):
            if (self.root / name).exists():
                record = json.loads((self.root / name).read_text())
                (self.root / name).write_text(json.dumps(dict(record, at=then)))

    @staticmethod
    def seen(path):
        """Group and mode."""
        status = path.lstat()
        group = {gid: name for name, (gid, _) in GROUPS.items()}[status.st_gid]
        return group, stat.S_IMODE(status.st_mode)
