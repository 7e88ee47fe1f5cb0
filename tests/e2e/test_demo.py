# SPDX-License-Identifier: Apache-2.0
"""deploy/demo, played by an ordinary user: each step ends as it should, and nothing is left."""
import ctypes
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

from support import demo_fleet, other_users, sshd_hosts
from support.deploy_case import PROGRAM, ROOT, DeployCase, clean_environment

BECOME_THE_PARENT_OF_ORPHANS = 36  # prctl(2): PR_SET_CHILD_SUBREAPER
# In this order; each is what a user has to see.
STORY = (
    r"\$ cat cluster\nnode1 slots=1 python=~/env/bin/python\n",
    r"\n# 1\. ", r"\$ ds-deploy .* --dry-run\n", r"\nway out\n  node4  make the environment there",
    r"\n4 hosts: 3 ready, 1 refused; 0 B sent in .*\nexit status 3\n",
    r"\$ python3 -m venv .* node4/home/env",
    r"\n# 2\. ", r"\n4 hosts: 4 confirmed; ", r"\n# 3\. ", r"\n4 hosts: 4 unchanged; 0 B sent",
    r"\n# 4\. ", r"\n> .*ds_ops\.tuning", r"\n  node3  rolled-back at confirm: self-test of utils",
    r"\n4 hosts: 4 rolled-back; .*\nexit status 4\n",
    r"\n# 5\. ", r"\$ ds-deploy history\n.* exit 4 .*\n.* exit 0 .*\n.* exit 0 ",
    r"\$ ds-deploy history --hosts .*\n", r"rolled-back  node\[1-4\] .*\n.*: tuned utils\n",
    r"confirmed    node\[1-4\] .*\n.*: first ops\n",
    r"\n# 6\. ", r"\n  gpu117  fail driver: ", r"\n  amp64  fail gpu-image: ", r"\n  gpu330  fail ",
    r"\n512 hosts: 500 ready, 3 refused, 9 unreachable; .*\nexit status 5\n")


def children():
    """Ids of the living processes whose parent this one is."""
    found = set()
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text(errors="replace").rpartition(") ")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(status.parent.name))
    return found


class DemoCase(DeployCase):
    """A checkout of an ordinary user, with what deploy/quickstart left in build/."""

    def setUp(self):
        super().setUp()
        self.folder.chmod(0o755)
        self.project, self.temporary = self.folder / "project", self.folder / "tmp"
        for name in ("deploy", "ops"):
            shutil.copytree(ROOT / name, self.project / name,
                            ignore=shutil.ignore_patterns("__pycache__"))
        self.temporary.mkdir()
        (self.project / "build").mkdir()
        self.page = self.project / "build" / "demo.html"
        self.within, python = [], sys.executable
        if os.geteuid() == 0:
            python = other_users.python()
            self.within = other_users.OtherUsers(self.folder).within("alice")
            for path in (self.folder, *self.folder.rglob("*")):
                other_users.give(path, "alice")
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "python3").symlink_to(python)
        self.path = "%s:/usr/bin:/bin" % (self.folder / "bin")
        self.env = clean_environment(TMPDIR=str(self.temporary), HOME=str(self.folder))
        for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
            self.env.pop(name)
        self.reap(1)
        self.addCleanup(self.reap, 0)
        self.before = children()
        self.addCleanup(lambda: [os.kill(child, signal.SIGKILL)
                                 for child in children() - self.before])

    @staticmethod
    def reap(wanted):
        ctypes.CDLL(None).prctl(BECOME_THE_PARENT_OF_ORPHANS, wanted, 0, 0, 0)

    def program(self, text=None):
        """Puts ds-deploy, or a script in its place, where quickstart leaves it."""
        target = self.project / "build" / "ds-deploy"
        if text is None:
            shutil.copy(PROGRAM, target)
        else:
            target.write_text(text)
        target.chmod(0o755)

    def start(self, within=None):
        words = [*(self.within if within is None else within), "/usr/bin/env",
                 "PATH=" + self.path, str(self.project / "deploy" / "demo")]
        return subprocess.Popen(words, env=self.env, cwd="/", text=True, start_new_session=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def files(self):
        """What the user has: names, and of the sources all that a file is."""
        names = sorted(str(path) for path in self.folder.rglob("*"))
        return names, self.tree(self.project / "deploy"), self.tree(self.project / "ops")

    def play(self, exit_status, within=None):
        child = self.start(within)
        said = child.communicate(timeout=600)[0]
        self.assertEqual(child.returncode, exit_status, said)
        return said

    def assert_nothing_is_left(self):
        latest = time.monotonic() + 5
        while children() - self.before and time.monotonic() < latest:
            time.sleep(0.05)
        self.assertEqual(children() - self.before, set())
        self.assertEqual(list(self.temporary.iterdir()), [])


@unittest.skipIf(sshd_hosts.missing() or os.geteuid() == 0 and other_users.missing(),
                 "%s" % (sshd_hosts.missing() or other_users.missing()))
class Demo(DemoCase):
    def test_the_whole_story(self):
        self.program()
        before = self.files()
        said = self.play(0)
        at = 0
        for step in STORY:
            found = re.compile(step).search(said, at)
            self.assertIsNotNone(found, "%s is not there, or not in its place:\n%s" % (step, said))
            at = found.end() - 1
        self.assert_in_the_readme(said)
        self.assertIn("That page stays, to be opened in a browser: %s\n" % self.page, said)
        self.assertIn("gpu117", self.page.read_text())
        self.assert_nothing_is_left()
        self.page.unlink()
        self.assertEqual(self.files(), before)

    def assert_in_the_readme(self, said):
        """What README shows of it are commands and words of this very story."""
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        shown = re.search(r"^\$ deploy/demo\n(.*?)^```$", text, re.M | re.S).group(1)
        lines = set(said.replace(str(self.project), "/src/project").splitlines())
        for line in shown.splitlines():
            if line.startswith(("#", "$", "exit status")):
                self.assertIn(line, lines)

    def test_interrupted_on_its_way(self):
        self.program()
        child = self.start()
        said = ""
        for line in child.stdout:
            said += line
            if line.startswith("[verify 1/4]"):
                os.killpg(child.pid, signal.SIGINT)
        child.stdout.close()
        self.assertEqual(child.wait(timeout=60), 130, said)
        self.assertNotIn("# 3. ", said)
        self.assert_nothing_is_left()

    def test_a_step_that_ends_otherwise_stops_it(self):
        self.program("#!/bin/sh\n")
        self.assertIn("this should have ended with status 3\n", self.play(1))
        self.assert_nothing_is_left()
        self.assertFalse(self.page.exists())


class MissingPrograms(DemoCase):
    def setUp(self):
        super().setUp()
        self.program("#!/bin/sh\n")
        self.path = str(self.folder / "bin")
        for name, like in (("dirname", "dirname"), ("ssh-keygen", "true"), ("c++", "true")):
            self.put(name, like)

    def put(self, name, like):
        (self.folder / "bin" / name).unlink(missing_ok=True)
        (self.folder / "bin" / name).symlink_to(shutil.which(like))

    def assert_named(self, program, way_out, within=None):
        said = self.play(2, within)
        self.assertRegex(said, r"\Adeploy/demo: .*%s.*: .*%s.*\n\Z" % (
            re.escape(program), re.escape(way_out)))
        self.assert_nothing_is_left()

    @unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
    def test_one_is_missing(self):
        for program, way_out in (("ssh-keygen", "openssh-client"), ("c++", "g++"),
                                 ("python3", "python3-venv")):
            with self.subTest(program):
                there = self.folder / "bin" / program
                there.rename(self.folder / program)
                self.assert_named(program, way_out)
                (self.folder / program).rename(there)
        with self.subTest("venv"):
            self.put("python3", "false")
            self.assert_named("venv", "python3-venv")
        self.put("python3", "true")
        with self.subTest("ds-deploy"):
            (self.project / "build" / "ds-deploy").unlink()
            self.assert_named("ds-deploy", "deploy/quickstart")

    @unittest.skipIf(sshd_hosts.missing() or other_users.missing(),
                     "%s" % (sshd_hosts.missing() or other_users.missing()))
    def test_no_server(self):
        hide = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null "$1"; shift; exec "$@"', "sh"]
        self.assert_named("sshd", "openssh-server", [
            *hide, os.path.realpath(sshd_hosts.SSHD), *self.within])


class Fleet(unittest.TestCase):
    def test_what_is_shipped_is_what_its_maker_makes(self):
        shipped = (demo_fleet.FOLDER / "facts.json.gz").read_bytes()
        self.assertEqual(json.loads(gzip.decompress(shipped)), demo_fleet.fleet())


if __name__ == "__main__":
    unittest.main()
