# SPDX-License-Identifier: Apache-2.0
"""Hosts that the coordinator loses or shares with another one; see tests/faults/README.md."""
import json
import os
import signal
import subprocess
import time
import unittest

from support import fleet
from support.deploy_case import clean_environment
from support.fault_case import LONG, FaultCase, remove, until

ALL_MAY_FAIL = "retries: 0\nmax_failures: 100%\n"
# Once the new release is active: ends what listens and every session of it.
KILL = """if [ -e %(root)s/unconfirmed.json ]; then
kill -9 $(ps -o pid= --ppid %(pid)d) %(pid)d
fi"""


class Lost(FaultCase):
    ssh = True
    policy = "retries: 0\ntime_limits:\n  confirm: 6s\nconfirm_timeout: 36s\n"

    def lose_sshd(self, name):
        self.after_facts(name, KILL % {"root": self.root(name),
                                       "pid": self.sshd.hosts[name]["process"].pid})

    def sshd_again(self, name):
        self.sshd.hosts[name]["process"].wait()
        self.sshd.start(name)
        self.after_facts(name, ":")

    def status(self, exit_status):
        done = subprocess.run([*self.command(self.new)[:1], "status", "--json", "--hostfile",
                               str(self.hostfile), "-F", str(self.sshd.config)],
                              stdout=subprocess.PIPE, text=True, env=clean_environment(),
                              check=False)
        self.assertEqual(done.returncode, exit_status, done.stdout)
        return {host["name"]: host for host in json.loads(done.stdout)["hosts"]}

    def lose_between_activate_and_confirm(self):
        self.lose_sshd("n1")
        hosts = self.deploy(5)
        self.assert_says(hosts["n1"], "unknown", "rollback", "127.0.0.2", "the connection broke",
                         "going back failed")
        self.assert_says(hosts["n2"], "rolled-back", "rollback", "n1 did not confirm")
        self.assert_reports_are_true(hosts)
        self.assert_at(self.new, "n1")
        self.assert_at(self.old, "n2")

    def undecided(self, name):
        return any((self.root(name) / note).exists() for note in ("unconfirmed.json",
                                                                  "overdue.json"))

    def change_note(self, **changes):
        note = self.root("n1") / "unconfirmed.json"
        copy = note.with_name("unconfirmed.json.1.new")
        copy.write_text(json.dumps(dict(json.loads(note.read_text()), **changes)))
        copy.rename(note)

    def test_sshd_is_killed_between_activate_and_confirm(self):
        self.lose_between_activate_and_confirm()
        if not LONG:  # half a minute
            self.change_note(deadline=time.clock_gettime(7) + 1)
        until(lambda: not self.undecided("n1"), 45)
        self.assert_at(self.old)
        self.sshd_again("n1")
        host = self.status(0)["n1"]
        self.assertEqual(host["state"], "rolled-back")
        self.assertIn("the coordinator did not confirm it within 36 s", host["message"])
        self.assert_heals()

    def test_rebooted_between_activate_and_confirm(self):
        self.lose_between_activate_and_confirm()
        os.kill(json.loads((self.root("n1") / "armed.json").read_text())["pid"], signal.SIGKILL)
        self.change_note(boot="another")
        self.sshd_again("n1")
        host = self.status(5)["n1"]
        self.assertEqual(host["state"], "overdue")
        self.assertIn("the next deployment takes it back to %s first" % self.old[:12],
                      host["message"])
        self.assert_heals()

    def test_back_with_an_old_state(self):
        """As from a backup, or an image of before."""
        self.assert_heals()
        remove(self.place("n1"))
        self.put("n1")
        self.assert_at(self.old, "n1")
        hosts = self.assert_heals()
        self.assertEqual([hosts[name]["state"] for name in self.names], ["confirmed", "unchanged"])


class TwoCoordinators(FaultCase):
    ssh = True
    number = 3

    def begin(self, release, *names):
        return subprocess.Popen(
            self.command(release, "--limit", ",".join(names)), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean_environment())

    def test_at_one_time(self):
        third = self.pack("3.0")
        runs = {self.new: self.begin(self.new, "n1", "n2"), third: self.begin(third, "n2", "n3")}
        said = {release: (self.hosts_of(run.communicate(timeout=60)[0]), run.returncode)
                for release, run in runs.items()}
        ended = {name: self.release_of(name) for name in self.names}
        for release, (hosts, status) in said.items():
            states = {host["state"] for host in hosts.values()}
            with self.subTest(status=status):
                if status == 0:
                    self.assertEqual(states, {"confirmed"})
                else:
                    self.assertEqual(status, 7, hosts)
                    self.assert_says(hosts["n2"], "refused", "lock", "locked by run")
                    self.assertNotIn("confirmed", states)
                    self.assertNotIn(release, ended.values())
        # One of them at least came through: alone, or after the other.
        self.assertIn(0, [status for _, status in said.values()])
        self.assertIn(ended["n2"], [release for release, (_, status) in said.items() if not status])
        self.assert_heals()


class Links(FaultCase):
    """Lines that are slow, or that end in the middle of the wheel without a word."""

    ssh = True
    number = 4
    size = 1_000_000

    @classmethod
    def setUpClass(cls):
        if fleet.missing():
            raise unittest.SkipTest(fleet.missing())
        super().setUpClass()

    @classmethod
    def start_hosts(cls):
        cls.fleet = fleet.Fleet(cls.folder / "fleet", cls.number, separate=False)
        cls.addClassCleanup(cls.fleet.stop)
        cls.fleet.start()
        cls.words += ["-F", cls.fleet.config]

    def test_slow_narrow_and_silent(self):
        for name, fault in (("n1", "slow:75"), ("n2", "rate:600000"), ("n3", "stall:600000")):
            self.fleet.fault(name, fault)
        hosts = self.deploy(5, policy=ALL_MAY_FAIL + "time_limits:\n  stage: 4s\n")
        self.assert_says(hosts["n3"], "unreachable", "stage", "no answer within 4 s")
        for name in ("n1", "n2", "n4"):
            self.assert_says(hosts[name], "confirmed", "confirm")
        self.assert_reports_are_true(hosts)
        for name in self.names:
            self.fleet.clear(name)
        self.fleet.kill("n3")
        self.assert_heals()


if __name__ == "__main__":
    unittest.main()
