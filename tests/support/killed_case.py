# SPDX-License-Identifier: Apache-2.0
"""A coordinator that is killed: real hosts, two wheels, and a reader that trusts nobody."""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
import zipfile

from support import sshd_hosts
from support.deploy_case import PROGRAM, DeployCase, clean_environment

HOSTS = 8
# Importing waits as long as the test wants it to; the rest is there to be sent.
MODULE = "import os, time\nwhile os.path.exists(%r):\n    time.sleep(0.02)\nDATA = %r\n"
POLICY = "retries: 0\ntime_limits:\n  confirm: 5s\nconfirm_timeout: 35s\n"


def ended(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as source:
            return source.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def replace(path, text):
    """Whoever reads it meanwhile finds all of it or what was there."""
    fresh = path.with_name(path.name + ".test")
    fresh.write_text(text)
    fresh.rename(path)


class KilledCase(DeployCase):
    """Eight hosts for all tests of a class. Each test finds them at the release `old` and leaves
    them at one release, confirmed; `new` is another one."""

    AFTERWARDS = ("at once", "waited", "rebooted")  # what comes between the kill and the second run

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.maker = cls()
        cls.addClassCleanup(cls.maker.doCleanups)
        cls.maker.make_fleet()

    def setUp(self):
        vars(self).update((name, value) for name, value in vars(self.maker).items()
                          if not name.startswith("_"))
        self.look_where_they_are()

    def make_fleet(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", HOSTS)
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        first = self.make_environment("origin/env").parent.parent
        pythons = {}
        for name in self.fleet.hosts:
            (self.folder / name).mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", str(first), str(self.folder / name / "env")], check=True)
            pythons[name] = self.folder / name / "env" / "bin" / "python"
        self.hosts = self.write("cluster", "".join(
            "%s slots=8 python=%s\n" % pair for pair in pythons.items()))
        self.reach = ["--hostfile", self.hosts, "-F", self.fleet.config]
        self.policy = self.write("policy.yaml", POLICY)
        self.state = self.folder / "state"
        self.hold = self.folder / "hold"
        self.wheels = {}
        for version in ("1.0", "2.0"):
            data = random.Random(version).randbytes(100_000).hex()
            wheel = self.pure_wheel(version=version, text=MODULE % (str(self.hold), data))
            self.wheels[hashlib.sha256(wheel.read_bytes()).hexdigest()] = wheel
        self.assertEqual(self.deployed(next(iter(self.wheels))), {"confirmed"})

    def look_where_they_are(self):
        (self.old,) = set(self.releases().values())
        (self.new,) = set(self.wheels) - {self.old}

    def words(self, release):
        return [*self.reach, "--policy", self.policy, "--state-dir", self.state,
                "--wheel", self.wheels[release]]

    def deployed(self, release):
        return set(self.states(self.deploy(*self.words(release))).values())

    def second_run(self, release):
        """The report of what goes on with the run that was to bring `release`."""
        if self.run_lives()[:1] != ["died"]:  # it was killed before it was written down
            return self.deploy(*self.words(release))
        done = self.run_program("resume", *self.reach, "--state-dir", self.state, "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def begin(self, release, **environment):
        return subprocess.Popen(
            [PROGRAM, *map(str, self.words(release))], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=clean_environment(**environment))

    def roots(self):
        return [self.folder / name / ".ds-deploy" / "env" for name in self.fleet.hosts]

    @staticmethod
    def pointer(root):
        try:
            return (root / "active").read_text().strip()
        except FileNotFoundError:
            return "none"

    @staticmethod
    def remove(folder):
        """What is sealed is read-only."""
        for inner, _, _ in os.walk(folder):
            os.chmod(inner, 0o755)
        shutil.rmtree(folder, ignore_errors=True)

    def forget_new(self):
        """It will have to be sent."""
        for root in self.roots():
            (root / "releases" / (self.new + ".json")).unlink(missing_ok=True)
            self.remove(root / "releases" / self.new)

    def forget_all(self):
        """No host has ever seen us."""
        for name, root in zip(self.fleet.hosts, self.roots()):
            self.remove(root)
            for path in (self.folder / name / "env").rglob("*ds_deploy.*"):
                path.unlink()

    def releases(self):
        """What each host is at; every byte of it is held against the wheel."""
        found = {}
        for name, root in zip(self.fleet.hosts, self.roots()):
            sha256 = self.pointer(root)
            found[name] = sha256
            if sha256 == "none":
                continue
            folder = root / "releases" / sha256
            with zipfile.ZipFile(self.wheels[sha256]) as wheel:
                for member in wheel.namelist():
                    self.assertEqual((folder / member).read_bytes(), wheel.read(member))
                files = {str(path.relative_to(folder)) for path in folder.rglob("*")
                         if path.is_file() and path.parent.name != "__pycache__"}
                self.assertEqual(files, set(wheel.namelist()))
        return found

    def until(self, condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "it takes too long")
            time.sleep(0.02)

    def on_trial(self):
        return [root for root in self.roots() if (root / "unconfirmed.json").exists()]

    def undecided(self):
        return [root for root in self.roots()
                if (root / "unconfirmed.json").exists() or (root / "overdue.json").exists()]

    def status(self, exit_status):
        done = self.run_program("status", *self.reach, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout)["hosts"]

    def run_lives(self):
        """How each run ended, newest first."""
        done = self.run_program("history", "--state-dir", self.state, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return [run["state"] for run in json.loads(done.stdout)["runs"]]

    def kill_while_confirming(self):
        self.hold.write_text("")
        child = self.begin(self.new)
        self.until(lambda: len(self.on_trial()) == HOSTS and
                   set(self.releases().values()) == {self.new}, 60)
        child.kill()
        child.wait()

    def kill_timers(self):
        for root in self.on_trial():
            try:
                pid = json.loads((root / "armed.json").read_text())["pid"]
                os.kill(pid, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it had not begun
            self.until(lambda pid=pid: ended(pid), 5)

    def change_trials(self, **values):
        for root in self.on_trial():
            note = root / "unconfirmed.json"
            replace(note, json.dumps(dict(json.loads(note.read_text()), **values)))

    def let_deadlines_pass(self):
        self.change_trials(deadline=0)

    def reboot(self):
        """As far as the notes can tell: nothing runs any more, and the boot is another one."""
        self.kill_timers()
        self.change_trials(boot="another")

    def assert_all_at(self, release, report):
        """The report says so, status says so, and it is so."""
        self.assertEqual(report["exit"], 0)
        self.assertLessEqual(set(self.states(report).values()), {"confirmed", "unchanged"})
        found = self.releases()
        self.assertEqual(set(found.values()), {release})
        self.assertEqual({host["name"]: host["release"] for host in report["hosts"]}, found)
        told = self.status(0)
        self.assertEqual({host["name"]: host["release"] for host in told}, found)
        self.assertEqual({host["state"] for host in told}, {"confirmed"})
