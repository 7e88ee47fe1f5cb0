# SPDX-License-Identifier: Apache-2.0
"""Every fault of a host ends in the right words within its time, and costs that host alone."""
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, ROOT
from support.fleet_case import Ended, FleetCase
from support.recorded_wheel import pack

# The host's fault, what ds-deploy says of it, and the seconds that it may take.
FAULTS = {"n1": ("refuse", "Connection refused", 2),
          "n2": ("drop", "no answer in 2 s", 4),
          "n3": ("never", "no SSH session began in 2 s", 4),
          "n4": ("banner", "no SSH session began in 2 s", 4),
          "n5": ("stall:500", "no SSH session began in 2 s", 4),
          "n6": ("close:1", None, 8),
          "n7": ("reset:300", "no SSH session", 8),
          "n8": ("reset:+300", "", 4),
          "n9": ("stall:+300", "the login took longer than 3 s", 6),
          "n10": ("startups:2", None, 8),
          "n11": ("penalty:2", None, 8),
          "n12": ("slow:30", None, 8),
          "n13": ("rate:20000", None, 8)}
# These turn everybody away, before a word of their own.
CLOSED = {"n9": "startups", "n10": "penalty", "n11": "close"}


class Ping(FleetCase):
    number = 16

    def test_every_fault_at_once(self):
        self.faults(**{name: fault for name, (fault, _, _) in FAULTS.items()})
        answers = self.ping(status=5)
        self.assert_well(answers, but={name for name, case in FAULTS.items() if case[1] is not None})
        self.assert_clean(self.done)
        for name, (fault, words, seconds) in FAULTS.items():
            with self.subTest(fault):
                self.assertLess(answers[name]["seconds"], seconds)
                self.assertEqual(answers[name]["ok"], words is None)
                self.assertIn(words or "", answers[name]["message"])
                address = "%s:%d" % (self.fleet.hosts[name]["address"], self.fleet.port)
                self.assertIn(address if words is not None else "", answers[name]["message"])

    def test_down_and_up_again(self):
        self.fleet.stop("n16")
        self.addCleanup(self.fleet.start, "n16")
        self.assertIn("Connection refused", self.ping(status=5)["n16"]["message"])
        self.fleet.start("n16")
        self.assert_well(self.ping())


class Runs(FleetCase):
    """Faults of single hosts, in every command. Meanwhile somebody knocks at those of CLOSED."""

    number = 12

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name, fault in CLOSED.items():
            cls.fleet.fault(name, fault)
        cls.open = [name for name in cls.fleet.hosts if name not in CLOSED]
        cls.hostfile.write_text("".join("%s slots=8\n" % name for name in cls.open))
        cls.knocking = cls.begin_transport([{"host": name} for name in CLOSED])
        cls.addClassCleanup(cls.end, cls.knocking)

    def test_turned_away_for_good(self):
        (answers,) = self.finish(self.knocking)
        for name, answer in zip(CLOSED, answers):
            self.assertEqual(answer["outcome"], "unreachable")
            self.assertIn("tried 7 times", answer["message"])
            self.assertIn("MaxStartups", answer["message"])
            self.assertEqual(self.fleet.connections(name), 7)
            self.assertLess(answer["seconds"], 40)

    def run_on_all(self, script=":", stall=2, **changes):
        phase = [{"host": name, "script": script, "limit": 20, **changes} for name in self.open]
        (answers,) = self.run_transport(phase, stall=stall)
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
        # More than the buffers on the way hold.
        upload.write_bytes(bytes(20_000_000))
        for fault, outcome, words in (("reset:300000", "lost", "broke during the command"),
                                      ("stall:300000", "timed_out", "no byte of the upload moved")):
            self.faults(n2=fault)
            said = self.run_on_all("cat > got", file=str(upload))
            self.assertEqual(said["outcome"], outcome, said)
            self.assertIn(words, said["message"])
            self.assertLess(self.done.seconds, 8)
            self.assertLess(said["sent"], 20_000_000)

    def test_cut_anywhere_is_never_well(self):
        """Wherever the connection ends before the command does: an outcome, a sentence, no wait."""
        for cut in range(200, 4200, 400):
            self.faults(n2="reset:+%d" % cut)
            said = self.run_on_all("cat > got", input="x" * 3000)
            self.assertIn(said["outcome"], ("login_refused", "lost"), (cut, said))
            if said["outcome"] == "lost":
                self.assertIn("the connection broke", said["message"], cut)
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

    def facts(self, *words, status):
        done = self.program("facts", "--json", *words)
        self.assertEqual(done.status, status, done.out + done.err)
        self.assert_clean(done)
        return {host["name"]: host for host in json.loads(done.out)["hosts"]}

    def test_facts(self):
        self.faults(n1="refuse", n2="kill:30", n3="stall:+300")
        hosts = self.facts(status=5)
        self.assertEqual({name: host["state"] for name, host in hosts.items()},
                         {**dict.fromkeys(self.open, "reached"),
                          "n1": "unreachable", "n2": "failed", "n3": "unreachable"})
        self.assertIn("Connection refused", hosts["n1"]["problem"])
        self.assertIn("broke during the command", hosts["n2"]["problem"])
        self.assertIn("the login took longer", hosts["n3"]["problem"])

    def test_states_and_steps(self):
        """In a deployment; nothing is built here, for these hosts would end it before."""
        known = self.fleet.known_hosts.read_text()
        self.addCleanup(self.fleet.known_hosts.write_text, known)
        address = "[%s]" % self.fleet.hosts["n7"]["address"]
        self.fleet.known_hosts.write_text("".join(
            line for line in known.splitlines(True) if address not in line))
        self.fleet.configure("n5", extra_config="AuthorizedKeysFile none\n")
        self.addCleanup(self.fleet.configure, "n5", extra_config="")
        self.faults(n1="refuse", n2="kill:30", n3="stall:+300", n4="startups:1", n6="drop")
        done = self.program("deploy", "--json", "--dry-run", "--python", sys.executable, "--ops",
                            ROOT / "ops", "--build-dir", self.folder / "build")
        self.assertEqual(done.status, 8, done.out + done.err)
        self.assert_clean(done)
        said = {host["name"]: (host["state"], host["step"], host["message"])
                for host in json.loads(done.out)["hosts"]}
        for name, state, step, words in (("n1", "unreachable", "connect", "Connection refused"),
                                         ("n2", "unreachable", "facts", "broke during the command"),
                                         ("n3", "unreachable", "connect", "the login took longer"),
                                         ("n5", "refused", "connect", "refused"),
                                         ("n6", "unreachable", "connect", "no answer in 2 s"),
                                         ("n7", "refused", "connect", "SHA256:")):
            self.assertEqual(said[name][:2], (state, step), said)
            self.assertIn(words, said[name][2])
        self.assertNotIn(said["n4"][1], ("connect", "facts"))


class CutWhileStaged(FleetCase):
    """A deployment to two hosts; the connection of one ends in the middle of the wheel."""

    number = 2
    size = 8_000_000

    def deploy(self, wheel, status, retries=0):
        policy = self.folder / "policy.yaml"
        policy.write_text("retries: %d\n" % retries)
        done = self.program("deploy", "--json", "--wheel", wheel, "--policy", policy)
        self.assertEqual(done.status, status, done.out + done.err)
        return {host["name"]: host for host in json.loads(done.out)["hosts"]}

    def test_next_run_goes_on_where_it_ended(self):
        wheel = pack(self.folder, {"demo/__init__.py": b"", "demo/data": os.urandom(self.size)},
                     name="demo")
        for name in self.fleet.hosts:
            prefix = self.folder / name
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
        self.hostfile.write_text("".join("%s slots=8 python=%s/bin/python\n" % (name, self.folder / name)
                                         for name in self.fleet.hosts))
        # Some 40 KB are the probe and the login.
        self.faults(n2="reset:6000000")
        hosts = self.deploy(wheel, 5)
        self.assertEqual([(host["state"], host["step"]) for host in hosts.values()],
                         [("staged", "audit"), ("unreachable", "stage")])
        self.assertIn("broke during the command", hosts["n2"]["message"])
        self.fleet.clear("n2")
        hosts = self.deploy(wheel, 0)
        self.assertEqual([host["state"] for host in hosts.values()], ["confirmed", "confirmed"])
        self.assertEqual(hosts["n1"]["sent_bytes"], 0)
        # What sshd's window of 2 MB and the pipes behind it held is lost.
        self.assertLess(hosts["n2"]["sent_bytes"], self.size - 3_500_000)
        self.assertGreater(hosts["n2"]["sent_bytes"], 1_500_000)


class Descriptors(FleetCase):
    number = 60
    settings = {"noise": False}

    @staticmethod
    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    def test_sixty_hosts_and_sixty_four_files(self):
        first, second = self.run_transport(":", ":", preexec=self.few_files)
        self.assert_well(first)
        self.assert_well(second)
        self.assertEqual(len(self.notes), 1)
        self.assertRegex(self.notes[0], r"^[0-9]+ idle connections closed and opened again, because "
                         r"this process may open 64 files \(ulimit -n\)$")
        self.assertLessEqual(max(map(self.fleet.connections, self.fleet.hosts)), 2)


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
            self.assertIn("drop connection", hosts.log("n1"))


if __name__ == "__main__":
    unittest.main()
