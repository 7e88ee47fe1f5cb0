# SPDX-License-Identifier: Apache-2.0
"""Host keys: for every case the verdict of ds-deploy is that of the ssh program, on a real sshd."""
import getpass
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from support import sshd_hosts
from support.deploy_case import DeployCase, clean_environment

ADDRESS = "127.0.0.1"


def keygen(*words):
    subprocess.run(["ssh-keygen", "-q", *map(str, words)], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Server:
    """sshd with the host keys that are named."""

    def __init__(self, folder, name, keys, certificate=None):
        self.port = sshd_hosts.free_port(ADDRESS)
        self.name = "[%s]:%d" % (ADDRESS, self.port)
        config = folder / (name + ".config")
        lines = ["ListenAddress " + ADDRESS, "Port %d" % self.port, "PidFile none", "UsePAM no",
                 "StrictModes no", "AuthorizedKeysFile %s/user.pub" % folder]
        lines += ["HostKey %s/%s" % (folder, key) for key in keys]
        if certificate:
            lines.append("HostCertificate %s" % certificate)
        # From OpenSSH 9.8 on a server shuts out an address that breaks off many handshakes.
        probe = subprocess.run([sshd_hosts.SSHD, "-t", "-f", "/dev/null", "-h", folder / keys[0],
                                "-o", "PerSourcePenalties=no"], stderr=subprocess.DEVNULL,
                               check=False)
        if probe.returncode == 0:
            lines.append("PerSourcePenalties no")
        config.write_text("\n".join(lines) + "\n")
        with open(folder / (name + ".log"), "w") as log:
            self.process = subprocess.Popen([sshd_hosts.SSHD, "-D", "-e", "-f", str(config)],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        sshd_hosts.SshdHosts.wait({"address": ADDRESS, "port": self.port, "folder": folder})

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class HostKeyCase(DeployCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-keys."))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        for name in ("user", "key", "other", "authority", "stranger"):
            keygen("-t", "ed25519", "-N", "", "-f", cls.shared / name)
        keygen("-t", "ecdsa", "-N", "", "-f", cls.shared / "ecdsa")
        cls.servers = {}

    @classmethod
    def server(cls, name):
        """Started when it is first needed."""
        if name not in cls.servers:
            keys, certificate = ["key"], None
            if name == "both":
                keys.append("ecdsa")
            elif name != "plain":
                keys, certificate = [name], cls.certify(name)
            cls.servers[name] = Server(cls.shared, name, keys, certificate)
            cls.addClassCleanup(cls.servers[name].stop)
        return cls.servers[name]

    @classmethod
    def certify(cls, name):
        """A host certificate of the authority: `certified` is good, the others have a fault."""
        key = cls.shared / name
        keygen("-t", "ed25519", "-N", "", "-f", key)
        valid = "20200101:20200201" if name == "expired" else "-1d:+1d"
        principal = "elsewhere" if name == "misnamed" else ADDRESS
        keygen("-s", cls.shared / "authority", "-h", "-I", name, "-n", principal, "-V", valid,
               "%s.pub" % key)
        return cls.shared / (name + "-cert.pub")

    @classmethod
    def public(cls, name):
        return " ".join((cls.shared / (name + ".pub")).read_text().split()[:2])

    def configure(self, server, user="", known="", more=""):
        """The files of a user, and what ssh is told of them."""
        known_file = self.write("known_hosts", user)
        global_file = self.write("ssh_known_hosts", known)
        self.hosts = self.write("cluster", "node slots=1\n")
        self.config = self.write("config", more + (
            "Host *\n  HostName %s\n  Port %d\n  User %s\n  IdentityFile %s\n  IdentitiesOnly yes\n"
            "  UserKnownHostsFile %s\n  GlobalKnownHostsFile %s\n"
            % (ADDRESS, server.port, getpass.getuser(), self.shared / "user", known_file,
               global_file)))
        return known_file

    def ssh_accepts(self):
        done = subprocess.run(["ssh", "-F", str(self.config), "-o", "BatchMode=yes", "-o",
                               "StrictHostKeyChecking=yes", "node", "true"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=clean_environment(),
                              timeout=60, check=False)
        self.ssh_said = done.stdout
        self.assertIn(done.returncode, (0, 255), done.stdout)
        return done.returncode == 0

    def we_accept(self):
        done = self.run_program("ping", "-F", self.config, "--hostfile", self.hosts)
        self.we_said = done.stdout
        self.assertIn(done.returncode, (0, 8), done.stdout + done.stderr)
        return done.returncode == 0


class Verdicts(HostKeyCase):
    def same_verdict(self, accepted, server="plain", revoked=None, more="", **files):
        server = self.server(server)
        names = {name: self.public(name)
                 for name in ("key", "other", "ecdsa", "authority", "stranger")}
        names.update({name: self.public(name) for name in self.servers
                      if name not in ("plain", "both")})
        names.update(n=server.name, a=ADDRESS, p=server.port, bytes=names["key"].split()[1])
        if revoked is not None:
            more += "RevokedHostKeys %s\n" % self.write("revoked", revoked.format(**names))
        self.configure(server, more=more,
                       **{key: text.format(**names) for key, text in files.items()})
        self.compare(accepted)

    def compare(self, accepted):
        self.assertEqual(self.ssh_accepts(), accepted, "ssh: " + self.ssh_said)
        self.assertEqual(self.we_accept(), accepted, self.we_said + "\nssh: " + self.ssh_said)

    def hashed(self, *lines):
        path = self.write("to_hash", "".join("%s %s\n" % (name, self.public(key))
                                             for name, key in lines))
        keygen("-H", "-f", path)
        return path.read_text()

    def test_hashed(self):
        name = self.server("plain").name
        for accepted, lines in ((True, [(name, "key")]), (False, [(name, "other")]),
                                (True, [(ADDRESS, "key")]), (False, [("[127.0.0.2]:22", "key")]),
                                (True, [("x", "other"), (name, "key"), (name, "other")])):
            with self.subTest(lines):
                self.same_verdict(accepted, user=self.hashed(*lines))

    def test_a_folder_in_place_of_the_file(self):
        server = self.server("plain")
        for accepted, known in ((False, ""), (True, "%s %s\n" % (server.name, self.public("key")))):
            known_file = self.configure(server, known=known)
            known_file.unlink()
            known_file.mkdir()
            self.compare(accepted)
            known_file.rmdir()

    @unittest.skipIf(os.geteuid() == 0, "root can read every file")
    def test_unreadable_file(self):
        server = self.server("plain")
        known = self.configure(server, user="%s %s\n" % (server.name, self.public("key")))
        known.chmod(0)
        self.compare(False)

    def test_absent_file(self):
        self.configure(self.server("plain")).unlink()
        self.compare(False)

    def test_absent_list_of_revoked_keys(self):
        self.same_verdict(False, user="{n} {key}\n",
                          more="RevokedHostKeys %s\n" % (self.folder / "absent"))

    def test_binary_list_of_revoked_keys(self):
        krl = self.folder / "krl"
        keygen("-k", "-f", krl, self.shared / "key.pub")
        self.same_verdict(False, user="{n} {key}\n", more="RevokedHostKeys %s\n" % krl)


def add_cases(table):
    for title, accepted, files in table:
        def test(self, accepted=accepted, files=files):
            self.same_verdict(accepted, **files)
        setattr(Verdicts, "test_" + re.sub(r"\W+", "_", title), test)


add_cases([
    ("new", False, {}),
    ("known", True, {"user": "{n} {key}\n"}),
    ("another host is known", False, {"user": "[127.0.0.2]:{p} {key}\n"}),
    ("changed", False, {"user": "{n} {other}\n"}),
    ("changed type", False, {"user": "{n} {ecdsa}\n"}),
    ("two contradicting lines", True, {"user": "{n} {other}\n{n} {key}\n"}),
    ("two contradicting lines, the good one first", True, {"user": "{n} {key}\n{n} {other}\n"}),
    ("user and global contradict", True, {"user": "{n} {other}\n", "known": "{n} {key}\n"}),
    ("global only", True, {"known": "{n} {key}\n"}),
    ("global changed", False, {"known": "{n} {other}\n"}),
    ("revoked", False, {"user": "@revoked {n} {key}\n"}),
    ("revoked and known", False, {"user": "{n} {key}\n@revoked * {key}\n"}),
    ("revoked globally and known", False, {"user": "{n} {key}\n", "known": "@revoked * {key}\n"}),
    ("revoked for another host", True, {"user": "{n} {key}\n@revoked [127.0.0.2]:* {key}\n"}),
    ("another key revoked", True, {"user": "{n} {key}\n@revoked * {other}\n"}),
    ("revoked marker with a tab", True, {"user": "{n} {key}\n@revoked\t* {key}\n"}),
    ("wildcard", True, {"user": "[127.0.0.*]:{p} {key}\n"}),
    ("wildcard for everything", True, {"user": "* {key}\n"}),
    ("question marks", True, {"user": "[127.?.?.?]:* {key}\n"}),
    ("brackets are no pattern", False, {"user": "[0-9]*[{a}]:{p} {key}\n"}),
    ("wildcard changed", False, {"user": "* {other}\n"}),
    ("negated", False, {"user": "[127.*]:*,!{n} {key}\n"}),
    ("negated first", False, {"user": "!{n},[127.*]:* {key}\n"}),
    ("negated alone", False, {"user": "![127.0.0.2]:* {key}\n"}),
    ("another one negated", True, {"user": "[127.*]:*,![127.0.0.2]:* {key}\n"}),
    ("several names", True, {"user": "x,{n},y {key}\n"}),
    ("another port", False, {"user": "[{a}]:1 {key}\n"}),
    ("the name without its port", True, {"user": "{a} {key}\n"}),
    ("the name without its port has another key", False, {"user": "{a} {other}\n"}),
    ("the name without its port, revoked", False, {"user": "@revoked {a} {key}\n"}),
    ("the name with its port wins", False, {"user": "{n} {other}\n{a} {key}\n"}),
    ("malformed lines", True,
     {"user": "{n}\n{n} ssh-ed25519\n@bad {n} {key}\n{n} ssh-ed25519 !\n|1|x|y {other}\n"
              "{n} ssh-rsa {bytes}\n\n# {n}\n{n} {key}\n"}),
    ("malformed lines only", False, {"user": "{n} ssh-rsa {bytes}\n{n} ssh-ed25519 {bytes}AAAA\n"}),
    ("truncated key", False, {"user": "{n} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA\n"}),
    ("no newline at the end", True, {"user": "{n} {key}"}),
    ("lines that end in CRLF", True, {"user": "{n} {key}\r\n"}),
    ("a comment after the key", True, {"user": " \t{n}\t{key} somebody\n"}),
    ("a long line of names", True, {"user": "y" * 9000 + " {other}\n{n} {key}\n"}),
    ("a long name before ours", False, {"user": "y" * 1500 + ",{n} {key}\n"}),
    ("authority, the plain key known too", True,
     {"user": "@cert-authority * {other}\n{n} {key}\n"}),
    ("authority, but no certificate", False, {"user": "@cert-authority * {other}\n"}),
    ("authority is no host key", False, {"user": "@cert-authority * {key}\n"}),
    ("one of two keys known", True, {"server": "both", "user": "{n} {key}\n"}),
    ("the other of two keys known", True, {"server": "both", "user": "{n} {ecdsa}\n"}),
    ("both keys known", True, {"server": "both", "user": "{n} {ecdsa}\n{n} {key}\n"}),
    ("of two keys one revoked", False,
     {"server": "both", "user": "{n} {key}\n@revoked * {key}\n"}),
    ("of two keys the other revoked", True,
     {"server": "both", "user": "{n} {key}\n@revoked * {ecdsa}\n"}),
    ("certificate of a stranger", False,
     {"server": "certified", "user": "@cert-authority * {stranger}\n"}),
    ("certificate that expired", False,
     {"server": "expired", "user": "@cert-authority * {authority}\n"}),
    ("certificate that expired, the plain key known", True,
     {"server": "expired", "user": "@cert-authority * {authority}\n{n} {expired}\n"}),
    ("certificate for another name", False,
     {"server": "misnamed", "user": "@cert-authority * {authority}\n"}),
    ("certificate, no authority on file", False, {"server": "certified"}),
    ("certificate of a key that is revoked", False,
     {"server": "certified", "user": "@cert-authority * {authority}\n@revoked * {certified}\n"}),
    ("certificate, authority for other hosts", False,
     {"server": "certified", "user": "@cert-authority elsewhere {authority}\n"}),
])

# Such hosts are handed to the ssh program.
add_cases([
    ("certificate", True, {"server": "certified", "user": "@cert-authority * {authority}\n"}),
    ("certificate, authority without the port", True,
     {"server": "certified", "user": "@cert-authority {a} {authority}\n"}),
    ("certificate, another plain key known", True,
     {"server": "certified", "user": "{n} {other}\n@cert-authority * {authority}\n"}),
])

# RevokedHostKeys, the port of a HostKeyAlias, the order of the key types that are asked for.
add_cases([
    ("of two keys the better one changed", False,
     {"server": "both", "user": "{n} {ecdsa}\n{n} {other}\n"}),
    ("list of revoked keys", False, {"user": "{n} {key}\n", "revoked": "# old\n{key} old\n"}),
    ("malformed list of revoked keys", False, {"user": "{n} {key}\n", "revoked": "nonsense\n"}),
    ("alias with a port is not looked up", False,
     {"user": "[node1]:{p} {key}\n", "more": "HostKeyAlias node1\n"}),
])

add_cases([
    ("alias", True, {"user": "node1 {key}\n", "more": "HostKeyAlias Node1\n"}),
    ("list of other revoked keys", True, {"user": "{n} {key}\n", "revoked": "{other} old\n"}),
    ("empty list of revoked keys", True, {"user": "{n} {key}\n", "revoked": ""}),
])


if __name__ == "__main__":
    unittest.main()
