# SPDX-License-Identifier: Apache-2.0
"""--owner-group: alice and bob administer one environment; mallory is in another group."""
import json
import shutil
import unittest

from support import other_users, sshd_hosts
from support.deploy_case import DeployCase
from support.host_side import HostSide, sha256_of
from support.other_users import GROUPS, USERS, give
from support.owned_case import OwnedCase
from support.recorded_wheel import pack


class OwnerGroup(OwnedCase):
    """root's environment, which the group can write."""

    group, mode = "mlops", 0o775

    def test_two_admins(self):
        self.assert_well(self.lock("alice", owner_group="mlops"))
        first = self.stage(0, "alice", owner_group="mlops")
        self.activate(first, "r1", "alice", owner_group="mlops")
        for path in (self.root, self.releases):
            self.assertEqual(self.seen(path), ("mlops", 0o2775), path)
        # Other environments have their folders there.
        self.assertEqual(self.root.parent.stat().st_mode & 0o7777, 0o755)
        for name in ("lock.json", "decide.lock", "active", "back", "confirmed.json"):
            self.assertEqual(self.seen(self.root / name), ("mlops", 0o664), name)
        self.assertEqual(self.seen(self.releases / (first + ".json")), ("mlops", 0o444))
        self.assertEqual({self.seen(path)[1] for path in (self.releases / first).rglob("*")},
                         {0o2575, 0o444})
        self.assertEqual({self.seen(path)[0] for path in self.root.rglob("*")}, {"mlops"})
        for name in ("_ds_deploy.py", "ds_deploy.pth", "ds_deploy.start"):
            (path,) = self.host.prefix.glob("lib/*/site-packages/" + name)
            self.assertEqual(self.seen(path), ("mlops", 0o644), name)
        # bob needs not say it again: the environment and ROOT do.
        self.assert_well(self.lock("bob", "run-2"))
        second = self.stage(1, "bob")
        self.age()
        self.activate(second, "r2", "bob")
        # Until now jobs began with alice's, whoever moved the pointer.
        answer = self.assert_well(self.ask("clean", "bob", keep=0, all_asked=False))
        self.assertEqual((answer["removed"], sorted(one["because"] for one in answer["kept"])),
                         ([], ["it is active", "it was in use less than a day ago"]))
        self.assertEqual(self.seen(self.releases / second), ("mlops", 0o2575))
        self.assertEqual(self.seen(self.root / "active"), ("mlops", 0o664))
        self.age()
        self.assertEqual(self.assert_well(self.ask("clean", "bob", keep=0, all_asked=False))
                         ["removed"], [first])
        self.assertFalse((self.releases / first).exists())

    def test_what_another_admin_left_half_made(self):
        self.assert_well(self.lock("alice", owner_group="mlops"))
        wheel = sha256_of(self.wheels[0].read_bytes())
        self.stage(1, "alice")
        shutil.copytree(self.releases / sha256_of(self.wheels[1].read_bytes()),
                        self.releases / wheel)
        for path in [self.releases / wheel, *(self.releases / wheel).rglob("*")]:
            give(path, "alice", "mlops")
        (self.releases / (wheel + ".part")).write_bytes(b"x")
        give(self.releases / (wheel + ".part"), "alice", "mlops", 0o660)
        self.assertEqual(self.stage(0, "bob"), wheel)
        self.assert_well(self.ask("verify", "bob", manifests=[self.manifest()]))
        self.assert_well(self.ask("remove", "alice", releases=[wheel], all_asked=False))
        self.assertFalse((self.releases / wheel).exists())

    def test_what_came_of_another_admins_copy(self):
        self.assert_well(self.lock("alice", owner_group="mlops"))
        request, stream = self.host.staging(self.wheels[0])
        child = self.host.open(self.users.within("alice"))
        line = json.dumps(dict(request, phase="stage", nonce="NONCE")).encode() + b"\n"
        out, _ = child.communicate(line + stream[:99])
        self.assertIn(b"the wheel ended after 99 of", out)
        manifest = request["manifest"]
        part = self.releases / (manifest["wheel"]["sha256"] + ".part")
        self.assertEqual(self.seen(part), ("mlops", 0o660))
        answer = self.assert_well(self.ask("lacking", "bob", manifest=manifest, again=False))
        self.assertEqual(answer["part"], {"bytes": 99, "sha256": sha256_of(stream[:99])})
        self.stage(0, "bob")

    def test_groups_that_cannot_be_given(self):
        for user, group, words in (
                ("alice", "nosuch", "this host has no group nosuch"),
                ("root", "nosuch", "this host has no group nosuch"),
                ("bob", "lab", "user bob is no member of group lab")):
            self.assert_refused(self.lock(user, owner_group=group), words)
            self.assertFalse(self.root.parent.exists())

    def test_what_was_made_without_it(self):
        self.assert_well(self.lock("alice"))
        sha256 = self.stage(0, "alice")
        self.activate(sha256, "r1", "alice")
        self.assertEqual(self.seen(self.root), ("alice", 0o755))
        self.assert_refused(self.lock("bob", owner_group="mlops"), "belongs to user alice",
                            "only they or root can give it to group mlops")
        self.assert_well(self.lock("alice", "run-2", owner_group="mlops"))
        self.assertEqual({self.seen(path)[0] for path in [self.root, *self.root.rglob("*")]},
                         {"mlops"})
        self.assertEqual(self.seen(self.root), ("mlops", 0o2775))
        self.assertEqual(self.seen(self.releases / sha256), ("mlops", 0o2575))
        self.assertEqual(self.seen(self.releases / (sha256 + ".json")), ("mlops", 0o444))
        self.assertEqual(self.seen(self.root / "active"), ("mlops", 0o664))
        self.assert_well(self.ask("verify", "bob", manifests=[self.manifest()]))
        self.activate(self.stage(1, "bob"), "r2", "bob")
        self.assert_well(self.ask("remove", "bob", releases=[sha256], all_asked=False))
        self.assertFalse((self.releases / sha256).exists())

    def test_another_group_than_before(self):
        self.assert_well(self.lock("alice", owner_group="mlops"))
        self.assert_refused(self.lock("mallory", owner_group="lab"), "belongs to user alice")
        self.assert_well(self.lock("alice", "run-2", owner_group="lab"))
        self.assertEqual(self.seen(self.root), ("lab", 0o2775))
        self.assert_refused(self.lock("bob"), "user bob is no member of group lab")

    def test_without_it_modes_are_as_ever(self):
        self.assert_well(self.lock("alice"))
        sha256 = self.stage(0, "alice")
        self.activate(sha256, "r1", "alice")
        self.assertEqual({self.seen(path) for path in (self.root.parent, self.root, self.releases)},
                         {("alice", 0o755)})
        self.assertEqual({self.seen(path) for path in self.root.iterdir() if path.is_file()},
                         {("alice", 0o644)})
        self.assertEqual({self.seen(path)[1] for path in (self.releases / sha256).rglob("*")},
                         {0o444, 0o555})
        self.assert_well(self.ask("verify", "bob", manifests=[self.manifest()]))
        self.assert_refused(self.lock("bob"), "Permission denied")


@unittest.skipIf(other_users.missing() or sshd_hosts.missing(),
                 "%s" % (other_users.missing() or sshd_hosts.missing()))
class BySsh(DeployCase):
    """The whole program, over a real sshd that knows alice and bob."""

    def setUp(self):
        super().setUp()
        self.folder.chmod(0o755)
        users = other_users.OtherUsers(self.folder)
        self.sshd = sshd_hosts.SshdHosts(self.folder / "fleet", 1)
        self.addCleanup(self.sshd.stop)
        self.sshd.start(within=users.words)
        self.parent = self.folder / "opt"
        self.parent.mkdir()
        self.host = HostSide(self.parent, other_users.python())
        for path in [self.parent, self.host.prefix, *self.host.prefix.rglob("*")]:
            give(path, "root", "mlops")
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o020)
        self.wheels = [pack(self.folder, {"demo/__init__.py": b"VERSION = %d\n" % at}, name="demo",
                            version="%d.0" % at) for at in (1, 2)]

    def run_as(self, user, command, *words, exit_status=0):
        hosts = self.write("hosts", "n1 slots=1 user=%s python=%s/bin/python\n"
                           % (user, self.host.prefix))
        where = () if command == "resume" else ("--hostfile", hosts)
        done = self.run_program(command, "--json", *where, "-F", self.sshd.config, "--state-dir",
                                self.folder / "state", *words)
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        (host,) = json.loads(done.stdout)["hosts"]
        return host

    def test_a_parent_that_everybody_can_write(self):
        self.parent.chmod(0o777)
        host = self.run_as("alice", "deploy", "--wheel", self.wheels[0], exit_status=4)
        self.assertEqual((host["state"], host["step"], host["sent_bytes"]), ("failed", "lock", 0))
        self.assertIn("%s can be written by every user" % self.parent, host["message"])
        self.assertFalse(self.host.root.parent.exists())

    def test_two_admins(self):
        words = ("deploy", "--wheel", self.wheels[0], "--owner-group")
        host = self.run_as("alice", *words, "nosuch", exit_status=4)
        self.assertIn("this host has no group nosuch", host["message"])
        self.assertFalse(self.host.root.parent.exists())
        # What the run was called with is kept with it.
        host = self.run_as("alice", "resume", exit_status=4)
        self.assertIn("this host has no group nosuch", host["message"])
        host = self.run_as("alice", "resume", "--owner-group", "mlops")
        self.assertEqual((host["state"], host["message"]), ("confirmed", ""))
        host = self.run_as("bob", "deploy", "--wheel", self.wheels[1])
        self.assertEqual((host["state"], host["message"]), ("confirmed", ""))
        root = self.host.root
        self.assertEqual({path.lstat().st_gid for path in [root, *root.rglob("*")]},
                         {GROUPS["mlops"][0]})
        self.assertEqual({path.stat().st_uid for path in (root / "releases").iterdir()},
                         {USERS["alice"], USERS["bob"]})
        self.assertEqual(self.run_as("bob", "rollback", "--to", "pip")["state"], "rolled-back")
        self.assertEqual(self.run_as("alice", "remove", "--all")["state"], "removed")
        self.assertEqual(list(self.parent.rglob("*ds[-_]deploy*")), [])


if __name__ == "__main__":
    unittest.main()
