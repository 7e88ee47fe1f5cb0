# SPDX-License-Identifier: Apache-2.0
"""How a host parts with releases, and with all that is ds-deploy's."""
import os
import pathlib
import subprocess
import unittest

from support.deploy_case import DeployCase
from support.host_side import FILES, HostSide, text_of
from support.keep_case import NFS, KeepCase, state_of

# Ends the process before its step number STEP that takes something away.
DIES_AT = """
def dying(call):
    def counted(*words, **named):
        STEPS[0] -= 1
        if STEPS[0] < 0:
            os.kill(os.getpid(), 9)
        return call(*words, **named)
    return counted


STEPS = [%d]
os.unlink, os.rmdir, os.rename = map(dying, (os.unlink, os.rmdir, os.rename))
"""


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


class Killed(DeployCase):
    """The host's own process, before each of its steps."""

    def setUp(self):
        super().setUp()
        self.place = self.folder / "host"
        self.host = HostSide(self.place)
        self.program = self.host.program
        self.before = state_of(self.place)
        for number, version in enumerate(("1.0", "2.0", None)):
            wanted = [self.host.stage(self.pure_wheel(version=version))] if version else []
            identity = "run-%d" % number
            self.assertTrue(self.host.activate(wanted, identity, armed=False)["ok"])
            self.assertEqual(self.host.ask("keep", activation=identity)["state"], "confirmed")
        (self.host.root / "active.77.new").touch()
        for folder in ("site-packages/_ds_deploy.py", "bin/ds-deploy-check"):
            path = next(self.place.rglob(folder))
            path.with_name(path.name + ".77.new").touch()
        ours = [path for path in state_of(self.place) if path not in self.before]
        self.ours = [path for path in ours if str(pathlib.Path(path).parent) not in ours]
        subprocess.run(["tar", "-cf", str(self.folder / "ours"), "-C", str(self.place), *self.ours],
                       check=True)

    def remove(self, **more):
        return self.host.ask("remove", releases=None, all_asked=False, **more)

    def died(self, step):
        """Whether it was killed before this step."""
        self.host.program = text_of(FILES[:-1]) + DIES_AT % step + text_of(FILES[-1:])
        try:
            self.assertTrue(self.remove()["ok"])
            return False
        except AssertionError as died:
            self.assertIn("no answer", str(died))
            return True
        finally:
            self.host.program = self.program

    def test_at_every_step(self):
        step = 0
        while self.died(step):
            left = self.remove(look=True)
            self.assertEqual((left["ok"], left["nothing"]),
                             (True, state_of(self.place) == self.before), step)
            again = self.remove()
            self.assertEqual((again["ok"], again["stays"]), (True, []))
            self.assertEqual(state_of(self.place), self.before, "killed before step %d" % step)
            subprocess.run(["tar", "-xpf", str(self.folder / "ours"), "-C", str(self.place)],
                           check=True)
            step += 1
        self.assertEqual(state_of(self.place), self.before)
        self.assertGreater(step, 20)


if __name__ == "__main__":
    unittest.main()
