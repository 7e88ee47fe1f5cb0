# SPDX-License-Identifier: Apache-2.0
"""Many SSH hosts from one machine, with names, keys, roots and faults of their own.

    with Fleet(folder, 200) as fleet:
        run("ds-deploy", "ping", "-F", fleet.config, "--hostfile", fleet.hostfile(folder / "hosts"))
        fleet.fault("n7", "reset:3000")

One process, fleetd, listens on 127.0.x.y for every host and starts `sshd -i` for a connection; the
accepted socket itself goes to sshd, save for the faults that act on bytes. The ForceCommand,
hostshell, gives each command its host's HOME, and in namespaces of its own the host's name,
/etc/machine-id, boot id and /tmp; `separates` says which of these this machine allows. What lies
below the real /tmp in `keep` (by default the folder of the fleet) stays visible to a host.

A host's sshd_config and settings are read for each connection, so configure() acts on the next one.

Faults (see fault.h), for new connections: refuse, drop, never, banner, close[:K], startups[:K],
penalty[:K] (K connections, then well), reset:BYTES, stall:BYTES (of what the client sends; +BYTES: of
what it sends under the first keys), slow:MS, rate:BYTES_PER_SECOND; for new commands: hang,
kill[:MS]. For what is open now: kill(), freeze(), thaw(), reboot().

What it cannot do: MaxStartups and PerSourcePenalties are sshd's own only in a listening sshd
(support/sshd_hosts.py); there is no PAM; with agent forwarding the socket in /tmp is hidden.
"""
import getpass
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import threading
import uuid

TESTS = pathlib.Path(__file__).resolve().parents[2]
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server",
                "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server")
# A login that talks, as many do, in the words of each shell.
NOISE = {".bashrc": "echo Welcome; echo 'last login: today' >&2\n",
         ".cshrc": "echo Welcome\n",
         ".zshenv": "echo Welcome; echo 'last login: today' >&2\n",
         ".config/fish/config.fish": "echo Welcome; echo 'last login: today' >&2\n"}


def binary(name):
    """fleetd or hostshell, of the build that the tests run on."""
    build = os.environ.get("DS_DEPLOY_TEST_BUILD", str(TESTS.parent / "build-dev"))
    return pathlib.Path(build).resolve() / "tests" / name


def missing():
    """Why no fleet can be started here, or None."""
    if SSHD is None:
        return "no sshd (openssh-server)"
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        return "no ssh (openssh-client)"
    for name in ("fleetd", "hostshell"):
        if not os.access(binary(name), os.X_OK):
            return "%s is not built" % binary(name)
    return None


def address_of(index):
    """The address of host 0, 1, ...: 127.0.0.2 to 127.0.0.251, 127.0.1.2, ..."""
    return "127.0.%d.%d" % (index // 250, index % 250 + 2)


def kept_below_tmp(folder):
    """The folder right below /tmp that holds `folder`, as hosts have a /tmp of their own."""
    parts = pathlib.Path(folder).resolve().parts
    return [str(pathlib.Path(*parts[:3]))] if parts[:2] == ("/", "tmp") and len(parts) > 2 else []


class Fleet:
    """`number` hosts n1..nN below `folder`, which must not exist.

    extra_config: lines for every sshd_config, before ours (the first value of a keyword wins).
    shell: the hosts' login shell; None is that of the account.
    wildcard: `config` has no entry that depends on a name; the hosts' names are their addresses.
    separate: False leaves out the namespaces. noise: the login shells' start-up files talk.
    keep: folders below /tmp that the hosts see. port: one for all hosts, 0 is any.
    """

    def __init__(self, folder, number, *, extra_config="", shell=None, wildcard=False,
                 separate=True, noise=True, keep=None, port=0):
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True)
        self.user_key = self.folder / "user_key"
        self.known_hosts = self.folder / "known_hosts"
        self.config = self.folder / "ssh_config"
        self.wildcard = wildcard
        self.port = port
        self.hosts = {}
        self.process = None
        self.lock = threading.Lock()
        defaults = {"extra_config": extra_config, "separate": separate, "read_only_tmp": False,
                    "shell": shell or pwd.getpwuid(os.geteuid()).pw_shell or "/bin/sh",
                    "keep": kept_below_tmp(self.folder) if keep is None else [*map(str, keep)]}
        # What comes before HOME is set reads its start-up files here: there are none.
        (self.folder / "no-home").mkdir()
        for index in range(number):
            address = address_of(index)
            name = address if wildcard else "n%d" % (index + 1)
            root = self.folder / ("n%d" % (index + 1))
            self.hosts[name] = {"address": address, "port": port, "root": root, **defaults}
            self._make_root(root, noise)
        paths = [self.user_key, *(host["root"] / "host_key" for host in self.hosts.values())]
        subprocess.run([binary("fleetd"), "keys"], input="".join("%s\n" % path for path in paths),
                       text=True, check=True)
        for name in self.hosts:
            self.configure(name)
        self.separates = set(subprocess.run(
            [binary("hostshell"), "--check", next(iter(self.hosts.values()))["root"]],
            stdout=subprocess.PIPE, text=True, check=True).stdout.split())

    @staticmethod
    def _make_root(root, noise):
        for name in ("home", "tmp"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / "machine-id").write_text(uuid.uuid4().hex + "\n")
        (root / "boot-id").write_text("%s\n" % uuid.uuid4())
        for name, text in NOISE.items() if noise else ():
            path = root / "home" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def configure(self, name, **changes):
        """Changes extra_config, shell, keep, separate or read_only_tmp of one host."""
        host = self.hosts[name]
        unknown = set(changes) - set(host)
        if unknown:
            raise ValueError("no such setting: %s" % ", ".join(sorted(unknown)))
        host.update(changes)
        root = host["root"]
        lines = [host["extra_config"].rstrip("\n")]
        if "subsystem" not in lines[0].lower():
            lines += ["Subsystem sftp %s" % server for server in SFTP_SERVERS
                      if os.path.exists(server)][:1]
        (root / "sshd_config").write_text("\n".join([
            *lines, "HostKey %s/host_key" % root, "PidFile none", "UsePAM no", "StrictModes no",
            "LogLevel VERBOSE", "PasswordAuthentication no", "PermitUserRC no", "PrintMotd no",
            "PrintLastLog no", "SetEnv HOME=%s/no-home" % self.folder,
            "AuthorizedKeysFile %s.pub" % self.user_key,
            "ForceCommand " + self.force_command(root)]) + "\n")
        (root / "host").write_text("name=%s\nshell=%s\nseparate=%s\ntmp=%s\n%s" % (
            root.name, host["shell"], "yes" if host["separate"] else "no",
            "read-only" if host["read_only_tmp"] else "", "".join(
                "keep=%s\n" % path for path in host["keep"])))

    @staticmethod
    def force_command(root):
        """For wrappers of it: extra_config="ForceCommand WRAPPER " + this."""
        return "'%s' '%s'" % (binary("hostshell"), root)

    @staticmethod
    def make_key(path, kind="ed25519", bits=None):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, *(["-b", str(bits)] if bits else []),
                        "-N", "", "-f", str(path)], check=True)

    def new_host_key(self, name, kind="ed25519", learn=True):
        """Gives the host another key; known_hosts learns it or is left as it is."""
        path = self.hosts[name]["root"] / "host_key"
        path.unlink()
        pathlib.Path("%s.pub" % path).unlink()
        self.make_key(path, kind)
        if learn:
            self.write_known_hosts()

    def write_known_hosts(self):
        lines = []
        for host in self.hosts.values():
            public = (host["root"] / "host_key.pub").read_text().split()
            lines.append("[%s]:%d %s %s\n" % (host["address"], host["port"], *public[:2]))
        self.known_hosts.write_text("".join(lines))

    def _write_config(self):
        entries = "" if self.wildcard else "".join(
            "Host %s\n  HostName %s\n" % (name, host["address"])
            for name, host in self.hosts.items())
        self.config.write_text(entries + "Host *\n  Port %d\n  User %s\n  IdentityFile %s\n"
                               "  IdentitiesOnly yes\n  UserKnownHostsFile %s\n"
                               "  GlobalKnownHostsFile /dev/null\n"
                               % (self.port, getpass.getuser(), self.user_key, self.known_hosts))

    def hostfile(self, path, more="slots=8"):
        """Writes a hostfile with every host, `more` behind each name; gives the path back."""
        path = pathlib.Path(path)
        path.write_text("".join("%s %s\n" % (name, more) for name in self.hosts))
        return path

    def start(self, *names):
        """Starts the fleet, or mends the hosts named."""
        if self.process is not None:
            for name in names or self.hosts:
                self.clear(name)
            return
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        settings = self.folder / "fleet"
        settings.write_text("sshd\t%s\nport\t%d\n" % (SSHD, self.port) + "".join(
            "host\t%s\t%s\t%s\n" % (name, host["address"], host["root"])
            for name, host in self.hosts.items()))
        self.process = subprocess.Popen([binary("fleetd"), settings], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        ready = self.process.stdout.readline().split()
        if len(ready) != 2:
            self.stop()
            raise RuntimeError("fleetd did not start")
        self.port = int(ready[1])
        for host in self.hosts.values():
            host["port"] = self.port
        self._write_config()
        self.write_known_hosts()

    def stop(self, *names):
        """Ends the fleet and all that runs on it; or makes the hosts named go down."""
        for name in names:
            self.fault(name, "refuse")
            self.kill(name)
        if names or self.process is None:
            return
        process, self.process = self.process, None
        process.stdin.close()
        try:
            status = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        process.stdout.close()
        if status != 0:
            raise RuntimeError("fleetd ended with status %d" % status)

    def _order(self, *words):
        with self.lock:
            self.process.stdin.write(" ".join(words) + "\n")
            answer = self.process.stdout.readline().rstrip("\n")
        if not answer.startswith("ok"):
            raise RuntimeError("fleetd: %s: %s" % (" ".join(words), answer or "it is gone"))
        return int(answer[3:] or 0)

    def fault(self, name, fault):
        """Puts a fault in force in place of the host's last one, "reset:3000"."""
        self._order("fault", name, fault)

    def clear(self, name):
        self._order("clear", name)

    def connections(self, name):
        """How many connections the host accepted so far, those turned away among them."""
        return self._order("accepted", name)

    def open(self, name):
        """How many connections are open now."""
        return self._order("open", name)

    def kill(self, name):
        """Ends every connection and every process of the host, at once."""
        self._order("signal", name, "%d" % signal.SIGKILL)
        for pid in self.processes(name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def freeze(self, name):
        """The host's connections go silent, as when it loses its power; see thaw()."""
        self._order("signal", name, "%d" % signal.SIGSTOP)

    def thaw(self, name):
        self._order("signal", name, "%d" % signal.SIGCONT)

    def reboot(self, name):
        """Everything that runs on the host ends, and it has another boot id."""
        self.kill(name)
        (self.hosts[name]["root"] / "boot-id").write_text("%s\n" % uuid.uuid4())

    def processes(self, name):
        """The processes that commands started on the host, orphans among them; not the sshds."""
        mark = b"FLEET_ROOT=%s\0" % os.fsencode(self.hosts[name]["root"])
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                pass
        return found

    def pids(self, name):
        """The sshd processes of the connections that are open now."""
        path = self.hosts[name]["root"] / "pid"
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    def log(self, name):
        """What the host's sshds said, LogLevel VERBOSE."""
        path = self.hosts[name]["root"] / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ssh(self, name, *command, options=(), timeout=30):
        """Runs the system's ssh; gives its CompletedProcess."""
        # The post-quantum exchange costs the client five times as much as all the rest.
        words = ["ssh", "-F", self.config, "-o", "BatchMode=yes", *options,
                 "-o", "KexAlgorithms=^curve25519-sha256", name, *command]
        return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace",
                              timeout=timeout, check=False)
