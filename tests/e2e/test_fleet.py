# SPDX-License-Identifier: Apache-2.0
"""The fixture of many hosts keeps what it promises: separate hosts, and each fault as ordered."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from support import fleet

ROOT = pathlib.Path(__file__).resolve().parents[2]


class FleetCase(unittest.TestCase):
    """One fleet for all tests of a class; every test leaves its host as it was."""

    number = 3
    settings = {}

    @classmethod
    def setUpClass(cls):
        reason = fleet.missing()
        if reason:
            raise unittest.SkipTest(reason)
        folder = tempfile.mkdtemp(prefix="ds-deploy-test.")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.fleet = fleet.Fleet(pathlib.Path(folder) / "fleet", cls.number, **cls.settings)
        cls.addClassCleanup(cls.fleet.stop)
        cls.fleet.start()

    def expect(self, name, text, *command, options=()):
        """ssh fails, and says `text`."""
        done = self.fleet.ssh(name, *(command or ("true",)), options=options)
        self.assertNotEqual(done.returncode, 0, done)
        self.assertIn(text, done.stderr)
        return done

    def assert_well(self, name):
        done = self.fleet.ssh(name, "echo well")
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1:]), (0, ["well"]), done)

    def wait_for(self, what):
        for _ in range(1000):
            if what():
                return
            time.sleep(0.02)
        self.fail("it did not happen")


class Separation(FleetCase):
    def test_hosts_differ(self):
        ask = "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id; ls /tmp; pwd"
        answers = {}
        for name in self.fleet.hosts:
            done = self.fleet.ssh(name, "touch /tmp/of-$(hostname); " + ask)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("Welcome\n", done.stdout)
            answers[name] = done.stdout.splitlines()
        self.assertEqual({lines[-1] for lines in answers.values()},
                         {str(host["root"] / "home") for host in self.fleet.hosts.values()})
        if not {"name", "machine-id", "boot-id", "tmp"} <= self.fleet.separates:
            self.skipTest("only these are separate here: %s" % sorted(self.fleet.separates))
        for name, lines in answers.items():
            _, host, machine, boot, *files, _ = lines
            root = self.fleet.hosts[name]["root"]
            self.assertEqual(host, name)
            self.assertEqual(machine, (root / "machine-id").read_text().strip())
            self.assertEqual(boot, (root / "boot-id").read_text().strip())
            self.assertEqual([each for each in files if each.startswith("of-")], ["of-" + name])
        self.assertEqual(len({lines[2] for lines in answers.values()}), len(answers))

    def test_statuses_input_and_files(self):
        self.assertEqual(self.fleet.ssh("n1", "exit 7").returncode, 7)
        here = subprocess.run(["ssh", "-F", self.fleet.config, "n1", "cat"], input="abc", text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        self.assertEqual(here.stdout.splitlines()[-1], "abc")
        if any(os.path.exists(path) for path in fleet.SFTP_SERVERS):
            # Start-up files that talk are known to break scp and sftp.
            (self.fleet.hosts["n3"]["root"] / "home" / ".bashrc").write_text("")
            subprocess.run(["scp", "-q", "-F", self.fleet.config, str(ROOT / "README.md"),
                            "n3:copied"], check=True)
            self.assertTrue((self.fleet.hosts["n3"]["root"] / "home" / "copied").exists())

    def test_settings_of_a_host_change_while_it_runs(self):
        self.fleet.configure("n2", shell="/bin/sh", extra_config="PermitOpen none\nUsePAM no\n",
                             read_only_tmp=True)
        done = self.fleet.ssh("n2", "echo $0; : > /tmp/x")
        self.assertEqual(done.stdout.split(), ["sh"])
        self.assertEqual(done.returncode != 0, "tmp" in self.fleet.separates)
        self.fleet.configure("n2", read_only_tmp=False)
        self.fleet.new_host_key("n2", "ecdsa", learn=False)
        self.expect("n2", "Host key verification failed")
        self.fleet.write_known_hosts()
        self.assert_well("n2")

    def test_reboot_ends_orphans_too(self):
        before = self.fleet.ssh("n1", "cat /proc/sys/kernel/random/boot_id").stdout
        self.fleet.ssh("n1", "setsid sleep 100 > /dev/null 2>&1 < /dev/null & exit 0")
        self.wait_for(lambda: self.fleet.processes("n1") and self.fleet.open("n1") == 0)
        self.assertEqual(self.fleet.processes("n2"), [])
        self.fleet.reboot("n1")
        self.wait_for(lambda: not self.fleet.processes("n1"))
        after = self.fleet.ssh("n1", "cat /proc/sys/kernel/random/boot_id").stdout
        self.assertEqual(before != after, "boot-id" in self.fleet.separates)

    def test_log_and_counts(self):
        accepted = self.fleet.connections("n3")
        logged = self.fleet.log("n3").count("Accepted publickey")
        self.assert_well("n3")
        self.assertEqual(self.fleet.connections("n3"), accepted + 1)
        self.assertEqual(self.fleet.log("n3").count("Accepted publickey"), logged + 1)
        self.wait_for(lambda: self.fleet.open("n3") == 0 and self.fleet.pids("n3") == [])


class Faults(FleetCase):
    number = 2
    settings = {"wildcard": True, "noise": False}
    one, two = "127.0.0.2", "127.0.0.3"

    def setUp(self):
        self.addCleanup(self.fleet.kill, self.one)
        self.addCleanup(self.fleet.clear, self.one)

    def greeting(self, seconds=0.3):
        """What the host says first within a time; None: it said nothing."""
        with socket.create_connection((self.one, self.fleet.port), 2) as connection:
            connection.settimeout(seconds)
            try:
                return connection.recv(100)
            except TimeoutError:
                return None
            except ConnectionResetError:
                return b""

    def test_config_depends_on_no_name(self):
        self.assertNotIn("HostName", self.fleet.config.read_text())
        self.assertEqual(set(self.fleet.hosts), {self.one, self.two})
        self.assert_well(self.two)

    def test_refuse_and_clear(self):
        self.fleet.fault(self.one, "refuse")
        self.expect(self.one, "Connection refused")
        self.assert_well(self.two)
        self.fleet.clear(self.one)
        self.assert_well(self.one)
        self.fleet.stop(self.one)
        self.expect(self.one, "Connection refused")
        self.fleet.start(self.one)
        self.assert_well(self.one)

    def test_drop(self):
        self.fleet.fault(self.one, "drop")
        self.expect(self.one, "timed out", options=("-o", "ConnectTimeout=1"))
        self.fleet.clear(self.one)
        self.assert_well(self.one)

    def test_silence(self):
        self.fleet.fault(self.one, "never")
        self.assertIsNone(self.greeting())
        self.fleet.fault(self.one, "banner")
        self.assertTrue(self.greeting().startswith(b"SSH-2.0-"))
        with socket.create_connection((self.one, self.fleet.port), 2):
            self.wait_for(lambda: self.fleet.open(self.one) == 1)
        self.wait_for(lambda: self.fleet.open(self.one) == 0)

    def test_turned_away_a_few_times(self):
        for fault, said in (("penalty:2", b"Not allowed at this time\r\n"),
                            ("startups:2", b"Exceeded MaxStartups\r\n"), ("close:2", b"")):
            self.fleet.fault(self.one, fault)
            self.assertEqual([self.greeting(), self.greeting()], [said, said], fault)
            self.assertTrue(self.greeting(5).startswith(b"SSH-2.0-"), fault)

    def test_reset_leaves_a_part(self):
        self.fleet.fault(self.one, "reset:100000")
        done = subprocess.run(["ssh", "-F", self.fleet.config, self.one, "cat > part"],
                              input=b"x" * 1000000, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 255, done.stderr)
        part = self.fleet.hosts[self.one]["root"] / "home" / "part"
        self.wait_for(lambda: part.exists() and part.stat().st_size > 0)
        self.assertGreater(100000, part.stat().st_size)
        self.fleet.fault(self.one, "reset:300")
        self.expect(self.one, "Connection reset")

    def test_reset_under_the_first_keys(self):
        """However long the lists of algorithms are."""
        self.fleet.fault(self.one, "reset:+0")
        for lists in ("KexAlgorithms=curve25519-sha256", "Ciphers=aes256-ctr", "Compression=no"):
            done = subprocess.run(["ssh", "-v", "-F", self.fleet.config, "-o", lists, self.one, ":"],
                                  stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(done.returncode, 255, done.stderr)
            self.assertIn("SSH2_MSG_NEWKEYS sent", done.stderr)
            self.assertNotIn("SSH2_MSG_SERVICE_ACCEPT received", done.stderr)

    def test_stall(self):
        self.fleet.fault(self.one, "stall:100000")
        with open("/dev/zero", "rb") as zeros:
            done = subprocess.run(
                ["ssh", "-F", self.fleet.config, "-o", "ServerAliveInterval=1", "-o",
                 "ServerAliveCountMax=1", self.one, "cat > /dev/null"],
                stdin=zeros, stderr=subprocess.PIPE, timeout=30, check=False)
        self.assertIn(b"not responding", done.stderr)
        self.fleet.kill(self.one)
        self.wait_for(lambda: self.fleet.open(self.one) == 0)

    def test_slow(self):
        # Greetings, key exchange, service, authentication, channel, command: 12 times at least.
        self.fleet.fault(self.one, "slow:20")
        began = time.monotonic()
        self.assert_well(self.one)
        self.assertGreater(time.monotonic() - began, 0.24)

    def test_rate(self):
        self.fleet.fault(self.one, "rate:100000")
        began = time.monotonic()
        done = self.fleet.ssh(self.one, "head -c 40000 /dev/zero")
        self.assertEqual((done.returncode, len(done.stdout)), (0, 40000))
        self.assertGreater(time.monotonic() - began, 0.4)

    def test_hang(self):
        self.fleet.fault(self.one, "hang")
        words = ["ssh", "-F", self.fleet.config, self.one, "true"]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as client:
            self.wait_for(lambda: self.fleet.processes(self.one))
            (pid,) = self.fleet.processes(self.one)
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.1)
            self.assertEqual(self.fleet.processes(self.one), [pid])
            self.assertIsNone(client.poll())
            self.fleet.kill(self.one)
            self.assertEqual(client.wait(), 255)
        self.wait_for(lambda: not self.fleet.processes(self.one))

    def test_sshd_killed(self):
        self.fleet.fault(self.one, "kill:400")
        done = self.expect(self.one, "closed", "echo begun; sleep 20")
        self.assertEqual((done.returncode, done.stdout), (255, "begun\n"))

    def test_freeze_and_thaw(self):
        words = ["ssh", "-F", self.fleet.config, self.one, "echo up; cat"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            self.assertEqual(client.stdout.readline(), b"up\n")
            self.fleet.freeze(self.one)
            client.stdin.write(b"one\n")
            client.stdin.close()
            time.sleep(0.2)
            self.assertIsNone(client.poll())
            self.fleet.thaw(self.one)
            self.assertEqual(client.stdout.read(), b"one\n")

    def test_wrong_orders(self):
        for fault in ("sleepy", "reset", "reset:", "reset:1x", "reset:++1", "rate:0",
                      "slow:-1", "slow:+1"):
            with self.assertRaisesRegex(RuntimeError, "not a fault"):
                self.fleet.fault(self.one, fault)
        with self.assertRaisesRegex(RuntimeError, "no host"):
            self.fleet.clear("n9")


class End(unittest.TestCase):
    @unittest.skipIf(fleet.missing(), "%s" % fleet.missing())
    def test_nothing_survives(self):
        with tempfile.TemporaryDirectory(prefix="ds-deploy-test.") as folder:
            with fleet.Fleet(pathlib.Path(folder) / "fleet", 1) as hosts:
                hosts.ssh("n1", "setsid sleep 100 > /dev/null 2>&1 < /dev/null & exit 0")
                # A process that is just becoming another program shows no environment.
                for _ in range(100):
                    if hosts.processes("n1"):
                        break
                    time.sleep(0.02)
                self.assertNotEqual(hosts.processes("n1"), [])
            self.assertEqual(hosts.processes("n1"), [])


if __name__ == "__main__":
    unittest.main()
