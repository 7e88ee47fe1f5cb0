# SPDX-License-Identifier: Apache-2.0
"""The coordinator is killed at any moment: every host is complete, goes back by itself where nobody
confirmed it, and a second run ends as one that was not disturbed."""
import hashlib
import json
import os
import random
import signal
import subprocess
import time
import unittest
import zipfile

from support import sshd_hosts
from support.deploy_case import PROGRAM, DeployCase, clean_environment

HOSTS = 8
KILLS = 200 if os.environ.get("DS_DEPLOY_LONG") else 3
SEED = 20261126
# Importing waits as long as the test wants it to.
HOLD = "import os, time\nwhile os.path.exists(%r):\n    time.sleep(0.02)\n"
POLICY = "retries: 0\ntime_limits:\n  confirm: 5s\nconfirm_timeout: 35s\n"


def ended(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as source:
            return source.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class Killed(DeployCase):
    def setUp(self):
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
        self.hold = self.folder / "hold"
        self.wheels = {}
        for version in ("1.0", "2.0"):
            wheel = self.pure_wheel(version=version, text=HOLD % str(self.hold))
            self.wheels[hashlib.sha256(wheel.read_bytes()).hexdigest()] = wheel
        self.old, self.new = self.wheels
        policy = self.write("policy.yaml", POLICY)
        self.words = ["--hostfile", self.hosts, "-F", self.fleet.config, "--policy", policy,
                      "--state-dir", self.folder / "state"]
        self.assertEqual(self.deployed(self.old), {"confirmed"})

    def deployed(self, release):
        report = self.deploy(*self.words, "--wheel", self.wheels[release])
        return set(self.states(report).values())

    def begin(self, release):
        return subprocess.Popen(
            [PROGRAM, *map(str, self.words), "--wheel", str(self.wheels[release])],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=clean_environment())

    def roots(self):
        return [self.folder / name / ".ds-deploy" / "env" for name in self.fleet.hosts]

    def releases(self):
        """What each host is at; every byte of it is held against the wheel."""
        found = []
        for root in self.roots():
            (sha256,) = (root / "active").read_text().split()
            with zipfile.ZipFile(self.wheels[sha256]) as wheel:
                for name in wheel.namelist():
                    self.assertEqual((root / "releases" / sha256 / name).read_bytes(),
                                     wheel.read(name))
            found.append(sha256)
        return found

    def until(self, condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "it takes too long")
            time.sleep(0.02)

    def on_trial(self):
        return [root for root in self.roots() if (root / "unconfirmed.json").exists()]

    def status(self, exit_status):
        done = self.run_program("status", "--hostfile", self.hosts, "-F", self.fleet.config, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout)["hosts"]

    def kill_while_confirming(self):
        self.hold.write_text("")
        child = self.begin(self.new)
        self.until(lambda: len(self.on_trial()) == HOSTS and set(self.releases()) == {self.new}, 60)
        child.kill()
        child.wait()

    def reboot(self):
        """As far as the notes can tell: nothing runs any more, and the boot is another one."""
        for root in self.on_trial():
            pid = json.loads((root / "armed.json").read_text())["pid"]
            os.kill(pid, signal.SIGKILL)
            self.until(lambda pid=pid: ended(pid), 5)
            note = root / "unconfirmed.json"
            note.write_text(json.dumps(dict(json.loads(note.read_text()), boot="another")))

    def test_all_go_back_by_themselves(self):
        self.kill_while_confirming()
        began = time.monotonic()
        self.assertEqual({host["state"] for host in self.status(5)}, {"unconfirmed"})
        self.until(lambda: not self.on_trial() and set(self.releases()) == {self.old}, 40)
        self.assertLess(time.monotonic() - began, 35 + 5)
        for host in self.status(0):
            self.assertEqual(host["state"], "rolled-back")
            self.assertIn("the coordinator did not confirm it within 35 s", host["message"])
        died = json.loads(self.run_program("history", "--state-dir", self.folder / "state",
                                           "--json").stdout)["runs"]
        self.assertEqual([run["state"] for run in died], ["died", "exit 0"])
        self.hold.unlink()
        self.assertEqual(self.deployed(self.new), {"confirmed"})

    def test_rebooted_hosts_are_taken_back_by_the_next_run(self):
        self.kill_while_confirming()
        self.reboot()
        self.assertEqual({host["state"] for host in self.status(5)}, {"overdue"})
        self.hold.unlink()
        self.assertEqual(self.deployed(self.old), {"confirmed"})
        self.assertEqual(set(self.releases()), {self.old})

    def test_at_any_moment(self):
        began = time.monotonic()
        self.deployed(self.new)
        whole = time.monotonic() - began
        moments = random.Random(SEED)
        wanted = self.old
        for _ in range(KILLS):
            moment = moments.uniform(0, whole)
            with self.subTest(seed=SEED, moment=moment):
                child = self.begin(wanted)
                time.sleep(moment)
                child.kill()
                child.wait()
                self.assertLessEqual(set(self.releases()), {self.old, self.new})
                self.reboot()
                self.assertLessEqual(self.deployed(wanted), {"confirmed", "unchanged"})
                self.assertEqual(set(self.releases()), {wanted})
                self.assertEqual({host["state"] for host in self.status(0)}, {"confirmed"})
            wanted = self.new if wanted == self.old else self.old


if __name__ == "__main__":
    unittest.main()
