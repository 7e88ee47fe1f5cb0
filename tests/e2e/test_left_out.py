# SPDX-License-Identifier: Apache-2.0
"""Hosts that a run goes on without: who they are, what they are owed, and how they get it later."""
import json
import subprocess
import sys
import time
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, DeployCase, clean_environment

# A job of somebody: it has a file of the environment mapped.
JOB = "import mmap, sys, time\nf = open(sys.argv[1])\n" \
      "m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\nprint(flush=True)\ntime.sleep(600)\n"


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class LeftOut(DeployCase):
    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", 4)
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        self.pythons = {name: self.make_environment("%s/env" % name) for name in self.fleet.hosts}
        self.hosts = self.write("cluster", "".join(
            "%s slots=8 python=%s\n" % (name, python) for name, python in self.pythons.items()))
        self.ssh = ["-F", self.fleet.config, "--state-dir", self.folder / "state",
                    "--connect-timeout", "2"]
        self.wheel = self.pure_wheel()

    def take(self, *words, wheel=None, **how):
        return self.deploy("deploy", "--hostfile", self.hosts, *self.ssh, "--wheel",
                           wheel or self.wheel, *words, **how)

    def go_on(self, *words, exit_status=0):
        done = self.run_program(*words, *self.ssh, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def state_of(self):
        done = self.run_program("status", "--hostfile", self.hosts, *self.ssh, "--json")
        return {host["name"]: host for host in json.loads(done.stdout)["hosts"]}

    def left_out(self, report):
        return {host["name"]: host["owed"] for host in report["hosts"] if host["left_out"]}

    def job(self, name):
        """A process that uses the environment of that host."""
        config = self.pythons[name].parent.parent / "pyvenv.cfg"
        child = subprocess.Popen([sys.executable, "-c", JOB, str(config)], stdout=subprocess.PIPE)
        self.addCleanup(child.wait)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.kill)
        child.stdout.readline()
        return child

    def test_unreachable_then_owed(self):
        self.fleet.stop("n3")
        stopped = self.take(exit_status=5)
        self.assertEqual(self.states(stopped), {"n1": "ready", "n2": "ready", "n3": "unreachable",
                                                "n4": "ready"})
        note = [note for note in stopped["notes"] if "without those hosts" in note]
        self.assertEqual(note, ["to go on without those hosts: ds-deploy resume %s --state-dir %s "
                                "--unreachable leave-out" % (stopped["run"], self.folder / "state")])
        # The command that it names.
        words = note[0].split(": ds-deploy ")[1].split()
        report = self.go_on(*words, exit_status=5)
        self.assertEqual(self.states(report), {"n1": "confirmed", "n2": "confirmed",
                                               "n3": "unreachable", "n4": "confirmed"})
        self.assertEqual(self.left_out(report), {"n3": ["release"]})
        self.assertIn("resume --owed", self.state_of()["n3"]["owed"])

        # Still down: it stays owed.
        again = self.go_on("resume", "--owed", exit_status=5)
        self.assertEqual(self.states(again), {"n3": "unreachable"})
        self.assertEqual(self.left_out(again), {"n3": ["release"]})
        self.fleet.start("n3")
        paid = self.go_on("resume", "--owed")
        self.assertEqual(self.states(paid), {"n3": "confirmed"})
        self.assertEqual(self.state_of()["n3"]["owed"], "")
        done = self.run_program("resume", "--owed", *self.ssh)
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, "", "no host is owed a release\n"))

    def test_accepted(self):
        self.fleet.stop("n3")
        policy = self.write("p.yaml", "unreachable: leave-out=1\naccept_left_out: true\n")
        report = self.take("--policy", policy)
        self.assertEqual(self.left_out(report), {"n3": ["release"]})
        # A newer run takes the debt over.
        newer = self.pure_wheel(version="2.0")
        report = self.take("--policy", policy, wheel=newer)
        owed = self.state_of()["n3"]["owed"]
        self.assertIn(report["run"], owed)
        self.fleet.start("n3")
        self.assertEqual(self.states(self.go_on("resume", "--owed")),
                         {"n3": "confirmed"})
        said = self.python(self.pythons["n3"], "-c", "import foreign; print(foreign.VERSION)")
        self.assertEqual(said, "2.0\n")

    def test_a_debt_outlives_runs_that_do_not_pay_it(self):
        self.fleet.stop("n3")
        owing = self.take("--unreachable", "leave-out", exit_status=5)["run"]
        newer = self.pure_wheel(version="2.0")
        self.take(wheel=newer, exit_status=5)  # stops, as n3 is down
        self.assertIn(owing, self.state_of()["n3"]["owed"])
        # One that nobody can confirm owes nothing itself.
        policy = self.write("p.yaml", "unreachable: leave-out\nhealth: {command: exit 1}\n")
        report = self.take("--policy", policy, wheel=newer, exit_status=4)
        self.assertEqual(report["hosts"][2]["owed"], ["release"])  # of the first run
        self.assertIn(owing, self.state_of()["n3"]["owed"])
        self.fleet.start("n3")
        paid = self.go_on("resume", "--owed", "--limit", "n[1-3]")
        self.assertEqual(self.states(paid), {"n3": "confirmed"})
        done = self.run_program("resume", "--owed", *self.ssh)
        self.assertEqual((done.returncode, done.stderr), (0, "no host is owed a release\n"))

    def test_a_debt_that_another_coordinator_overtook(self):
        self.fleet.stop("n3")
        self.take("--unreachable", "leave-out", exit_status=5)
        self.fleet.start("n3")
        newer = self.pure_wheel(version="2.0")
        done = self.run_program("deploy", "--hostfile", self.hosts, "-F", self.fleet.config,
                                "--state-dir", self.folder / "other", "--wheel", newer)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.run_program("resume", "--owed", *self.ssh)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("n3: another run has changed it since, so that run", done.stderr)
        said = self.python(self.pythons["n3"], "-c", "import foreign; print(foreign.VERSION)")
        self.assertEqual(said, "2.0\n")
        self.assertEqual(self.state_of()["n3"]["owed"], "")

    def test_of_a_stage_that_was_activated(self):
        words = ["--hostfile", self.hosts, *self.ssh, "--wheel", self.wheel, "--unreachable",
                 "leave-out"]
        self.fleet.stop("n3")
        staged = self.deploy("stage", *words, exit_status=5)
        self.assertEqual(self.left_out(staged), {"n3": ["release"]})
        self.go_on("activate", exit_status=5)
        self.fleet.start("n3")
        self.assertEqual(self.states(self.go_on("resume", "--owed")), {"n3": "confirmed"})

    def test_of_a_stage_that_nobody_could_activate(self):
        self.fleet.stop("n3")
        self.deploy("stage", "--hostfile", self.hosts, *self.ssh, "--wheel", self.wheel,
                    "--unreachable", "leave-out", exit_status=5)
        policy = self.write("p.yaml", "unreachable: leave-out\nhealth: {command: exit 1}\n")
        self.go_on("activate", "--policy", policy, exit_status=4)
        self.fleet.start("n3")
        self.assertEqual(self.states(self.go_on("resume", "--owed")), {"n3": "staged"})

    def test_a_newer_run_that_fails_there_owes_its_own(self):
        self.fleet.stop("n3")
        self.take("--unreachable", "leave-out", exit_status=5)
        self.fleet.start("n3")
        newer = self.pure_wheel(version="2.0")
        policy = self.write("p.yaml", "max_failures: 1\n"
                            "health: {command: '[ \"$DS_DEPLOY_HOST\" != n3 ]'}\n")
        report = self.take("--policy", policy, wheel=newer, exit_status=4)
        self.assertIn(report["run"], self.state_of()["n3"]["owed"])
        # What is only staged pays nothing of it.
        self.deploy("stage", "--hostfile", self.hosts, *self.ssh, "--wheel", newer)
        self.assertIn(report["run"], self.state_of()["n3"]["owed"])
        good = self.write("q.yaml", "retries: 1\n")
        paid = self.go_on("resume", "--owed", "--policy", good)
        self.assertEqual(self.states(paid), {"n3": "confirmed"})
        said = self.python(self.pythons["n3"], "-c", "import foreign; print(foreign.VERSION)")
        self.assertEqual(said, "2.0\n")

    def test_a_rollback_without_one(self):
        self.take()
        self.take(wheel=self.pure_wheel(version="2.0"))
        self.fleet.stop("n3")
        words = ["--hostfile", self.hosts, *self.ssh]
        done = self.run_program("rollback", *words, "--json")
        self.assertEqual(done.returncode, 5, done.stderr)
        run = json.loads(done.stdout)["run"]
        report = self.go_on("resume", run, "--unreachable", "leave-out", exit_status=5)
        self.assertEqual(self.states(report), {"n1": "rolled-back", "n2": "rolled-back",
                                               "n3": "unreachable", "n4": "rolled-back"})
        self.fleet.start("n3")
        done = self.run_program("resume", "--owed", *self.ssh)
        self.assertEqual(done.returncode, 5)
        self.assertIn("nobody knows where it was to go back to", done.stderr)

    def test_status_without_a_journal_that_can_be_read(self):
        self.take()
        (self.folder / "state" / "journal.db").write_bytes(b"x" * 5000)
        for name in ("journal.db-wal", "journal.db-shm"):
            (self.folder / "state" / name).unlink(missing_ok=True)
        done = self.run_program("status", "--hostfile", self.hosts, *self.ssh)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("warning: what hosts are owed is not known", done.stderr)

    def test_too_many(self):
        self.fleet.stop("n3")
        self.fleet.stop("n4")
        report = self.take("--unreachable", "leave-out=25%", exit_status=5)
        self.assertEqual(self.states(report)["n1"], "ready")
        self.assertEqual(self.left_out(report), {})
        self.assertIn("2 hosts are unreachable (n3, n4), and the policy leaves out 1 at most",
                      report["hosts"][0]["message"])

    def test_wait_for_one_that_comes_up(self):
        self.fleet.stop("n3")
        words = [str(word) for word in (
            "deploy", "--hostfile", self.hosts, *self.ssh, "--wheel", self.wheel, "--unreachable",
            "wait=60s")]
        run = subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env=clean_environment())
        time.sleep(4)
        self.fleet.start("n3")
        out, err = run.communicate(timeout=120)
        self.assertEqual(run.returncode, 0, out + err)
        self.assertRegex(err, r"waits for n3 \(no answer\), .* at most")
        self.assertIn("n[1-4] (4)  confirmed", out)

    def test_busy(self):
        self.take()
        job = self.job("n2")
        newer = self.pure_wheel(version="2.0")
        dry = self.take("--busy", "stop", "--dry-run", wheel=newer, exit_status=5)
        self.assertEqual(self.states(dry)["n2"], "skipped")
        self.assertIn("a run goes on without these hosts only with --busy leave-out", dry["notes"])
        report = self.take("--busy", "leave-out", wheel=newer, exit_status=5)
        self.assertEqual(self.states(report), {"n1": "confirmed", "n2": "skipped",
                                               "n3": "confirmed", "n4": "confirmed"})
        host = report["hosts"][1]
        self.assertEqual((host["step"], host["owed"]), ("busy", ["release"]))
        self.assertRegex(host["message"], r"^in use by python[0-9.]* of \w+ \(%d\)$" % job.pid)
        # Where nothing changes nobody is in the way.
        self.assertEqual(self.states(self.take("--busy", "stop", "--limit", "n2")),
                         {"n2": "unchanged"})
        # By default a job keeps what it began with, and the host changes.
        self.assertEqual(self.states(self.take("--limit", "n2", wheel=newer)), {"n2": "confirmed"})

    def test_wait_for_a_job_to_end(self):
        self.take()
        job = self.job("n2")
        newer = self.pure_wheel(version="2.0")
        report = self.take("--busy", "wait=3s", "--limit", "n2", wheel=newer, exit_status=5)
        self.assertEqual(self.states(report), {"n2": "skipped"})
        job.kill()
        job.wait()
        self.assertEqual(self.states(self.take("--busy", "wait=3s", wheel=newer)),
                         dict.fromkeys(self.fleet.hosts, "confirmed"))

    def test_incompatible(self):
        (self.folder / "n4" / "env" / "bin" / "python").unlink()
        report = self.take("--incompatible", "leave-out=1", exit_status=3)
        self.assertEqual(self.left_out(report), {"n4": ["release"]})
        self.assertEqual(self.states(report)["n4"], "refused")
        (self.folder / "n4" / "env" / "bin" / "python").symlink_to(sys.executable)
        self.assertEqual(self.states(self.go_on("resume", "--owed")),
                         {"n4": "confirmed"})


if __name__ == "__main__":
    unittest.main()
