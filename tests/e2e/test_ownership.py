# SPDX-License-Identifier: Apache-2.0
"""Who may own what lies in our folders on a host, and write there. mallory is a stranger."""
import os
import unittest

from support.host_side import sha256_of
from support.other_users import give
from support.owned_case import OwnedCase

NOTES = ("active", "back", "called-off", "decide.lock", "unconfirmed.json", "overdue.json",
         "confirmed.json", "rolled-back.json", "armed.json", "outlives.json", "epoch.json",
         "lock.json", "pip.lock")


class Parents(OwnedCase):
    def test_one_that_everybody_can_write(self):
        self.parent.chmod(0o777)
        self.assert_refused(self.lock(), "%s can be written by every user" % self.parent,
                            "chmod o-w %s" % self.parent)
        self.assertFalse(self.root.parent.exists())
        self.parent.chmod(0o1777)
        self.assert_well(self.lock())
        for path in (self.root, self.root.parent):
            path.chmod(0o777)
            self.assert_refused(self.lock(), "%s can be written" % path)
            path.chmod(0o755)
        # What lies there belongs to whoever made it: in ROOT itself that does not do.
        self.root.chmod(0o1777)
        self.assert_refused(self.lock(), "%s can be written" % self.root)

    def test_those_of_strangers(self):
        give(self.parent, "mallory")
        self.assert_refused(self.lock(), "%s belongs to user mallory" % self.parent,
                            "--owner-group")
        self.assertFalse(self.root.parent.exists())
        self.assert_well(self.lock(owner_group="lab"))

    def test_those_of_the_environments_owner(self):
        give(self.parent, "alice")
        self.assert_refused(self.lock(), "belongs to user alice")
        give(self.host.prefix, "alice")
        self.assert_well(self.lock("alice"))
        self.assert_well(self.lock())

    def test_what_is_planted_where_everybody_can_write(self):
        self.parent.chmod(0o1777)
        self.root.parent.mkdir()
        give(self.root.parent, "mallory", mode=0o777)
        self.assert_refused(self.lock(), "%s belongs to user mallory" % self.root.parent)
        self.root.parent.rmdir()
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        self.root.parent.symlink_to(elsewhere)
        self.assert_well(self.lock())
        give(self.root.parent, "mallory")
        self.assert_refused(self.lock(), "%s is a symbolic link of user mallory" % self.root.parent)
        # Whose group it is counts only where nobody else could have put it.
        give(self.root, "root", "lab", 0o2775)
        self.assert_refused(self.lock(), "%s is a symbolic link of user mallory" % self.root.parent)

    def test_where_a_link_leads(self):
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        self.root.parent.symlink_to("../elsewhere")
        elsewhere.chmod(0o777)
        self.assert_refused(self.lock(), "%s can be written" % elsewhere)
        elsewhere.chmod(0o755)
        self.root.mkdir()
        self.releases.symlink_to(self.releases)
        self.assert_refused(self.lock(), "circles")

    def test_those_that_a_group_can_write(self):
        """Its own users' are no matter, nor is a group that is trusted; others are told."""
        for group, said in (("lab", True), ("mlops", True), ("root", False)):
            give(self.parent, "root", group, 0o775)
            remark = self.assert_well(self.lock())["remark"]
            self.assertEqual(remark, "members of group %s can write to %s; if that is meant: "
                             "--owner-group %s" % (group, self.parent, group) if said else "")
        give(self.parent, "root", "mlops", 0o775)
        give(self.host.prefix, "root", "mlops", 0o775)
        self.assertEqual(self.assert_well(self.lock())["remark"], "")

    def test_a_private_group(self):
        """Of a home whose owner's umask is 002."""
        for path in (self.parent, self.host.prefix):
            give(path, "alice", mode=0o775)
        self.assertEqual(self.assert_well(self.lock("alice"))["remark"], "")

    def test_what_was_begun_can_be_ended(self):
        self.stage()
        sha256 = self.stage(1)
        self.assert_well(self.ask("activate", **self.host.activation([sha256], "r", armed=False)))
        self.parent.chmod(0o777)
        self.assert_refused(self.ask("activate", **self.host.activation([], "s", armed=False)))
        answer = self.ask("rollback", activation="r", because="test", owner_group="nosuch")
        self.assertEqual(self.assert_well(answer)["releases"], [])


class Planted(OwnedCase):
    """In folders that are well now, from when they were not."""

    def setUp(self):
        super().setUp()
        self.assert_well(self.lock())
        self.sha256 = self.stage()
        self.seal = self.releases / (self.sha256 + ".json")

    def test_notes(self):
        for name in NOTES:
            path = self.root / name
            path.unlink(missing_ok=True)
            path.write_text("")
            give(path, "mallory")
            self.assert_refused(self.lock(), "%s belongs to user mallory; look at it, then remove "
                                "it" % path)
            path.unlink()
        self.assert_well(self.lock())

    def test_what_is_no_note(self):
        path = self.root / "active"
        path.write_text("none\n")
        path.chmod(0o666)
        self.assert_refused(self.lock(), "%s can be written by every user" % path)
        path.unlink()
        path.symlink_to("back")
        self.assert_refused(self.lock(), "%s is a symbolic link" % path)
        path.unlink()
        os.mkfifo(path)
        self.assert_refused(self.lock(), "%s is no regular file" % path)

    def assert_not_used(self, path, why):
        words = "%s %s, so release %s is not used" % (path, why, self.sha256[:12])
        manifest = self.manifest()
        for phase, request in (
                ("lacking", {"manifest": manifest, "again": False}),
                ("verify", {"manifests": [manifest]}),
                ("activate", self.host.activation([self.sha256], "r", armed=False))):
            self.assert_refused(self.ask(phase, **request), words)
        (checked,) = self.ask("check", releases=[self.sha256])["releases"]
        self.assertIn(words, checked["damage"])
        self.assertEqual(self.ask("records", releases=[self.sha256])["records"],
                         {self.sha256: None})

    def test_a_seal(self):
        give(self.seal, "mallory")
        self.assert_not_used(self.seal, "belongs to user mallory")
        give(self.seal, "root")
        self.seal.rename(self.folder / "seal")
        self.seal.symlink_to(self.folder / "seal")
        self.assert_not_used(self.seal, "is a symbolic link of user root")

    def test_a_release(self):
        folder = self.releases / self.sha256
        give(folder, "mallory")
        self.assert_not_used(folder, "belongs to user mallory")
        self.age()
        answer = self.ask("clean", keep=0, all_asked=False)
        self.assertEqual([one["because"] for one in answer["kept"]], ["it belongs to another user"])
        self.assertTrue(self.seal.exists())

    def test_nothing_is_linked_from_there(self):
        other = dict(self.manifest(), wheel={"sha256": "b" * 64, "file": "demo-2.0.whl"})
        asked = {"manifest": other, "again": False}
        self.assertEqual(self.assert_well(self.ask("lacking", **asked))["lacking"], [])
        give(self.releases / self.sha256, "mallory")
        self.assertEqual(self.assert_well(self.ask("lacking", **asked))["lacking"],
                         [0, len(other["files"])])

    def test_a_file_of_a_release(self):
        give(self.releases / self.sha256 / "demo/data", "mallory")
        self.assert_refused(self.ask("verify", manifests=[self.manifest()]),
                            "demo/data belongs to user mallory")

    def test_what_is_half_made(self):
        wheel = sha256_of(self.wheels[1].read_bytes())
        for path in (self.releases / (".stage-" + wheel), self.releases / (wheel + ".part")):
            path.mkdir() if path.suffix != ".part" else path.write_bytes(b"x")
            give(path, "mallory")
            with self.assertRaisesRegex(AssertionError, "%s belongs to user mallory" % path):
                self.stage(1)
            path.rmdir() if path.is_dir() else path.unlink()
        self.stage(1)


if __name__ == "__main__":
    unittest.main()
