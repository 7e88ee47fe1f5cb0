# SPDX-License-Identifier: Apache-2.0
"""The commands of a wheel in the environment's bin folder: they run the active release."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from support.host_side import HostSide
from support.recorded_wheel import pack

MARKER = "\n# ds-deploy launcher\n"
MAIN = """
import sys


def main():
    print(%(version)r, *sys.argv[1:])
    return 3


def children():
    import multiprocessing
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        print(pool.apply(version))


def version():
    return %(version)r
"""
ENTRY_POINTS = """[console_scripts]
tool = demo.main:main
Spawn.er = demo.main:children

[gui_scripts]
window = demo.main:main

[demo.plugins]
other = demo.main:main
"""
PYTHON_SCRIPT = """#!python
import demo
import os
import sys

if __name__ == "__main__":
    print(demo.VERSION, os.path.basename(sys.argv[0]), sys.argv[1:], demo.__file__)
    sys.exit(4)
"""
SHELL_SCRIPT = """#!/bin/sh
echo "shell $0 $*"
exit 5
"""
MOUNTS = os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False,
                                              stderr=subprocess.DEVNULL).returncode == 0


class LauncherCase(unittest.TestCase):
    place = "at"

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(self.remove_folder)
        (self.folder / self.place).mkdir(parents=True)
        self.host = HostSide(self.folder / self.place)
        self.bin = self.host.prefix / "bin"
        self.runs = 0

    def remove_folder(self):
        subprocess.run(["chmod", "-R", "u+w", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def stage(self, version, name="demo", entry_points=ENTRY_POINTS, **scripts):
        text = {name + "/__init__.py": "VERSION = %r\n" % version,
                name + "/main.py": MAIN % {"version": version},
                "%s-%s.dist-info/entry_points.txt" % (name, version): entry_points}
        for script, content in scripts.items():
            text["%s-%s.data/scripts/%s" % (name, version, script)] = content
        files = {path: content.encode() for path, content in text.items()}
        return self.host.stage(pack(self.folder, files, name=name, version=version))

    def activate(self, *releases, **more):
        self.runs += 1
        identity = "run-%d" % self.runs
        answer = self.host.activate(releases, identity, armed=False, **more)
        self.assertTrue(answer["ok"], answer)
        self.assertIn(self.host.ask("keep", activation=identity).get("state"), (None, "confirmed"))
        return answer

    def run_command(self, name, *words):
        done = subprocess.run([str(self.bin / name), *words], stdout=subprocess.PIPE, cwd="/",
                              stderr=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


class Launchers(LauncherCase):
    def test_they_run_the_active_release_and_never_change(self):
        first, second = self.stage("1.0"), self.stage("2.0")
        answer = self.activate(first)
        self.assertEqual((answer["scripts_left"], answer["scripts_problem"]), ([], ""))
        self.assertEqual(self.run_command("tool", "a", "b c"), (3, "1.0 a b c\n", ""))
        self.assertEqual(self.run_command("window"), (3, "1.0\n", ""))
        self.assertEqual(self.run_command("Spawn.er"), (0, "1.0\n", ""))
        self.assertFalse((self.bin / "other").exists())
        before = (self.bin / "tool").stat()
        self.activate(second)
        self.assertEqual((self.bin / "tool").stat(), before)
        self.assertEqual(self.run_command("tool"), (3, "2.0\n", ""))

    def test_scripts_of_the_data_folder(self):
        self.activate(self.stage("1.0", script=PYTHON_SCRIPT, shell=SHELL_SCRIPT))
        release = self.host.root / "releases" / self.host.pointer()[0]
        self.assertEqual(self.run_command("script", "x"),
                         (4, "1.0 script ['x'] %s/demo/__init__.py\n" % release, ""))
        self.assertEqual(self.run_command("shell", "x", "y"),
                         (5, "shell %s/demo-1.0.data/scripts/shell x y\n" % release, ""))

    def test_one_whose_release_is_not_active_says_so(self):
        first = self.stage("1.0")
        self.activate(first)
        self.activate(self.stage("2.0", entry_points="[console_scripts]\nnew = demo.main:main\n"))
        status, out, err = self.run_command("tool")
        self.assertEqual((status, out, err.count("\n")), (127, "", 1))
        self.assertRegex(err, "^tool: release [0-9a-f]{12}, active in .*env, has no such command; ")
        self.assertEqual(self.run_command("new"), (3, "2.0\n", ""))
        self.activate()
        status, out, err = self.run_command("tool")
        self.assertEqual((status, out, err.count("\n")), (127, "", 1))
        self.assertRegex(err, "^tool: no release of ds-deploy is active in .*env; ")
        self.activate(first)
        self.assertEqual(self.run_command("tool")[0], 3)

    def test_a_name_that_somebody_holds_is_left(self):
        (self.bin / "tool").write_text("#!/bin/sh\necho theirs\n")
        (self.bin / "tool").chmod(0o755)
        (self.bin / "window").symlink_to("/no/such/file")
        (self.bin / "Spawn.er").mkdir()
        answer = self.activate(self.stage("1.0", script=PYTHON_SCRIPT))
        self.assertEqual(answer["scripts_left"], ["Spawn.er", "tool", "window"])
        self.assertEqual(self.run_command("tool"), (0, "theirs\n", ""))
        self.assertEqual(os.readlink(self.bin / "window"), "/no/such/file")
        self.assertEqual(self.run_command("script")[0], 4)

    def test_one_of_ours_is_written_anew_where_it_differs(self):
        release = self.stage("1.0")
        self.activate(release)
        whole = (self.bin / "tool").read_text()
        self.assertIn(MARKER, whole)
        (self.bin / "tool").write_text(whole + "an earlier one\n")
        (self.bin / "window").unlink()
        answer = self.activate(release)
        self.assertEqual((answer["changed"], answer["scripts_left"]), (True, []))
        self.assertEqual((self.bin / "tool").read_text(), whole)
        self.assertEqual(self.run_command("window")[0], 3)
        self.assertFalse(self.activate(release)["changed"])

    def test_one_of_another_environment_is_left(self):
        release = self.stage("1.0")
        self.activate(release)
        theirs = (self.bin / "tool").read_text().replace(str(self.host.root), "/another/root")
        (self.bin / "tool").write_text(theirs)
        self.assertEqual(self.activate(release)["scripts_left"], ["tool"])
        self.assertEqual((self.bin / "tool").read_text(), theirs)

    def test_names_that_are_no_names_are_left(self):
        names = ("../up", "a/b", "..", "-x y", "tab\tbed", "x" * 250, "näme")
        text = "[console_scripts]\n" + "".join("%s = demo.main:main\n" % name for name in names)
        before = set(os.listdir(self.bin))
        answer = self.activate(self.stage("1.0", entry_points=text + "good = demo.main:main\n"))
        self.assertEqual(set(os.listdir(self.bin)) - before, {"good", "ds-deploy-check"})
        self.assertEqual(answer["scripts_left"], sorted(set(names) - {"x" * 250}))
        self.assertIn("File name too long: %s" % (self.bin / ("x" * 250)),
                      answer["scripts_problem"])

    def test_entry_points_that_cannot_be_read_cost_no_activation(self):
        for text in ("[console_scripts\n", "tool = demo\n", "\x00\n[console_scripts]\ntool\n"):
            with self.subTest(text):
                answer = self.activate(self.stage("1.0", entry_points=text, script=PYTHON_SCRIPT))
                self.assertEqual(self.run_command("script")[0], 4)
                self.assertEqual(answer["scripts_left"], [])

    @unittest.skipUnless(MOUNTS, "a read-only folder needs root and a mount namespace")
    def test_a_folder_that_cannot_be_written_to_costs_no_activation(self):
        release = self.stage("1.0")
        within = ["unshare", "-m", "sh", "-c", "mount --bind '%s' '%s' && mount -o "
                  "remount,ro,bind '%s' && exec \"$@\"" % ((self.bin,) * 3), "sh"]
        answer = self.activate(release, within=within)
        self.assertIn("Read-only file system: %s" % (self.bin / "Spawn.er"),
                      answer["scripts_problem"])
        self.assertEqual(self.host.pointer(), [release])
        self.assertFalse((self.bin / "tool").exists())

    def test_pythonpath_wins_as_for_a_script_of_pip(self):
        self.activate(self.stage("1.0"))
        mine = self.folder / "mine" / "demo"
        mine.mkdir(parents=True)
        (mine / "__init__.py").write_text("")
        (mine / "main.py").write_text("def main():\n    print('mine')\n")
        done = subprocess.run([str(self.bin / "tool")], stdout=subprocess.PIPE, text=True, cwd="/",
                              check=True, env=dict(os.environ, PYTHONPATH=str(mine.parent)))
        self.assertEqual(done.stdout, "mine\n")

    def test_two_releases(self):
        """Each runs its own, and the first of the pointer where both have one."""
        other = "[console_scripts]\nother = more.main:main\ntool = more.main:main\n"
        self.activate(self.stage("1.0"), self.stage("7.0", name="more", entry_points=other))
        self.assertEqual(self.run_command("other")[1], "7.0\n")
        self.assertEqual(self.run_command("tool")[1], "1.0\n")

    def test_a_link_to_it_runs_it_too(self):
        self.activate(self.stage("1.0"))
        (self.folder / "linked").symlink_to(self.bin / "tool")
        done = subprocess.run([str(self.folder / "linked")], stdout=subprocess.PIPE, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stdout), (3, "1.0\n"))


class SpaceInPath(LauncherCase):
    """A kernel reads no such first line (execve(2)), so /bin/sh starts the interpreter."""

    place = "a folder's $name"

    def test_it_runs(self):
        self.activate(self.stage("1.0", script=PYTHON_SCRIPT))
        self.assertTrue((self.bin / "tool").read_text().startswith("#!/bin/sh\n"))
        self.assertEqual(self.run_command("tool", "a", "b c"), (3, "1.0 a b c\n", ""))
        self.assertEqual(self.run_command("script")[0], 4)
        self.assertEqual(self.run_command("Spawn.er"), (0, "1.0\n", ""))


class LongPath(SpaceInPath):
    place = "/".join(["long" * 20] * 2)


class BesidePip(LauncherCase):
    """A command that pip put there before stays, and one that pip puts there later is pip's."""

    def setUp(self):
        super().setUp()
        subprocess.run([sys.executable, "-m", "venv", str(self.host.prefix)], check=True)
        self.pack("0.9")

    def pack(self, version):
        files = {"demo/__init__.py": b"", "demo/main.py": (MAIN % {"version": version}).encode(),
                 "demo-%s.dist-info/entry_points.txt" % version: ENTRY_POINTS.encode()}
        self.wheel = pack(self.folder, files, name="demo", version=version)

    def pip(self, *words):
        return subprocess.run([str(self.bin / "python"), "-m", "pip", "-q", *words], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    def test_what_pip_put_there_runs_the_release(self):
        self.pip("install", "--no-index", self.wheel)
        before = (self.bin / "tool").read_bytes()
        answer = self.activate(self.stage("1.0"))
        self.assertEqual(answer["scripts_left"], ["Spawn.er", "tool", "window"])
        self.assertEqual((self.bin / "tool").read_bytes(), before)
        self.assertEqual(self.run_command("tool"), (3, "1.0\n", ""))
        self.activate()
        self.assertEqual(self.run_command("tool"), (3, "0.9\n", ""))

    def test_pip_takes_the_name_and_gives_it_back(self):
        release = self.stage("1.0")
        self.activate(release)
        self.pip("install", "--no-index", "--force-reinstall", self.wheel)
        self.assertNotIn(MARKER, (self.bin / "tool").read_text())
        self.assertEqual(self.run_command("tool"), (3, "1.0\n", ""))
        self.assertEqual(self.activate(release)["scripts_left"], ["Spawn.er", "tool", "window"])
        self.activate()
        self.pip("uninstall", "-y", "demo")
        self.assertFalse((self.bin / "tool").exists())
        self.activate(release)
        self.assertEqual(self.run_command("tool"), (3, "1.0\n", ""))
        self.pip("uninstall", "-y", "demo")  # pip sees the release, which is not its own
        self.assertEqual(self.run_command("tool"), (3, "1.0\n", ""))


if __name__ == "__main__":
    unittest.main()
