# SPDX-License-Identifier: Apache-2.0
"""Jump hosts: one connection to each for all hosts behind it, with keys, faults and limits of its own."""
import getpass
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, TESTS
from support.fleet_case import Ended, FleetCase


class JumpCase(FleetCase):
    """n1 is the jump host, n2 the second one where there are two; the others lie behind."""

    number = 10

    def setUp(self):
        self.before = self.logins("n1")

    def logins(self, name):
        return self.fleet.log(name).count("Accepted publickey")

    def config(self, text, behind=None):
        """An ssh configuration in which `text` stands before the fleet's own."""
        path = self.folder / "config"
        path.write_text(text + self.fleet.config.read_text())
        self.behind = [name for name in self.fleet.hosts if name not in ("n1", "n2")] \
            if behind is None else behind
        self.hosts = self.folder / "behind"
        self.hosts.write_text("".join("%s slots=1\n" % name for name in self.behind))
        return path

    def through(self, jump="n1", more="", behind=None):
        names = " ".join(name for name in self.fleet.hosts if name not in ("n1", "n2"))
        return self.config("Host %s\n  ProxyJump %s\n%s" % (names, jump, more), behind)

    def ping_behind(self, config, status=0, **how):
        return self.ping(config=config, hostfile=self.hosts, status=status, **how)

    def commands(self, config, commands, **options):
        return self.run_transport(commands, config=str(config), **options)[0]


class Many(JumpCase):
    number = 52
    settings = {"noise": False}

    def measure(self, config):
        self.assert_well(self.ping_behind(config))
        # ssh -G has been asked; what is left is the connections.
        self.assert_well(self.ping_behind(config))
        return self.done.cpu * 1000 / len(self.behind)

    def test_one_and_two_hops_to_fifty_hosts(self):
        direct = self.measure(self.config(""))
        before = self.logins("n1"), self.logins("n2")
        one = self.measure(self.through())
        self.assertEqual((self.logins("n1"), self.logins("n2")), (before[0] + 2, before[1]))
        two = self.measure(self.through("n1,n2"))
        self.assertEqual((self.logins("n1"), self.logins("n2")), (before[0] + 4, before[1] + 2))
        print("CPU ms a host: direct %.1f, one hop %.1f, two hops %.1f" % (direct, one, two))
        # Each hop encrypts everything once more; a handshake a host would cost far more.
        self.assertLess(one, 2.5 * direct + 2)
        self.assertLess(two, 4 * direct + 4)


class Jump(JumpCase):
    def test_unknown_and_changed_key_of_the_jump_host(self):
        known = self.fleet.known_hosts.read_text()
        self.addCleanup(self.fleet.known_hosts.write_text, known)
        lines = known.splitlines(True)
        n1, n3 = lines[0].split(), lines[2].split()
        for text in ("".join(lines[1:]), "%s %s %s\n" % (n1[0], *n3[1:]) + "".join(lines[1:])):
            self.fleet.known_hosts.write_text(text)
            answers = self.ping_behind(self.through(), status=8)
            for answer in answers.values():
                self.assertIn("the jump host n1", answer["message"])
                self.assertIn("SHA256:", answer["message"])
            self.assertEqual(self.logins("n1"), self.before)

    def test_jump_host_down(self):
        for fault, words in (("refuse", "Connection refused"), ("never", "no SSH session began in 2 s")):
            self.faults(n1=fault)
            answers = self.ping_behind(self.through(), status=5)
            self.assertEqual([name for name, each in answers.items() if each["ok"]], [])
            for answer in answers.values():
                self.assertIn("the jump host n1", answer["message"])
                self.assertIn(words, answer["message"])
            self.assertLess(self.done.seconds, 5)

    def test_jump_host_turns_away_a_few_times(self):
        self.faults(n1="startups:2")
        self.assert_well(self.ping_behind(self.through()))
        self.assertEqual(self.logins("n1"), self.before + 1)

    def test_login_refused_by_the_jump_host(self):
        self.fleet.configure("n1", extra_config="AuthorizedKeysFile none\n")
        self.addCleanup(self.fleet.configure, "n1", extra_config="")
        answers = self.ping_behind(self.through(), status=5)
        for answer in answers.values():
            self.assertIn("the jump host n1", answer["message"])
            self.assertIn("refused", answer["message"])

    def test_jump_host_that_forwards_nothing(self):
        self.fleet.configure("n1", extra_config="AllowTcpForwarding no\n")
        self.addCleanup(self.fleet.configure, "n1", extra_config="")
        answers = self.ping_behind(self.through(), status=5)
        for answer in answers.values():
            self.assertIn("the jump host n1 makes no connection to 127.0.0.", answer["message"])

    def test_targets_down(self):
        """One refuses at once; two give no answer, for which sshd waits for minutes."""
        self.faults(n3="refuse", n4="drop", n5="drop", n6="never", n7="reset:+300")
        answers = self.ping_behind(self.through(), status=5)
        self.assert_well(answers, but=("n3", "n4", "n5", "n6", "n7"))
        self.assertIn("the jump host n1 makes no connection", answers["n3"]["message"])
        for name in ("n4", "n5"):
            self.assertIn("no answer in 2 s", answers[name]["message"])
        self.assertIn("no SSH session began in 2 s", answers["n6"]["message"])
        self.assertFalse(answers["n7"]["ok"])
        self.assertLess(self.done.seconds, 15)

    def test_target_turns_away_a_few_times(self):
        self.faults(n3="startups:2", n4="close:1")
        self.assert_well(self.ping_behind(self.through()))

    def test_jump_host_dies_during_commands(self):
        config = self.through()
        child = self.start_transport([{"host": name, "script": "touch begun; sleep 20"}
                                      for name in self.behind], config=str(config))
        homes = [self.fleet.hosts[name]["root"] / "home" for name in self.behind]
        self.wait_for(lambda: all((home / "begun").exists() for home in homes))
        self.fleet.kill("n1")
        (answers,) = self.finish(child)
        for home, answer in zip(homes, answers):
            (home / "begun").unlink()
            self.assertEqual(answer["outcome"], "lost", answer)
            self.assertRegex(answer["message"], "the connection broke (during the command"
                             "|as the command was started)")
            self.assertIn("the jump host n1", answer["message"])

    def test_a_new_connection_for_the_next_phase(self):
        config = str(self.through())
        self.fleet.configure("n1", extra_config="")
        child = self.start_transport([{"host": name, "script": "sleep 1"} for name in self.behind],
                                     [{"host": name} for name in self.behind], config=config)
        first = self.finish(child)
        self.assertEqual({each["outcome"] for phase in first for each in phase}, {"exited"})
        self.assertEqual(self.logins("n1"), self.before + 1)

    def test_jump_host_that_names_itself(self):
        config = self.config("Host *\n  ProxyJump n1\n", behind=["n1", "n3", "n4"])
        self.assert_well(self.ping_behind(config))

    def test_jump_hosts_in_a_circle(self):
        config = self.config("Host n3\n  ProxyJump n1\nHost n1\n  ProxyJump n2\n"
                             "Host n2\n  ProxyJump n1\n", behind=["n3", "n4"])
        answers = self.ping_behind(config, status=5)
        self.assertIn("through itself", answers["n3"]["message"])
        self.assertTrue(answers["n4"]["ok"])

    def test_upload_to_four_hosts_at_once(self):
        upload = self.folder / "upload"
        upload.write_bytes(os.urandom(20_000_000))
        wanted = hashlib.sha256(upload.read_bytes()).hexdigest()
        hosts = ["n3", "n4", "n5", "n6"]
        answers = self.commands(self.through(), [{
            "host": name, "script": "cat > got; sha256sum < got; rm got",
            "file": str(upload)} for name in hosts])
        self.assert_well(answers)
        for name in hosts:
            self.assertIn(wanted, answers[name]["out"])
            self.assertEqual(answers[name]["sent"], 20_000_000)
        self.assertEqual(self.logins("n1"), self.before + 1)

    def test_much_output_from_all_hosts_at_once(self):
        answers = self.commands(self.through(), [{
            "host": name, "script": "head -c 9000000 /dev/zero; head -c 3000000 /dev/zero >&2",
            "limit": 30} for name in self.behind])
        self.assert_well(answers)
        for answer in answers.values():
            self.assertEqual(answer["out"], 9000000 + len("Welcome\n"))


class Command(JumpCase):
    """ProxyCommand, and a connection to the jump host that the user has opened already."""

    number = 5

    def test_proxy_command(self):
        ssh = "ssh -F %s -o BatchMode=yes -W %%h:%%p n1" % self.fleet.config
        config = self.config("Host n3 n4\n  ProxyCommand %s\n" % ssh)
        self.assert_well(self.ping_behind(config))
        self.assertEqual(self.logins("n1"), self.before + 2)
        self.faults(n1="refuse")
        answers = self.ping_behind(config, status=5)
        self.assertTrue(answers["n5"]["ok"])
        for name in ("n3", "n4"):
            self.assertIn("Connection refused", answers[name]["message"])
            self.assertIn("-W", answers[name]["message"])
        self.assertLess(self.done.seconds, 6)

    def test_proxy_command_fails(self):
        config = self.config("Host n3\n  ProxyCommand echo 'no way' >&2; exit 1\n"
                             "Host n4\n  ProxyCommand /nowhere/proxy %h\n")
        answers = self.ping_behind(config, status=5)
        self.assertIn("no way", answers["n3"]["message"])
        self.assertIn("/nowhere/proxy", answers["n4"]["message"])
        self.assertTrue(answers["n5"]["ok"])
        self.assert_clean(self.done)
        self.assertLess(self.done.seconds, 6)

    def test_a_live_master_is_used(self):
        folder = self.folder / "m"
        folder.mkdir()
        config = self.through("%s@n1:%d" % (getpass.getuser(), self.fleet.port),
                              more="Host n1\n  ControlPath %s/%%n\n" % folder)
        words = ["ssh", "-F", str(config), "-o", "BatchMode=yes"]
        subprocess.run([*words, "-o", "ControlMaster=yes", "-f", "-N", "n1"], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, [*words, "-O", "exit", "n1"], stderr=subprocess.DEVNULL)
        self.assertEqual(self.logins("n1"), self.before + 1)
        self.assert_well(self.ping_behind(config))
        self.assertEqual(self.logins("n1"), self.before + 1)
        self.assertIn("the jump host n1 is entered by its ControlPath connection",
                      json.loads(self.done.out)["notes"][0])


def no_pam():
    """Why no sshd can ask by PAM here, or None."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL,
                                           check=False).returncode != 0:
        return "PAM needs root and a mount namespace"
    if not list(pathlib.Path("/lib").glob("*/security/pam_exec.so")):
        return "no pam_exec"
    return sshd_hosts.missing()


class SecondFactor(unittest.TestCase):
    """A jump host that takes a key, then asks somebody at the terminal."""

    @unittest.skipIf(no_pam(), "%s" % no_pam())
    def test_is_asked_once_and_named(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(shutil.rmtree, folder)
        pam = folder / "pam"
        pam.mkdir()
        check = pam / "check"
        check.write_text("#!/bin/sh\n[ \"$(tr -d '\\0')\" = geheim ]\n")
        check.chmod(0o700)
        (pam / "sshd").write_text("auth required pam_exec.so quiet expose_authtok %s\n"
                                  "auth required pam_permit.so\n"
                                  "account required pam_permit.so\n"
                                  "session required pam_permit.so\n" % check)
        hosts = sshd_hosts.SshdHosts(folder / "fleet", 4)
        self.addCleanup(hosts.stop)
        hosts.start("n1", more="UsePAM yes\nPermitRootLogin yes\nKbdInteractiveAuthentication yes\n"
                    "AuthenticationMethods publickey,keyboard-interactive\n",
                    within=["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/pam.d && exec "$@"',
                            str(pam)])
        hosts.start("n2", "n3", "n4")
        config, hostfile = folder / "config", folder / "hosts"
        config.write_text("Host n2 n3 n4\n  ProxyJump n1\n" + hosts.config.read_text())
        hostfile.write_text("n2 slots=1\nn3 slots=1\nn4 slots=1\n")
        done = Ended([sys.executable, TESTS / "support" / "at_terminal.py",
                      json.dumps([["Password", "geheim\n"]] * 2), PROGRAM, "ping", "-F", config,
                      "--hostfile", hostfile])
        shown = done.out.decode()
        self.assertEqual(done.status, 0, shown + hosts.log("n1"))
        self.assertEqual(shown.count("Password"), 1, shown)
        self.assertNotIn("geheim", shown)
        self.assertIn("the jump host n1 asked a person for its login, and would ask again", shown)


if __name__ == "__main__":
    unittest.main()
