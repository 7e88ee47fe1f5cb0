# SPDX-License-Identifier: Apache-2.0
"""ds-deploy trust on real sshd hosts: shows, asks once, adds; ssh itself then takes the keys."""
import json
import os
import pty
import subprocess
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, DeployCase, clean_environment


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class Trust(DeployCase):
    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", 2)
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        self.known = self.fleet.known_hosts
        self.good = self.known.read_text()
        self.known.unlink()
        self.hosts = self.write("cluster", "n1 slots=1\nn2 slots=1\n")
        self.words = ["trust", "--hostfile", self.hosts, "-F", self.fleet.config]

    def trust(self, *more, exit_status=0):
        done = self.run_program(*self.words, *more)
        self.stderr = done.stderr
        if exit_status is not None:
            self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return done.stdout

    def keygen_line(self, name):
        done = subprocess.run(["ssh-keygen", "-l", "-f", self.fleet.hosts[name]["folder"] /
                               "host_key.pub"], stdout=subprocess.PIPE, text=True, check=True)
        bits, fingerprint, kind = done.stdout.split()[0], done.stdout.split()[1], "(ED25519)"
        return "%s %s [%s]:%d %s" % (bits, fingerprint, self.fleet.hosts[name]["address"],
                                     self.fleet.hosts[name]["port"], kind)

    def on_terminal(self, answer):
        master, slave = pty.openpty()
        done = subprocess.Popen([PROGRAM, *map(str, self.words)], stdin=slave,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=clean_environment())
        os.close(slave)
        os.write(master, answer.encode())
        out, err = done.communicate(timeout=60)
        os.close(master)
        return done.returncode, out, err

    def test_yes_adds_what_ssh_then_takes(self):
        out = self.trust("--yes")
        for name in ("n1", "n2"):
            self.assertRegex(out, r"(?m)^%s +added" % name)
            self.assertIn(self.keygen_line(name), out)
        self.assertEqual(sorted(self.known.read_text().splitlines()),
                         sorted(self.good.splitlines()))
        self.assertEqual(self.known.stat().st_mode & 0o777, 0o600)
        for name in ("n1", "n2"):
            subprocess.run(["ssh", "-F", self.fleet.config, "-o", "BatchMode=yes", "-o",
                            "StrictHostKeyChecking=yes", name, "true"], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        self.assertEqual(self.run_program("ping", *self.words[1:]).returncode, 0)
        before = self.known.read_text()
        self.assertEqual(self.trust(), "2 hosts have a key that is on file\n")
        self.assertEqual(self.known.read_text(), before)

    def test_asks_once_on_the_terminal(self):
        status, out, err = self.on_terminal("n\n")
        self.assertEqual(status, 8, out + err)
        self.assertIn(self.keygen_line("n2"), out)
        self.assertEqual(err.count("Add these 2 keys to %s? [y/N]" % self.known), 1)
        self.assertFalse(self.known.exists())
        status, out, err = self.on_terminal("y\n")
        self.assertEqual(status, 0, out + err)
        self.assertEqual(len(self.known.read_text().splitlines()), 2)

    def test_without_a_terminal(self):
        out = self.trust(exit_status=2)
        self.assertIn(self.keygen_line("n1"), out)
        self.assertIn("--yes", self.stderr)
        self.assertFalse(self.known.exists())

    def test_changed_and_revoked_keys_are_never_added(self):
        first, second = self.good.splitlines()
        bad = "%s %s\n@revoked * %s\n" % (first.split()[0], " ".join(second.split()[1:]),
                                          " ".join(second.split()[1:]))
        self.known.write_text(bad)
        out = self.trust("--yes", exit_status=8)
        self.assertRegex(out, r"(?m)^n1 +refused +the host key of .* changed: it shows ED25519 SHA")
        self.assertIn("%s:1" % self.known, out)
        self.assertRegex(out, r"(?m)^n2 +refused +the host key of .* is revoked")
        self.assertIn("%s:2" % self.known, out)
        self.assertEqual(self.known.read_text(), bad)

    def test_hashed_names(self):
        config = self.fleet.config
        config.write_text("HashKnownHosts yes\n" + config.read_text())
        self.trust("--yes")
        lines = self.known.read_text().splitlines()
        self.assertEqual([line[:3] for line in lines], ["|1|", "|1|"])
        self.assertEqual(self.run_program("ping", *self.words[1:]).returncode, 0)

    def test_one_host_is_down(self):
        self.fleet.stop("n2")
        out = self.trust("--yes", exit_status=5)
        self.assertRegex(out, r"(?m)^n1 +added")
        self.assertRegex(out, r"(?m)^n2 +unreachable")


if __name__ == "__main__":
    unittest.main()
