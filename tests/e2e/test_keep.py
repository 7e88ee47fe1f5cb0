# SPDX-License-Identifier: Apache-2.0
"""Old releases on a host: which of them stay, and how the others go."""
import os
import subprocess
import unittest

from support.keep_case import NFS, KeepCase

DIES = "def remove_tree(path):\n    os.kill(os.getpid(), 9)\n\n\n"


class Clean(KeepCase):
    def history(self, letters):
        """Each was active for two days, the last one is."""
        names = self.seal(letters)
        for name in names:
            self.activate(name)
            self.age()
        return names

    def test_an_environment_without_releases(self):
        self.assertEqual(self.clean(), "")
        self.assertFalse(self.host.root.exists())

    def test_the_active_one_and_three_before_it_stay(self):
        self.history("abcdef")
        self.assertEqual(self.clean(), "ab")
        self.assertEqual(self.there(), ("cdef", ""))
        self.assertEqual(self.because["f"], "it is active")
        self.assertEqual(self.because["c"], "it is one of the last 3 that were active")
        self.assertEqual(self.answer["bytes"], 10)
        self.assertEqual(self.clean(), "")

    def test_keep_none(self):
        self.history("abc")
        self.assertEqual(self.clean(keep=0), "ab")

    def test_back_and_forth_is_no_long_history(self):
        a, b, _ = self.history("abc")
        for _ in range(3):
            for name in (a, b):
                self.activate(name)
                self.age()
        self.assertEqual(self.clean(keep=2), "")
        self.assertEqual(self.clean(keep=1), "c")

    def test_the_newest_of_those_that_never_stayed(self):
        self.seal("abcde")
        self.activate("e" * 64)
        self.age()
        self.assertEqual(self.clean(keep=2), "ab")
        self.assertEqual(self.because["c"], "it is one of the newest 2 others")

    def test_sets_of_more_than_one(self):
        names = self.seal("abcdef")
        for at in (0, 2, 4):
            self.activate(*names[at:at + 2])
            self.age()
        self.assertEqual(self.clean(keep=1), "ab")

    def test_one_on_trial_and_what_it_would_go_back_to(self):
        self.history("abc")
        self.seal("d")
        identity = self.activate("d" * 64, keep=False)
        self.age()
        self.assertEqual(self.clean(keep=0), "ab")
        self.assertEqual(self.because["d"], "it is active")
        self.assertEqual(self.because["c"], "an activation that is not decided may go back to it")
        self.host.ask("rollback", activation=identity, because="test")
        self.assertEqual(self.host.pointer(), ["c" * 64])

    def test_inactive_for_less_than_a_day(self):
        """Also where nothing but the activation's note or but the seal tells of it."""
        self.history("ab")
        self.seal("c")
        self.activate("c" * 64)
        self.assertEqual(self.clean(keep=0), "a")
        self.assertEqual(self.because["b"], "it was in use less than a day ago")
        os.utime(self.releases / ("b" * 64 + ".json"), (0, 0))
        self.assertEqual(self.clean(keep=0), "")
        self.age()
        os.utime(self.releases / ("b" * 64 + ".json"))
        self.assertEqual(self.clean(keep=0), "")
        self.age()
        self.assertEqual(self.clean(keep=0), "b")

    def test_one_that_went_back_was_in_use(self):
        self.history("ab")
        self.seal("c")
        identity = self.activate("c" * 64, keep=False)
        self.age()
        self.host.ask("rollback", activation=identity, because="test")
        self.assertEqual(self.clean(keep=0), "a")
        self.assertEqual(self.because["c"], "it was in use less than a day ago")

    def test_a_clock_that_went_back(self):
        self.seal("a")
        self.age(-30)
        self.assertEqual(self.clean(keep=0), "")

    def test_one_that_a_process_has_mapped(self):
        self.seal("ab")
        child = self.mapping(self.releases / ("a" * 64) / "file")
        self.assertEqual(self.clean(keep=0), "b")
        self.assertEqual(self.because["a"], "process %d uses it" % child.pid)
        self.assertEqual(self.answer["in_use"], ["a" * 64])
        child.stdin.close()
        child.wait()
        self.assertEqual(self.clean(keep=0), "a")

    def test_one_that_another_host_told_of(self):
        self.seal("ab")
        self.assertEqual(self.clean(keep=0, in_use=["b" * 64]), "a")
        self.assertEqual(self.because["b"], "another host that shares it uses it")

    def test_a_shared_file_system(self):
        self.seal("ab")
        self.patched(NFS)
        self.assertEqual(self.clean(keep=1), "")
        self.assertEqual(self.because["a"],
                         "other machines may use it (nfs4), and not all of them were asked")
        self.assertEqual(self.answer["shared"], "nfs4")
        self.assertEqual(self.clean(keep=1, all_asked=True), "a")

    def test_those_of_another_user(self):
        self.seal("a")
        self.patched("os.geteuid = lambda: 12345\n")
        self.assertEqual(self.clean(keep=0), "")
        self.assertEqual(self.because["a"], "it belongs to another user")

    def test_dry(self):
        self.history("abcde")
        (self.releases / ("f" * 64 + ".part")).write_text("x")
        self.age()
        before = sorted(self.host.root.rglob("*"))
        self.assertEqual(self.clean(dry=True), "a")
        self.assertEqual((self.answer["bytes"], self.answer["leftovers"]),
                         (5, ["releases/" + "f" * 64 + ".part"]))
        self.assertEqual(sorted(self.host.root.rglob("*")), before)

    def test_bytes_that_another_release_has_too_are_not_freed(self):
        names = self.seal("abc")
        for name in names[1:]:
            (self.releases / name / "file").unlink()
            os.link(self.releases / names[0] / "file", self.releases / name / "file")
        self.assertEqual(self.clean(keep=1), "ab")
        self.assertEqual(self.answer["bytes"], 0)
        self.assertEqual(self.clean(keep=0), "c")
        self.assertEqual(self.answer["bytes"], 5)

    def test_killed_in_between(self):
        self.seal("ab")
        self.patched(DIES)
        with self.assertRaises(AssertionError):
            self.clean(keep=0)
        self.assertEqual(self.there(), ("", "ab"))
        self.patched("")
        self.age()
        self.assertEqual(self.clean(keep=3), "ab")
        self.assertEqual(self.there(), ("", ""))

    def test_a_folder_without_a_seal_is_left_for_a_day(self):
        """It may be about to get one."""
        self.seal("a")
        (self.releases / ("a" * 64 + ".json")).unlink()
        self.age(0.5)
        self.assertEqual(self.clean(keep=0), "")
        self.age()
        self.assertEqual(self.clean(keep=0), "a")

    def test_leftovers(self):
        self.seal("a")
        names = ["active.77.new", "releases/" + "b" * 64 + ".json.77.new",
                 "releases/" + "c" * 64 + ".part"]
        for name in names:
            (self.host.root / name).write_text("x")
        names.append("releases/.stage-" + "d" * 64)
        (self.host.root / names[-1]).mkdir()
        (self.releases / "theirs.txt").write_text("x")
        self.age(0.5)
        self.assertEqual((self.clean(), self.answer["leftovers"]), ("", []))
        self.age()
        with open(self.releases / ("c" * 64 + ".part"), "r+b") as part:
            subprocess.run(["flock", "-x", str(part.fileno())], pass_fds=[part.fileno()],
                           check=True)
            self.assertEqual((self.clean(), self.answer["leftovers"]),
                             ("", sorted(set(names) - {names[2]})))
        self.assertEqual((self.clean(), self.answer["leftovers"]), ("", [names[2]]))
        self.assertEqual(sorted(os.listdir(self.releases)),
                         ["a" * 64, "a" * 64 + ".json", "theirs.txt"])

    def test_a_pointer_or_a_note_that_cannot_be_read(self):
        self.history("ab")
        for name in ("active", "confirmed.json"):
            path = self.host.root / name
            text = path.read_text()
            path.write_text("x" + text[:40])
            answer = self.host.ask("clean", keep=0, all_asked=False)
            self.assertFalse(answer["ok"])
            self.assertIn(str(path), answer["problem"])
            path.write_text(text)
        self.assertEqual(self.there(), ("ab", ""))


if __name__ == "__main__":
    unittest.main()
