# SPDX-License-Identifier: Apache-2.0
"""Old releases on a host: which of them stay, and how the others go."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from support.host_side import FILES, HostSide, text_of

DAY = 86400
NFS = "def mount_of(path):\n    return ('nfs4', 'server:/env', 'rw')\n\n\n"
DIES = "def remove_tree(path):\n    os.kill(os.getpid(), 9)\n\n\n"
MAPS = """
import mmap, sys
with open(sys.argv[1], "rb") as source:
    there = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
print("mapped", flush=True)
sys.stdin.read()
"""


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
        child = subprocess.Popen([sys.executable, "-c", MAPS, str(path)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        self.addCleanup(HostCleanup(child))
        self.assertEqual(child.stdout.readline(), b"mapped\n")
        return child

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


class HostCleanup:
    def __init__(self, child):
        self.child = child

    def __call__(self):
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait()


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


class Remove(KeepCase):
    def setUp(self):
        super().setUp()
        self.site = next(self.host.prefix.rglob("site-packages"))
        self.before = {path for path in self.host.prefix.rglob("*") if "pycache" not in str(path)}
        self.launcher = self.host.prefix / "bin" / "tool"

    def remove(self, releases=None, **more):
        return self.host.ask("remove", releases=releases, all_asked=False, **more)

    def deployed(self):
        a, b = self.seal("ab")
        info = self.releases / a / "demo-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[console_scripts]\ntool = demo:main\n")
        self.activate(a)
        self.activate(b)
        self.assertTrue(self.launcher.exists())
        return a, b

    def test_some(self):
        self.deployed()
        self.seal("c")
        answer = self.remove(["c" * 64, "a" * 64, "d" * 64])
        self.assertEqual(answer["removed"], ["a" * 64, "c" * 64])
        self.assertEqual(answer["stays"], [{"what": "d" * 64, "because": "it is not there"}])
        self.assertEqual(self.there(), ("b", ""))

    def test_one_that_is_mapped_stays(self):
        self.seal("ab")
        child = self.mapping(self.releases / ("a" * 64) / "file")
        answer = self.remove(["a" * 64, "b" * 64])
        self.assertEqual(answer["removed"], ["b" * 64])
        self.assertEqual(answer["stays"], [{"what": "a" * 64, "because":
                                            "process %d uses it" % child.pid}])

    def test_active_ones_are_refused(self):
        a, b = self.deployed()
        answer = self.remove([a, b])
        self.assertEqual(answer["problem"], "release bbbbbbbbbbbb is active")
        self.assertEqual(self.there(), ("ab", ""))
        self.assertIn("release bbbbbbbbbbbb is active", self.remove()["problem"])
        identity = self.activate(a, keep=False)
        self.assertEqual(self.remove([b])["problem"],
                         "release bbbbbbbbbbbb is named by an activation that is not decided yet")
        self.host.ask("rollback", activation=identity, because="test")
        self.assertEqual(self.host.ask("remove", releases=["../x"], all_asked=False)["problem"],
                         "'../x' is no SHA-256")

    def test_everything(self):
        self.deployed()
        self.activate()
        lock = {"who": "ada", "from": "head", "since": "2026-11-26T03:00:00Z", "run": "run-9"}
        child = self.host.open()
        self.addCleanup(self.host.close, child)
        self.assertTrue(self.host.say(child, "lock", **lock)["ok"])
        answer = self.host.say(child, "remove", releases=None, all_asked=False)
        self.assertEqual((answer["ok"], answer["stays"]), (True, []))
        self.assertEqual(answer["removed"], ["a" * 64, "b" * 64])
        self.assertIn(str(self.launcher), answer["files"])
        self.assertIn(str(self.site / "ds_deploy.pth"), answer["files"])
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["env"])
        self.assertEqual({path for path in self.host.prefix.rglob("*")
                          if "pycache" not in str(path)}, self.before)
        self.assertEqual(list(self.site.iterdir()), [])
        self.assertTrue(self.host.say(child, "unlock")["ok"])

    def test_everything_of_nothing(self):
        answer = self.remove()
        self.assertEqual((answer["ok"], answer["removed"], answer["files"], answer["stays"]),
                         (True, [], [], []))
        self.assertFalse(self.host.root.exists())

    def test_what_is_not_ours_stays(self):
        self.deployed()
        self.activate()
        (self.host.root / "notes.txt").write_text("theirs")
        answer = self.remove()
        self.assertEqual(answer["removed"], ["a" * 64, "b" * 64])
        self.assertEqual(answer["stays"], [{"what": str(self.host.root / "notes.txt"),
                                            "because": "ds-deploy did not write it"}])
        self.assertFalse((self.site / "ds_deploy.pth").exists())
        self.assertEqual(os.listdir(self.host.root), ["notes.txt"])
        (self.host.root / "notes.txt").unlink()
        self.assertEqual(self.remove()["stays"], [])
        self.assertFalse((self.folder / ".ds-deploy").exists())

    def test_nothing_goes_where_something_is_in_use(self):
        a, _ = self.deployed()
        self.activate()
        child = self.mapping(self.releases / a / "file")
        before = sorted(self.folder.rglob("*"))
        for look in (True, False):
            self.assertEqual(self.remove(look=look)["problem"],
                             "release aaaaaaaaaaaa stays, and so does all else: process %d uses it"
                             % child.pid)
        self.assertEqual(sorted(self.folder.rglob("*")), before)
        child.stdin.close()
        child.wait()
        self.assertEqual(self.remove()["stays"], [])
        self.assertFalse((self.folder / ".ds-deploy").exists())

    def test_where_it_cannot_be_written(self):
        self.deployed()
        self.activate()
        self.patched("os.access = lambda path, mode: not path.endswith('/bin')\n")
        self.assertIn("/bin cannot be written, and files of ds-deploy are in it",
                      self.remove()["problem"])
        self.assertTrue(self.launcher.exists())

    def test_a_folder_of_ours_within_the_environment(self):
        """Where its parent cannot be written."""
        self.host.root = self.host.prefix / "var" / "ds-deploy"
        self.releases = self.host.root / "releases"
        self.host.root.mkdir(parents=True)
        self.deployed()
        self.activate()
        self.assertEqual(self.remove()["stays"], [])
        self.assertFalse((self.host.prefix / "var").exists())

    def test_while_an_activation_is_not_decided(self):
        a, _ = self.deployed()
        identity = self.activate(a, keep=False)
        self.assertIn("not decided yet", self.remove()["problem"])
        self.host.ask("rollback", activation=identity, because="test")

    def test_a_hook_of_another_environment_stays(self):
        self.deployed()
        self.activate()
        hook = self.site / "_ds_deploy.py"
        hook.write_text("ROOT = '/another'\n")
        answer = self.remove()
        self.assertEqual([one["what"] for one in answer["stays"]], [str(hook)])
        self.assertTrue((self.site / "ds_deploy.pth").exists())

    def test_a_shared_file_system(self):
        self.seal("a")
        self.patched(NFS)
        for releases in (None, ["a" * 64]):
            self.assertIn("other machines may use it (nfs4)", self.remove(releases)["problem"])
        answer = self.host.ask("remove", releases=None, all_asked=True)
        self.assertEqual(answer["removed"], ["a" * 64])


if __name__ == "__main__":
    unittest.main()
