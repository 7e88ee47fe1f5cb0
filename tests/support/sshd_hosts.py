# SPDX-License-Identifier: Apache-2.0
"""Real sshd processes on 127.0.0.x as hosts: host keys, ports and homes of their own."""
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")


def missing():
    """Why no host can be started here, or None."""
    if SSHD is None:
        return "no sshd (openssh-server)"
    if shutil.which("ssh-keygen") is None:
        return "no ssh-keygen (openssh-client)"
    return None


def free_port(address):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


class SshdHosts:
    """`number` hosts n1..nN below `folder`; config is a file for ds-deploy -F."""

    def __init__(self, folder, number, address=None):
        """`address` gives that of host 1, 2, ...; then ports are 2222."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.user_key = self.folder / "user_key"
        self.known_hosts = self.folder / "known_hosts"
        self.config = self.folder / "ssh_config"
        self.hosts = {}
        self.make_key(self.user_key)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        known, config = [], []
        for index in range(1, number + 1):
            name = "n%d" % index
            where = address(index) if address else "127.0.0.%d" % (index + 1)
            home = self.folder / name
            (home / "home").mkdir(parents=True)
            # A login that talks, as many do.
            (home / "home" / ".bashrc").write_text("echo Welcome; echo 'last login: today' >&2\n")
            port = 2222 if address else free_port(where)
            self.make_key(home / "host_key")
            self.hosts[name] = {"address": where, "port": port, "folder": home, "process": None}
            public = (home / "host_key.pub").read_text().split()
            known.append("[%s]:%d %s %s" % (where, port, public[0], public[1]))
            config.append("Host %s\n  HostName %s\n  Port %d\n" % (name, where, port))
        self.known_hosts.write_text("\n".join(known) + "\n")
        self.config.write_text("".join(config) + "Host *\n  User %s\n  IdentityFile %s\n"
                               "  IdentitiesOnly yes\n  UserKnownHostsFile %s\n"
                               "  GlobalKnownHostsFile /dev/null\n"
                               % (getpass.getuser(), self.user_key, self.known_hosts))

    @staticmethod
    def make_key(path, kind="ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)

    def start(self, *names, more="", within=()):
        """`more`: lines for sshd_config, before ours (the first value of a keyword wins);
        `within`: a command that runs sshd, as unshare does."""
        for name in names or self.hosts:
            host = self.hosts[name]
            config = host["folder"] / "sshd_config"
            config.write_text(
                more + "ListenAddress %(address)s\nPort %(port)d\nHostKey %(folder)s/host_key\n"
                "PidFile none\nUsePAM no\nStrictModes no\nLogLevel VERBOSE\n"
                "PasswordAuthentication no\nSetEnv HOME=%(folder)s/home\n" % host
                + "AuthorizedKeysFile %s.pub\n" % self.user_key
                # Of MaxStartups the last one wins.
                + ("" if "MaxStartups" in more else "MaxStartups 200\n"))
            log = open(host["folder"] / "log", "a")
            host["process"] = subprocess.Popen(
                [*within, SSHD, "-D", "-e", "-f", str(config)], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True)
            log.close()
            self.wait(host)

    @staticmethod
    def wait(host):
        for _ in range(200):
            try:
                socket.create_connection((host["address"], host["port"]), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("sshd did not start: " + (host["folder"] / "log").read_text())

    def stop(self, *names):
        for name in names or self.hosts:
            process = self.hosts[name]["process"]
            if process is not None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                self.hosts[name]["process"] = None

    def log(self, name):
        return (self.hosts[name]["folder"] / "log").read_text()
