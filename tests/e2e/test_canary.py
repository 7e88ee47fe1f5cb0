# SPDX-License-Identifier: Apache-2.0
"""A canary over SSH: one host first, watched, then the others; what it shows stops them."""
import json
import signal
import subprocess
import time
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, ROOT, DeployCase, clean_environment


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class Canary(DeployCase):
    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", 4)
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        self.hosts = self.write("cluster", "".join(
            "%s slots=8 python=%s\n" % (name, self.make_environment("%s/env" % name))
            for name in self.fleet.hosts))
        self.common = ["-F", self.fleet.config, "--state-dir", self.folder / "state"]

    def policy(self, bake, more=""):
        """The one that comes along, with less patience; each host that is asked is noted."""
        text = (ROOT / "deploy" / "canary.yaml").read_text(encoding="utf-8")
        self.assertIn("\nbake: 5m\n", text)
        text = text.replace("\nbake: 5m\n", "\nbake: %s\n" % bake)
        return self.write("canary.yaml", text + "health:\n  command: %s\n" % (
            "echo $DS_DEPLOY_HOST >> %s/asked; test ! -e %s/ill" % (self.folder, self.folder)) + more)

    def take(self, policy, *words, **how):
        return self.deploy("deploy", "--hostfile", self.hosts, *self.common, "--wheel",
                           self.pure_wheel(), "--policy", policy, *words, **how)

    def resume(self, *words):
        done = self.run_program("resume", *self.common, *words, "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def asked(self):
        asked = self.folder / "asked"
        return asked.read_text().split() if asked.exists() else []

    def test_one_first_then_all(self):
        report = self.take(self.policy("1s"), "--prove-rollback")
        self.assertEqual(set(self.states(report).values()), {"confirmed"})
        # It went forward twice, and was watched.
        self.assertEqual(self.asked()[:3], ["n1"] * 3)
        self.assertEqual(sorted(self.asked()[3:]), ["n2", "n3", "n4"])
        self.assertEqual([host["message"] for host in report["hosts"]],
                         ["went back and forward again, as a trial", "", "", ""])
        self.assertIn("the canary is watched for 1.0 s", self.stderr)

    def test_it_falls_ill_while_it_is_watched(self):
        policy = self.policy("2s")
        policy.write_text(policy.read_text().replace(
            "test ! -e", "test $(grep -c n1 %s/asked) -lt 2 || test -e" % self.folder))
        report = self.take(policy, exit_status=4)
        self.assertEqual(self.states(report), {"n1": "rolled-back", "n2": "staged", "n3": "staged",
                                               "n4": "staged"})
        self.assertEqual(self.asked(), ["n1", "n1"])
        self.assertIn("not activated, because n1 is not healthy, of the same class: ",
                      report["hosts"][1]["message"])
        # It is well now.
        self.write("ill", "")
        self.assertEqual(set(self.states(self.resume()).values()), {"confirmed"})

    def test_the_coordinator_is_killed_while_it_watches(self):
        child = subprocess.Popen(
            [PROGRAM, "deploy", "--hostfile", self.hosts, *self.common, "--wheel",
             self.pure_wheel(), "--policy", self.policy("1h")], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean_environment())
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        for line in child.stderr:
            if "is watched" in line:
                break
        time.sleep(1)
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.policy("1s")
        done = self.resume("--policy", self.folder / "canary.yaml")
        self.assertEqual(self.states(done), {"n1": "unchanged", "n2": "confirmed",
                                             "n3": "confirmed", "n4": "confirmed"})

    def test_without_a_canary(self):
        done = self.run_program("deploy", "--hostfile", self.hosts, *self.common, "--wheel",
                                self.pure_wheel(), "--prove-rollback")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("--prove-rollback is for a canary, and the policy has none\n  give a "
                      "policy with strategy: canary, such as deploy/canary.yaml", done.stderr)


if __name__ == "__main__":
    unittest.main()
