# SPDX-License-Identifier: Apache-2.0
"""File systems that are full, read-only or otherwise no use, in deployments; tests/faults/README.md."""
import unittest

from support.fault_case import LONG, FaultCase, cannot_mount, leave, mount, shell

FULL = "No space left on device"
ALL_MAY_FAIL = "retries: 0\nmax_failures: 100%\n"
STAGE, ACTIVATE = "*/releases", "*/decide.lock"
# Where the room ends, and how much is left there: through the stream, the files, their compiled forms,
# the seal, and the notes of an activation.
ROOMS = ([(STAGE, "pages", left) for left in (range(0, 20) if LONG else (0, 3, 8, 13, 16))]
         + [(STAGE, "inodes", left) for left in (range(0, 14) if LONG else (0, 1, 6, 11))]
         + [(ACTIVATE, "pages", left) for left in range(0, 6 if LONG else 4)]
         + [(ACTIVATE, "inodes", left) for left in range(0, 5 if LONG else 3)])


@unittest.skipIf(cannot_mount(), "%s" % cannot_mount())
class DiskCase(FaultCase):
    def disk(self, name):
        where = self.root(name).parent
        mount(self, where)
        return where

    def ends_at(self, name, pattern, **left):
        where = self.disk(name)
        self.at(name, pattern, leave(where, **left))

    def lift(self, *names):
        for name in names or self.names:
            shell("mount -o remount,rw,size=64m,nr_inodes=10000 %s" % self.root(name).parent)


class EachWrite(DiskCase):
    number = len(ROOMS)

    def test_full_at_each_write(self):
        """Each host for itself, so that one deployment goes through all of them."""
        for name, (pattern, what, left) in zip(self.names, ROOMS):
            self.ends_at(name, pattern, **{what: left})
        hosts = self.deploy(4, policy=ALL_MAY_FAIL)
        for name, (pattern, what, left) in zip(self.names, ROOMS):
            with self.subTest(at=pattern, what=what, left=left):
                if pattern == STAGE:
                    self.assert_says(hosts[name], "failed", "stage", FULL, self.root(name))
                elif left < 2:
                    self.assert_says(hosts[name], "rolled-back", "activate", FULL, self.root(name))
                else:
                    self.assert_says(hosts[name], "confirmed", "confirm")
                self.assertEqual(self.untidy(name), set())
        self.assert_reports_are_true(hosts)
        self.lift()
        self.assert_heals()


class Disk(DiskCase):
    number = 2

    def full_before(self, words, **left):
        where = self.disk("n1")
        shell(leave(where, **left))
        hosts = self.deploy(3)
        self.assert_says(hosts["n1"], "refused", "audit", words, self.root("n1"))
        self.assert_says(hosts["n2"], "ready", "audit")
        self.assertEqual(hosts["n2"]["sent_bytes"], 0)
        self.assert_at(self.old)
        self.lift("n1")
        self.assert_heals()

    def test_full_before_anything_is_sent(self):
        self.full_before("0 B free", pages=0)

    def test_no_inode_before_anything_is_sent(self):
        self.full_before("0 inodes free", inodes=0)

    def test_full_at_activation_takes_the_others_back(self):
        self.ends_at("n1", ACTIVATE, pages=1)
        hosts = self.deploy(4)
        self.assert_says(hosts["n1"], "rolled-back", "activate", FULL, self.root("n1"))
        self.assert_says(hosts["n2"], "rolled-back", "rollback", "n1 could not activate it")
        self.assert_at(self.old)
        self.lift("n1")
        self.assert_heals()

    def test_full_from_the_first_word_on(self):
        where = self.disk("n1")
        self.after_facts("n1", leave(where, pages=0))
        hosts = self.deploy(4)
        self.assert_says(hosts["n1"], "failed", "lock", FULL)
        print(hosts["n2"])
        self.assert_at(self.old)
        (self.place("n1") / "env.sh").write_text("")
        self.lift("n1")
        self.assert_heals()

    def test_read_only_before(self):
        where = self.disk("n1")
        shell("mount -o remount,ro %s" % where)
        hosts = self.deploy(3)
        self.assert_says(hosts["n1"], "refused", "audit", "cannot write", self.root("n1"))
        self.assert_says(hosts["n2"], "ready", "audit")
        self.assert_at(self.old)
        self.lift("n1")
        self.assert_heals()

    def becomes_read_only(self, pattern, folder, state, step):
        """A mount of its own, since a file system with a file open for writing stays writable."""
        folder = self.root("n1") / folder
        self.at("n1", pattern, "mount --bind %s %s && mount -o remount,bind,ro %s"
                % (folder, folder, folder))
        try:
            hosts = self.deploy(4)
        finally:
            shell("umount -l %s" % folder)
        self.assert_says(hosts["n1"], state, step, "Read-only file system", folder)
        self.assert_at(self.old)
        self.assert_heals()

    def test_read_only_in_the_copy(self):
        self.becomes_read_only(STAGE, "releases", "failed", "stage")

    def test_read_only_at_activation(self):
        self.becomes_read_only(ACTIVATE, "", "rolled-back", "activate")

    def test_noexec(self):
        where = self.disk("n1")
        shell("mount -o remount,noexec %s" % where)
        hosts = self.deploy(3)
        self.assert_says(hosts["n1"], "refused", "audit", "noexec", self.root("n1"))
        self.assert_at(self.old)
        shell("mount -o remount,exec %s" % where)
        self.assert_heals()

    def site(self, name):
        (site,) = self.place(name).glob("env/lib/*/site-packages")
        return site

    def test_no_room_for_the_hook(self):
        """What starts the release lies in the environment itself."""
        site = self.site("n1")
        next(site.glob("ds_deploy.pth")).unlink()
        mount(self, site)
        (site / "other").write_text("to be larger than nothing")
        self.after_facts("n1", leave(site, pages=0))
        hosts = self.deploy(4)
        self.assert_says(hosts["n1"], "rolled-back", "activate", FULL, site / "ds_deploy.pth")
        self.assertEqual((self.root("n1") / "active").read_text().split(), [self.old])
        self.assert_at(self.old, "n2")
        (self.place("n1") / "env.sh").write_text("")
        shell("mount -o remount,size=64m %s" % site)
        self.assert_heals()


if __name__ == "__main__":
    unittest.main()
