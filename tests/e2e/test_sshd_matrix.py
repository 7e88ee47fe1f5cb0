# SPDX-License-Identifier: Apache-2.0
"""A matrix of real sshd configurations and user keys: what must work does, and says how.

What must be refused is in test_ssh_refusals.py, sshd's own MaxStartups in test_faults.py, wrappers
and interrupts in test_interrupt.py. Whatever needs PAM, as a password that expired, is in
ssh_login_terminal_test.cc.
"""
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

from support.deploy_case import PROGRAM, TESTS, DeployCase, clean_environment
from support.fleet_case import DRIVER, Ended
from support.matrix_case import POST_QUANTUM, Matrix

KEYS = {"ed25519": ("ed25519",), "ecdsa-256": ("ecdsa", 256), "ecdsa-384": ("ecdsa", 384),
        "ecdsa-521": ("ecdsa", 521), "rsa": ("rsa", 2048)}
SHELLS = ("bash", "dash", "csh", "fish")
# Start-up files in which a command fails; each shell goes on with ours all the same.
ILL = "echo Welcome\nno_such_command\n"


@unittest.skipIf(shutil.which("ssh-agent") is None, "no ssh-agent")
class Keys(Matrix):
    """Each host takes one type of key alone: from a file, from an encrypted one, from an agent."""

    cells = dict.fromkeys(KEYS, "")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = cls.folder / "keys"
        cls.keys.mkdir()
        for name, kind in KEYS.items():
            cls.fleet.make_key(cls.keys / name, *kind)
            cls.configure(name, extra_config="AuthorizedKeysFile %s.pub\n" % (cls.keys / name))

    def identities(self, file, suffix, more=""):
        return self.write_config(file, **{
            name: "  IdentityFile %s%s\n%s" % (self.keys / name, suffix, more) for name in KEYS})

    def test_in_a_file(self):
        self.assert_well(self.ping(config=self.identities("in-a-file", "")))

    def agent(self):
        """One that holds all keys, and the ssh configuration that asks it."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(folder / "socket")],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.addCleanup(agent.wait)
        self.addCleanup(agent.kill)
        adding = ["ssh-add", "-q", *(str(self.keys / name) for name in KEYS)]
        # The socket is there a moment before the agent listens.
        self.wait_for(lambda: subprocess.run(
            adding, stderr=subprocess.DEVNULL, check=False,
            env=clean_environment(SSH_AUTH_SOCK=str(folder / "socket"))).returncode == 0)
        for name in KEYS:
            shutil.copy(self.keys / (name + ".pub"), self.keys / (name + "-held.pub"))
        return agent, self.identities("in-an-agent", "-held.pub",
                                      "  IdentityAgent %s\n" % (folder / "socket"))

    def test_in_an_agent_alone(self):
        _, config = self.agent()
        self.assert_well(self.ping(config=config))

    def test_in_an_agent_that_takes_a_while(self):
        """All hosts have asked it for its keys before the first has its answer."""
        agent, config = self.agent()
        agent.send_signal(signal.SIGSTOP)
        wakes = threading.Timer(2, agent.send_signal, [signal.SIGCONT])
        wakes.start()
        self.addCleanup(wakes.join)
        self.assert_well(self.ping(config=config))

    def test_encrypted(self):
        for name in KEYS:
            locked = self.keys / (name + "-locked")
            for suffix in ("", ".pub"):
                shutil.copy("%s%s" % (self.keys / name, suffix), "%s%s" % (locked, suffix))
            subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "geheim", "-f", str(locked)],
                           check=True, stdout=subprocess.DEVNULL)
        config = self.identities("encrypted", "-locked")
        done = Ended([sys.executable, TESTS / "support" / "at_terminal.py",
                      json.dumps([["Enter passphrase", "geheim\n"]] * len(KEYS)), PROGRAM, "ping",
                      "-F", config, "--hostfile", self.hostfile, "--quiet"])
        shown = done.out.decode()
        self.assertEqual(done.status, 0, shown)
        self.assertEqual(re.findall(r"^([\w-]+)  ok ", shown, re.M), [*KEYS], shown)
        self.assertNotIn("geheim", shown)


class Algorithms(Matrix):
    """What libssh2 and the server have in common depends on its version; ssh serves the rest."""

    cells = {"etm": "Ciphers aes256-ctr\nMACs hmac-sha2-256-etm@openssh.com\n",
             "gcm": "Ciphers aes256-gcm@openssh.com\n",
             "chacha20": "Ciphers chacha20-poly1305@openssh.com\n",
             "post-quantum": POST_QUANTUM, "rsa": "", "ecdsa": "", "two-keys": ""}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for kind in ("rsa", "ecdsa"):
            cls.fleet.new_host_key(cls.names[kind], kind)
        both = cls.host("two-keys")["root"]
        cls.fleet.make_key(both / "rsa_key", "rsa", 2048)
        cls.configure("two-keys", extra_config="HostKey %s\nHostKey %s\n" % (
            both / "host_key", both / "rsa_key"))

    def test_each_gets_in_and_the_report_says_how(self):
        env = self.forgetful_libssh2()
        self.assert_well(self.ping(env=env))
        notes = json.loads(self.done.out)["notes"]
        alone = self.ping("--ssh-backend", "libssh2", status=5, env=env)
        self.assertEqual(json.loads(self.done.out)["notes"], [])
        refused = [name for name, answer in alone.items() if not answer["ok"]]
        self.assertIn("post-quantum", refused)
        for name in ("ecdsa", "two-keys"):
            self.assertNotIn(name, refused)
        for name in refused:
            self.golden("no-common-algorithm", alone[name]["message"])
        self.assertEqual(len(notes), 1, notes)
        self.assertRegex(notes[0], r"^[0-9]+ hosts? by the system's ssh, because the server and "
                         r"libssh2 [\w.]+ have no algorithm in common \(.*\): " + ", ".join(refused)
                         + "$")

    def test_of_two_keys_the_rsa_key_is_on_file(self):
        """No false alarm: ssh asks for the type that it knows."""
        known = self.fleet.known_hosts.read_text()
        self.addCleanup(self.fleet.known_hosts.write_text, known)
        host = self.host("two-keys")
        self.fleet.known_hosts.write_text("[%s]:%d %s" % (
            host["address"], host["port"], (host["root"] / "rsa_key.pub").read_text()))
        self.assertEqual(self.fleet.ssh(self.names["two-keys"], "true").returncode, 0)
        self.assert_well(self.ping("--limit", "two-keys"))


    def test_types_of_host_keys_that_the_user_allows(self):
        answers = self.ping("--limit", "ecdsa", "-o", "HostKeyAlgorithms=ssh-ed25519", status=5)
        self.assertIn("no matching host key type found", answers["ecdsa"]["message"])


class Works(Matrix):
    """One real deployment to all of them, through every phase."""

    cells = {"no-sftp": "Subsystem nothing /bin/false\n", "one-session": "MaxSessions 1\n",
             "post-quantum": POST_QUANTUM, "rekey": "RekeyLimit 1M\n",
             "wrapped": "", "ed25519-alone": "PubkeyAcceptedAlgorithms ssh-ed25519\n",
             **dict.fromkeys(SHELLS, "")}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        wrapper = cls.folder / "wrapper"
        wrapper.write_text('#!/bin/sh\necho wrapped\n"$@"\n')
        wrapper.chmod(0o755)
        cls.configure("wrapped", extra_config="ForceCommand '%s' %s\n" % (
            wrapper, cls.fleet.force_command(cls.host("wrapped")["root"])))
        cls.fleet.make_key(cls.folder / "rsa", "rsa", 2048)
        both = cls.folder / "both.pub"
        both.write_text((cls.folder / "rsa.pub").read_text()
                        + pathlib.Path("%s.pub" % cls.fleet.user_key).read_text())
        cls.configure("ed25519-alone", extra_config=cls.cells["ed25519-alone"]
                      + "AuthorizedKeysFile %s\n" % both)
        cls.config = cls.write_config("config", **{
            "ed25519-alone": "  IdentityFile %s\n" % (cls.folder / "rsa")})
        for name in SHELLS:
            for file in (".bashrc", ".cshrc", ".config/fish/config.fish"):
                path = cls.home(name) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(ILL)
            if shutil.which(name):
                cls.configure(name, shell=shutil.which(name))

    def test_a_deployment(self):
        names = [name for name in self.cells if name not in SHELLS or shutil.which(name)]
        before = {name: self.logins(name) for name in names}
        pythons = {name: DeployCase.make_environment(self, "env-" + name) for name in names}
        hostfile = self.folder / "deployed"
        hostfile.write_text("".join("%s slots=1 python=%s\n" % item for item in pythons.items()))
        done = self.program("deploy", "--json", "--wheel", DeployCase.pure_wheel(self),
                            hostfile=hostfile)
        self.assertEqual(done.status, 0, done.out + done.err)
        said = json.loads(done.out)
        self.assertEqual({host["name"]: host["state"] for host in said["hosts"]},
                         dict.fromkeys(names, "confirmed"))
        self.assertIn("post-quantum", " ".join(said["notes"]))
        for name in names:
            if name != "post-quantum":
                # One for the work, one that looks what outlived it, one that confirms.
                self.assertEqual(self.logins(name), before[name] + 3, name)
            python = pythons[name]
            self.assertEqual(DeployCase.python(self, python, "-c",
                                               "import foreign; print(foreign.VERSION)"), "1.0\n")

    def test_every_shell_is_here(self):
        absent = [name for name in SHELLS if shutil.which(name) is None]
        if absent:
            self.skipTest("not installed: " + ", ".join(absent))

    def test_200_megabytes_under_new_keys_after_each(self):
        self.configure("rekey", extra_config="RekeyLimit 1M\nLogLevel DEBUG1\n")
        self.addCleanup(self.configure, "rekey", extra_config=self.cells["rekey"])
        before = self.fleet.log(self.names["rekey"]).count("KEXINIT sent")
        upload, digest = self.folder / "upload", hashlib.sha256()
        with open(upload, "wb") as file:
            for _ in range(20):
                piece = os.urandom(10_000_000)
                digest.update(piece)
                file.write(piece)
        done = Ended([DRIVER], self.order(
            [{"host": "rekey", "script": "cat > got; wc -c < got; sha256sum < got; rm got",
              "file": str(upload), "limit": 100}],
            config=str(self.config), backend="libssh2", connect=15, login=30, stall=60),
            env=self.forgetful_libssh2())
        upload.unlink()
        self.assertEqual(done.status, 0, done.err)
        answer = json.loads(done.out)["phases"][0][0]
        self.assertEqual((answer["outcome"], answer["status"], answer["sent"]),
                         ("exited", 0, 200_000_000), answer)
        self.assertEqual(answer["out"].split()[-3:-1], ["200000000", digest.hexdigest()], answer)
        log = self.fleet.log(self.names["rekey"])
        self.assertGreater(log.count("KEXINIT sent") - before, 100)


if __name__ == "__main__":
    unittest.main()
