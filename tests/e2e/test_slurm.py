# SPDX-License-Identifier: Apache-2.0
"""Nodes of a real Slurm: drained, changed once their jobs ended, and returned."""
import json
import re
import signal
import subprocess
import time
import unittest

from support import slurm, sshd_hosts
from support.deploy_case import PROGRAM, ROOT, DeployCase, clean_environment

POLICY = ROOT / "deploy" / "slurm.yaml"


@unittest.skipIf(slurm.missing() or sshd_hosts.missing(),
                 "%s" % (slurm.missing() or sshd_hosts.missing()))
class Drained(DeployCase):
    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", 4)
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        self.slurm = slurm.Slurm(self.folder / "slurm", 4)
        self.addCleanup(self.slurm.stop)
        self.slurm.start()
        self.environment = clean_environment(PATH=slurm.PATH,
                                             SLURM_CONF=self.slurm.environment["SLURM_CONF"])
        self.hosts = self.write("cluster", "".join(
            "%s slots=8 python=%s\n" % (name, self.make_environment("%s/env" % name))
            for name in self.fleet.hosts))
        self.common = ["-F", self.fleet.config, "--state-dir", self.folder / "state"]
        self.wheel = self.pure_wheel()

    def words(self, *words, wheel=None):
        return [str(word) for word in (
            "deploy", "--hostfile", self.hosts, *self.common, "--wheel", wheel or self.wheel,
            "--policy", POLICY, "--message", "ops 1.0", *words)]

    def take(self, *words, wheel=None, exit_status=0):
        return self.deploy(*self.words(*words, wheel=wheel), env=self.environment,
                           exit_status=exit_status)

    def begin(self, *words):
        child = subprocess.Popen([PROGRAM, *self.words(*words)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=self.environment)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def resume(self):
        done = self.run_program("resume", *self.common, "--json", env=self.environment)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def assert_in_work(self, *nodes):
        for node in nodes:
            self.assertEqual(self.slurm.state(node), "idle", self.slurm.reason(node))

    def test_waits_for_jobs_and_leaves_others_drained(self):
        job = self.slurm.job("n2", self.folder / "done")
        self.slurm.run("scontrol", "update", "NodeName=n3", "State=DRAIN", "Reason=RMA 4711")
        child = self.begin("--json")
        self.slurm.wait_for(lambda: self.slurm.state("n2") == "draining")
        time.sleep(1)
        self.assertFalse((self.folder / "n2" / ".ds-deploy" / "env" / "active").exists())
        self.write("done", "")
        said, problems = child.communicate()
        self.assertEqual(child.returncode, 5, problems)
        report = json.loads(said)
        self.assertEqual(self.states(report), {"n1": "confirmed", "n2": "confirmed",
                                               "n3": "skipped", "n4": "confirmed"})
        self.assertIn("somebody else drained it: the drain hook ended with status 75: n3 is "
                      "drained: RMA 4711", report["hosts"][2]["message"])
        # The job ended by itself, before its node changed.
        self.assertIn("JobState=COMPLETED", self.slurm.run("scontrol", "show", "job", job))
        self.assertGreater(report["hosts"][1]["seconds"]["drain"], 1)
        self.assert_in_work("n1", "n2", "n4")
        self.assertEqual((self.slurm.state("n3"), self.slurm.reason("n3")), ("drained", "RMA 4711"))
        # It is so in the journal, with what was found.
        shown = self.run_program("show", report["run"], *self.common[2:]).stdout
        found = dict(re.findall(r"^decided +.* drained: (n\d), because (.*)$", shown, re.M))
        self.assertEqual(found, {"n1": "idle: none", "n2": "allocated: none", "n4": "idle: none"})
        # The scheduler's node is free for the release that it was not given.
        self.slurm.run("scontrol", "update", "NodeName=n3", "State=RESUME")
        done = self.run_program("resume", "--owed", *self.common, "--json", env=self.environment)
        self.assertEqual(self.states(json.loads(done.stdout)), {"n3": "confirmed"})
        self.assert_in_work("n3")

    def test_one_that_fails_is_returned_too(self):
        self.take()
        policy = self.write("slurm.yaml", POLICY.read_text(encoding="utf-8")
                            + "health: {command: test $DS_DEPLOY_HOST != n2}\n")
        report = self.take("--policy", policy, wheel=self.pure_wheel(version="2.0"), exit_status=4)
        self.assertEqual(self.states(report), {"n1": "confirmed", "n2": "rolled-back",
                                               "n3": "confirmed", "n4": "confirmed"})
        self.assert_in_work("n1", "n2", "n3", "n4")

    def test_interrupted_while_it_waits_for_a_job(self):
        self.slurm.job("n1", self.folder / "never")
        child = self.begin()
        self.slurm.wait_for(lambda: self.slurm.state("n1") == "draining")
        self.assertRegex(self.slurm.reason("n1"), r"^ds-deploy [\w-]+ by \w+: ops 1.0$")
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(), 130, child.stderr.read())
        self.slurm.wait_for(lambda: self.slurm.state("n1") == "allocated")

    def test_the_nodes_of_a_job(self):
        job = self.slurm.job("n2", self.folder / "never")
        self.addCleanup(self.slurm.run, "scancel", job)
        for words, names in ((["--slurm-job", job], ["n2"]), ([], ["n1", "n3"])):
            environment = dict(self.environment, SLURM_JOB_NODELIST="n[1,3]")
            done = self.run_program("ping", *words, "-F", self.fleet.config, "--json",
                                    env=environment)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual([host["name"] for host in json.loads(done.stdout)["hosts"]], names)

    def test_the_coordinator_is_killed(self):
        job = self.slurm.job("n1", self.folder / "never")
        child = self.begin()
        self.slurm.wait_for(lambda: self.slurm.state("n1") == "draining")
        time.sleep(0.5)
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.assertEqual(self.slurm.state("n1"), "draining")
        done = self.run_program("status", "--hostfile", self.hosts, *self.common, "--json",
                                env=self.environment)
        self.assertIn("its return to a scheduler's work, out of which run",
                      json.loads(done.stdout)["hosts"][0]["owed"])
        self.slurm.run("scancel", job)
        self.assertEqual(set(self.states(self.resume()).values()), {"confirmed"})
        self.assert_in_work("n1", "n2", "n3", "n4")


if __name__ == "__main__":
    unittest.main()
