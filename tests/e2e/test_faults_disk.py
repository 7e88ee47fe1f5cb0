# SPDX-License-Identifier: Apache-2.0
"""File systems that are full, read-only or otherwise no use; see tests/faults/README.md."""
import unittest

from support.fault_case import LONG, FaultCase, cannot_mount, leave, mount, shell

FULL = "No space left on device"
ALL_MAY_FAIL = "retries: 0\nmax_failures: 100%\n"
STAGE, ACTIVATE = "*/releases", "*/decide.lock"
# Where the room ends, and how much is left there: it walks through the stream, the files, their
# compiled forms, the seal and the notes of an activation.
ROOMS = ([(STAGE, "pages", left) for left in (range(0, 20) if LONG else (0, 8, 13, 16))]
         + [(STAGE, "inodes", left) for left in (range(0, 14) if LONG else (1, 11))]
         + [(ACTIVATE, "pages", left) for left in range(0, 6 if LONG else 3)]
         + [(ACTIVATE, "inodes", left) for left in range(0, 5 if LONG else 3)])

# From so many on it may fit.
ENOUGH = {STAGE: 12, ACTIVATE: 2}


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
                if left >= ENOUGH[pattern] and hosts[name]["state"] == "confirmed":
                    continue
                state, step = (("failed", "stage") if pattern == STAGE
                               else ("rolled-back", "activate"))
                self.assert_says(hosts[name], state, step, FULL, self.root(name))
                self.assertEqual(self.untidy(name), set())
        self.assert_reports_are_true(hosts)
        self.lift()
        self.assert_heals()


class Before(DiskCase):
    """What the audit sees, so that nothing is sent to any host."""

    number = 5
    seen = {"n1": "0 B free", "n2": "0 inodes free", "n3": "cannot write", "n4": "noexec"}

    def test_each(self):
        disks = [self.disk(name) for name in self.seen]
        shell(leave(disks[0], pages=0))
        shell(leave(disks[1], inodes=0))
        shell("mount -o remount,ro %s" % disks[2])
        shell("mount -o remount,noexec %s" % disks[3])
        hosts = self.deploy(3)
        for name, words in self.seen.items():
            with self.subTest(words):
                self.assert_says(hosts[name], "refused", "audit", words, self.root(name))
        self.assert_says(hosts["n5"], "ready", "audit")
        self.assertEqual({host["sent_bytes"] for host in hosts.values()}, {0})
        self.assert_at(self.old)
        for disk in disks:
            shell("mount -o remount,rw,exec,size=64m,nr_inodes=10000 %s" % disk)
        self.assert_heals()


class During(DiskCase):
    """What happens to a disk once the facts are known."""

    number = 5

    def becomes_read_only(self, name, pattern, folder):
        """A mount of its own, since a file system with a file open for writing stays writable."""
        self.at(name, pattern, "mount --bind %s %s && mount -o remount,bind,ro %s"
                % (folder, folder, folder))
        return folder

    def full_site(self, name):
        """What starts a release lies in the environment itself; a part of it is missing here."""
        (site,) = self.place(name).glob("env/lib/*/site-packages")
        (site / "ds_deploy.pth").unlink()
        mount(self, site)
        (site / "other").write_text("no tmpfs has a size of 0")
        self.after_facts(name, leave(site, pages=0))
        return site

    def test_each(self):
        self.after_facts("n1", leave(self.disk("n1"), pages=0))
        read_only = [self.becomes_read_only("n2", STAGE, self.root("n2") / "releases"),
                     self.becomes_read_only("n3", ACTIVATE, self.root("n3"))]
        site = self.full_site("n4")
        try:
            hosts = self.deploy(4, policy=ALL_MAY_FAIL)
        finally:
            for folder in read_only:
                shell("umount -l %s" % folder)
        self.assert_says(hosts["n1"], "failed", "lock", FULL)
        self.assert_says(hosts["n2"], "failed", "stage", "Read-only file system", self.root("n2"))
        self.assert_says(hosts["n3"], "rolled-back", "activate", "Read-only file system",
                         self.root("n3"))
        self.assert_says(hosts["n4"], "rolled-back", "activate", FULL, site / "ds_deploy.pth")
        self.assert_says(hosts["n5"], "confirmed", "confirm")
        self.assertEqual((self.root("n4") / "active").read_text().split(), [self.old])
        self.assert_at(self.old, "n1", "n2", "n3")
        for name in ("n1", "n4"):
            self.after_facts(name, ":")
        shell("mount -o remount,size=64m %s" % site)
        self.lift("n1")
        self.assert_heals()


class Together(DiskCase):
    def test_full_at_activation_takes_the_others_back(self):
        self.ends_at("n1", ACTIVATE, pages=1)
        hosts = self.deploy(4)
        self.assert_says(hosts["n1"], "rolled-back", "activate", FULL, self.root("n1"))
        self.assert_says(hosts["n2"], "rolled-back", "rollback", "n1 could not activate it")
        self.assert_at(self.old)
        self.lift("n1")
        self.assert_heals()


if __name__ == "__main__":
    unittest.main()
