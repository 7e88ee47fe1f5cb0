# SPDX-License-Identifier: Apache-2.0
"""Three real sshd hosts with roots, keys and ports of their own."""
import pathlib
import unittest

from support import sshd_hosts
from support.deploy_case import DeployCase, clean_environment


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class ThreeHosts(DeployCase):
    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", 3)
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        self.pythons = {name: self.make_environment("%s/env" % name) for name in self.fleet.hosts}
        self.hosts = self.write("cluster", "".join(
            "%s slots=8 python=%s\n" % (name, python) for name, python in self.pythons.items()))
        self.common = ["--hostfile", self.hosts, "-F", self.fleet.config]

    def pointer(self, name):
        return (self.folder / name / ".ds-deploy" / "env" / "active").read_text().strip()

    def test_confirmed_unchanged_then_one_is_down(self):
        first = self.deploy(*self.common)
        self.assertEqual(set(self.states(first).values()), {"confirmed"})
        release = first["wheels"][0]["sha256"]
        self.assertEqual({self.pointer(name) for name in self.pythons}, {release})

        again = self.deploy(*self.common)
        self.assertEqual(set(self.states(again).values()), {"unchanged"})
        self.assertEqual(sum(host["sent_bytes"] for host in again["hosts"]), 0)

        self.fleet.stop("n2")
        ops = self.copy_ops()
        (ops / "VERSION").write_text("0.1.1\n")
        third = self.deploy(*self.common, "--ops", ops, exit_status=5)
        self.assertEqual(self.states(third), {"n1": "ready", "n2": "unreachable", "n3": "ready"})
        self.assertEqual({self.pointer(name) for name in self.pythons}, {release})

    def test_logins(self):
        """One for all that is asked and sent; a new one where the host must show that it lets us in
        still: that its dead-man's switch outlives a session, and to confirm."""
        for logins in (3, 3 + 2):
            self.deploy(*self.common)
            for name in self.pythons:
                self.assertEqual(self.fleet.log(name).count("Accepted publickey"), logins, name)

    def test_unknown_host_key_is_refused(self):
        known = self.fleet.known_hosts.read_text().splitlines()
        self.fleet.known_hosts.write_text("\n".join(known[1:]) + "\n")
        report = self.deploy(*self.common, exit_status=8)
        self.assertEqual(self.states(report)["n1"], "refused")
        message = report["hosts"][0]["message"]
        self.assertIn("SHA256:", message)
        self.assertIn("ds-deploy trust", message)

    def test_changed_host_key_is_refused(self):
        lines = self.fleet.known_hosts.read_text().splitlines()
        other = lines[1].split()[2]
        name, kind, _ = lines[0].split()
        self.fleet.known_hosts.write_text("%s %s %s\n%s\n" % (name, kind, other, lines[1]))
        report = self.deploy(*self.common, "--limit", "n1", exit_status=8)
        self.assertIn("known_hosts:1", report["hosts"][0]["message"])
        self.assertIn("ssh-keygen -R", report["hosts"][0]["message"])

    def test_a_key_of_another_type_is_a_changed_key(self):
        self.fleet.make_key(self.folder / "rsa", "ecdsa")
        kind, key = (self.folder / "rsa.pub").read_text().split()[:2]
        name = self.fleet.known_hosts.read_text().split()[0]
        self.fleet.known_hosts.write_text("%s %s %s\n" % (name, kind, key))
        report = self.deploy(*self.common, "--limit", "n1", exit_status=8)
        self.assertIn("changed", report["hosts"][0]["message"])

    def test_wrong_user_key_is_refused_not_unreachable(self):
        pathlib.Path(self.fleet.user_key).unlink()
        self.fleet.make_key(self.folder / "stranger")
        (self.folder / "stranger").rename(self.fleet.user_key)
        report = self.deploy(*self.common, "--limit", "n1", exit_status=5)
        host = report["hosts"][0]
        self.assertEqual((host["state"], host["step"]), ("refused", "connect"))
        self.assertIn("user_key", host["message"])

    def test_ping_and_an_ecdsa_key(self):
        self.assertEqual(self.run_program("ping", *self.common).returncode, 0)
        self.fleet.user_key.unlink()
        pathlib.Path(str(self.fleet.user_key) + ".pub").unlink()
        self.fleet.make_key(self.fleet.user_key, "ecdsa")
        # libssh2 1.10 forgets two small objects for each ECDSA key that it reads from a file.
        allowed = self.write("suppressions", "leak:libssh2_userauth_publickey_fromfile\n")
        env = clean_environment(ASAN_OPTIONS="fast_unwind_on_malloc=0",
                                LSAN_OPTIONS="print_suppressions=0:suppressions=%s" % allowed)
        done = self.run_program("ping", *self.common, env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.fleet.stop("n3")
        self.assertEqual(self.run_program("ping", *self.common, env=env).returncode, 5)

    def test_dry_run_changes_nothing(self):
        before = {name: self.tree(self.folder / name) for name in self.pythons}
        report = self.deploy(*self.common, "--dry-run")
        self.assertEqual(set(self.states(report).values()), {"ready"})
        self.assertEqual({name: self.tree(self.folder / name) for name in self.pythons}, before)
