# SPDX-License-Identifier: Apache-2.0
"""A canary over SSH: one host first, watched, then the others; what it shows stops them."""
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, ROOT, TESTS, DeployCase, clean_environment


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
        self.wheel = self.pure_wheel()
        self.common = ["-F", self.fleet.config, "--state-dir", self.folder / "state"]

    def policy(self, bake):
        """The one that comes along, with less patience; each host that is asked is noted."""
        text = (ROOT / "deploy" / "canary.yaml").read_text(encoding="utf-8")
        self.assertIn("\nbake: 5m\n", text)
        text = text.replace("\nbake: 5m\n", "\nbake: %s\n" % bake)
        command = "echo $DS_DEPLOY_HOST >> %s/asked; test ! -e %s/ill" % (self.folder, self.folder)
        return self.write("canary.yaml", text + "health:\n  command: %s\n" % command)

    def take(self, policy, *words, wheel=None, **how):
        return self.deploy("deploy", "--hostfile", self.hosts, *self.common, "--wheel",
                           wheel or self.wheel, "--policy", policy, *words, **how)

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
             self.wheel, "--policy", self.policy("1h")], stdin=subprocess.DEVNULL,
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

    def test_the_other_policies_that_come_along(self):
        for version, name in (("1.0", "all-at-once"), ("2.0", "rolling")):
            report = self.take(ROOT / "deploy" / (name + ".yaml"),
                               wheel=self.pure_wheel(version=version))
            self.assertEqual(set(self.states(report).values()), {"confirmed"}, name)

    def test_without_a_canary(self):
        done = self.run_program("deploy", "--hostfile", self.hosts, *self.common, "--wheel",
                                self.wheel, "--prove-rollback")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("--prove-rollback is for a canary, and the policy has none\n  give a "
                      "policy with strategy: canary, such as deploy/canary.yaml", done.stderr)


    def at_terminal(self, answers, *words, wheel=None):
        """What a terminal shows, with these answers typed, and the exit status."""
        done = subprocess.run(
            [sys.executable, TESTS / "support" / "at_terminal.py", json.dumps(answers), PROGRAM,
             "deploy", "--hostfile", self.hosts, *self.common, "--wheel", wheel or self.wheel,
             *words],
            stdout=subprocess.PIPE, text=True, env=clean_environment(TERM="xterm"), check=False)
        return re.sub("\x1b[^a-zA-Z]*[a-zA-Z]", "", done.stdout).replace("\r", ""), done.returncode

    def test_the_plan_and_the_question(self):
        policy = self.policy("1s")
        sha256 = hashlib.sha256(self.wheel.read_bytes()).hexdigest()[:12]
        plan = ("rollout\n"
                "  n[1-4] (4): nothing of ours -> %s\n"
                "  canary: n1\n  wave 1: n2\n  wave 2: n3\n  wave 3: n4\n"
                "  3.8 kB of wheels are sent at most; how long it takes is not known: no run of the "
                "journal tells\n" % sha256)
        foreseen = self.take(policy, "--dry-run")["rollout"]
        self.assertEqual([(wave["name"], wave["hosts"]) for wave in foreseen["waves"]],
                         [("canary", ["n1"]), ("wave 1", ["n2"]), ("wave 2", ["n3"]),
                          ("wave 3", ["n4"])])
        shown, status = self.at_terminal([["Change 4 hosts", "n\n"]], "--policy", policy)
        self.assertIn(plan + "Change 4 hosts? [y/N] ", shown)
        self.assertIn("nothing was changed: the answer was not yes", shown)
        self.assertEqual((status, self.asked()), (130, []))
        shown, status = self.at_terminal([["Change 4 hosts", "y\n"]], "--policy", policy)
        self.assertEqual(status, 0, shown)
        # Nobody is asked of nothing, nor where it was said beforehand, nor of one host.
        self.assertEqual(self.at_terminal([])[1], 0)
        wheel = self.pure_wheel(version="2.0")
        shown, status = self.at_terminal([], "--policy", policy, "-y", wheel=wheel)
        self.assertEqual(status, 0, shown)
        self.assertNotIn("Change", shown)
        self.assertEqual(self.at_terminal([], "--limit", "n1")[1], 0)

    def test_no_plan_where_nobody_would_begin(self):
        self.fleet.stop("n2")
        policy = self.policy("1s")
        self.assertNotIn("rollout", self.take(policy, "--connect-timeout", "2", "--dry-run",
                                              exit_status=5))
        foreseen = self.take(policy, "--connect-timeout", "2", "--dry-run", "--unreachable",
                             "leave-out", exit_status=5)["rollout"]
        self.assertEqual([wave["hosts"] for wave in foreseen["waves"]], [["n1"], ["n3"], ["n4"]])

    def test_until(self):
        self.take(self.policy("1s"))
        newer = self.pure_wheel(version="2.0")
        foreseen = self.take(self.folder / "canary.yaml", "--dry-run", wheel=newer)["rollout"]
        self.assertGreater(foreseen["waves"][0]["seconds"], 1)  # it is watched
        self.assertGreater(foreseen["seconds"], foreseen["waves"][0]["seconds"])
        # The canary takes longer than all did before: time for one more wave is not left.
        policy = self.policy("1s")
        policy.write_text(policy.read_text().replace("command: echo", "command: sleep 15; echo"))
        report = self.take(policy, "--until", "25s", wheel=newer, exit_status=5)
        states = self.states(report)
        self.assertEqual(states, {"n1": "confirmed", "n2": "staged", "n3": "staged",
                                  "n4": "staged"})
        self.assertRegex(report["hosts"][3]["message"],
                         r"^not activated, because it would have ended at \d\d:\d\d, after "
                         r"\d\d:\d\d \(--until\)$")
        self.policy("1s")
        done = self.resume("--policy", self.folder / "canary.yaml")
        self.assertEqual(set(self.states(done).values()), {"unchanged", "confirmed"})
        done = self.run_program("deploy", "-l", "--until", "25:00")
        self.assertEqual(done.returncode, 2)
        self.assertIn("write a time such as 05:30, 90m or 2h", done.stderr)


if __name__ == "__main__":
    unittest.main()
