# SPDX-License-Identifier: Apache-2.0
"""Every fault of a host ends in the right words within its time, and costs that host alone."""
import json
import pathlib
import tempfile
import time
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, clean_environment
from support.fleet_case import DRIVER, Ended, FleetCase

# A fault, what ds-deploy says of the host, and the seconds that it may take. With each of these no
# command was run.
UNREACHABLE = (("refuse", "Connection refused", 2),
               ("drop", "no answer in 2 s", 4),
               ("never", "there is no SSH session in 2 s", 4),
               ("banner", "there is no SSH session in 2 s", 4),
               ("stall:500", "there is no SSH session in 2 s", 4),
               ("reset:30", "no SSH session", 8),
               ("reset:300", "no SSH session", 8))
LOGIN = (("stall:1500", "the login took longer than 3 s", 6),
         ("reset:1500", "the connection broke during the login", 4))


class Ping(FleetCase):
    def check(self, fault, words, seconds):
        with self.subTest(fault):
            self.fleet.fault("n3", fault)
            answers = self.ping(status=5)
            self.assert_well(answers, but=("n3",))
            self.assertIn(words, answers["n3"]["message"])
            self.assertIn("127.0.0.4:%d" % self.fleet.port, answers["n3"]["message"])
            self.assertLess(self.done.seconds, seconds)
            self.assert_clean(self.done)

    def test_no_session(self):
        self.faults(n3="refuse")
        for case in UNREACHABLE + LOGIN:
            self.check(*case)

    def test_turned_away_a_few_times_is_well(self):
        self.faults(n1="close:2", n2="startups:2", n3="penalty:2")
        self.assert_well(self.ping())
        self.assertLess(self.done.seconds, 8)

    def test_turned_away_for_good(self):
        self.faults(n1="startups", n2="penalty", n3="close")
        answers = self.ping(status=5)
        self.assert_well(answers, but=("n1", "n2", "n3"))
        for name in ("n1", "n2", "n3"):
            self.assertIn("tried 7 times", answers[name]["message"])
            self.assertIn("MaxStartups", answers[name]["message"])
            self.assertEqual(self.fleet.connections(name), 7 + self.turned_away_before(name))
        self.assertLess(self.done.seconds, 40)

    def turned_away_before(self, name):
        return self.before[name]

    def setUp(self):
        self.before = {name: self.fleet.connections(name) for name in self.fleet.hosts}

    def test_slow_is_well(self):
        self.faults(n1="slow:40", n2="rate:20000")
        self.assert_well(self.ping())

    def test_down_and_up_again(self):
        self.fleet.stop("n5")
        self.addCleanup(self.fleet.start, "n5")
        self.assertIn("Connection refused", self.ping(status=5)["n5"]["message"])
        self.fleet.start("n5")
        self.assert_well(self.ping())


class Commands(FleetCase):
    """Faults once a command is under way, on n2 alone."""

    def run_on_all(self, script=":", **changes):
        options = {key: changes.pop(key) for key in ("login", "connect", "stall", "fanout")
                   if key in changes}
        phase = [{"host": name, "script": script, "limit": 20, **changes}
                 for name in self.fleet.hosts]
        (answers,) = self.run_transport(phase, **options)
        self.assert_well(answers, but=("n2",))
        return answers["n2"]

    def test_hang(self):
        self.faults(n2="hang")
        said = self.run_on_all(limit=2)
        self.assertEqual(said["outcome"], "timed_out")
        self.assertIn("took longer than 2 s", said["message"])
        self.assertLess(self.done.seconds, 6)

    def test_sshd_killed(self):
        self.faults(n2="kill:200")
        said = self.run_on_all("sleep 1")
        self.assertEqual(said["outcome"], "lost")
        self.assertIn("broke during the command", said["message"])
        self.assertIn("127.0.0.3", said["message"])

    def test_upload_cut_and_stalled(self):
        upload = self.folder / "upload"
        upload.write_bytes(bytes(1000000))
        for fault, outcome, words in (("reset:300000", "lost", "broke during the command"),
                                      ("stall:300000", "timed_out", "no byte of the upload moved")):
            self.faults(n2=fault)
            said = self.run_on_all("cat > got", file=str(upload), stall=2)
            self.assertEqual(said["outcome"], outcome, said)
            self.assertIn(words, said["message"])
            self.assertLess(self.done.seconds, 8)
            self.assertLess(said["sent"], 1000001)

    def test_cut_anywhere_is_never_well(self):
        """Wherever the connection ends before the command does: an outcome, a sentence, no wait."""
        for cut in range(1300, 3000, 170):
            self.faults(n2="reset:%d" % cut)
            said = self.run_on_all("read line; exit 3", input="x" * 3000)
            self.assertNotEqual(said["outcome"], "exited", (cut, said))
            self.assertIn("broke", said["message"], (cut, said))
            self.assertLess(self.done.seconds, 8)

    def test_frozen_and_rebooted(self):
        script = "touch begun; sleep 6"
        for act, outcome in ((self.fleet.freeze, "timed_out"), (self.fleet.reboot, "lost")):
            begun = self.fleet.hosts["n2"]["root"] / "home" / "begun"
            begun.unlink(missing_ok=True)
            child = self.start_transport([{"host": "n2", "script": script, "limit": 3},
                                          {"host": "n3", "script": ":"}])
            self.wait_for(begun.exists)
            act("n2")
            (answers,) = self.finish(child)
            self.assertEqual([each["outcome"] for each in answers], [outcome, "exited"], answers)
            self.fleet.thaw("n2")
            self.fleet.kill("n2")


class Deploy(FleetCase):
    number = 4

    def facts(self, *words, status):
        done = self.program("facts", "--json", *words)
        self.assertEqual(done.status, status, done.out + done.err)
        self.assert_clean(done)
        return {host["host"]: host for host in json.loads(done.out)["hosts"]}

    def test_facts(self):
        self.faults(n1="refuse", n2="kill:100", n3="stall:1500")
        hosts = self.facts(status=5)
        self.assertEqual({name: host["state"] for name, host in hosts.items()},
                         {"n1": "unreachable", "n2": "failed", "n3": "unreachable",
                          "n4": "reached"})
        self.assertIn("Connection refused", hosts["n1"]["problem"])
        self.assertIn("broke during the command", hosts["n2"]["problem"])
        self.assertIn("the login took longer", hosts["n3"]["problem"])


class RealMaxStartups(unittest.TestCase):
    """sshd's own MaxStartups: 20 names for one daemon that drops half of what comes beyond two."""

    @unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
    def test_all_get_in(self):
        with tempfile.TemporaryDirectory(prefix="ds-deploy-test.") as folder:
            hosts = sshd_hosts.SshdHosts(pathlib.Path(folder) / "fleet", 1)
            self.addCleanup(hosts.stop)
            hosts.start("n1", more="MaxStartups 2:50:4\nMaxSessions 1\n")
            address, port = hosts.hosts["n1"]["address"], hosts.hosts["n1"]["port"]
            config = pathlib.Path(folder) / "config"
            names = ["m%d" % index for index in range(20)]
            config.write_text("".join("Host %s\n  HostName %s\n  Port %d\n" % (name, address, port)
                                      for name in names) + hosts.config.read_text())
            hostfile = pathlib.Path(folder) / "hosts"
            hostfile.write_text("".join("%s slots=1\n" % name for name in names))
            done = Ended([PROGRAM, "ping", "--json", "-F", config, "--hostfile", hostfile])
            self.assertEqual(done.status, 0, done.out + done.err)
            self.assertIn("MaxStartups", hosts.log("n1"))


if __name__ == "__main__":
    unittest.main()
