# SPDX-License-Identifier: Apache-2.0
"""What reaching many hosts costs, side by side with pdsh, clush, pssh and ansible in one run.

    python3 tests/bench/ssh.py --build build [--hosts 200] [--rounds 5] [--sessions 1000] [--markdown]

The hosts are sshd processes of this machine (tests/support/fleet), so wall time holds the hosts'
work too; the tools' own CPU is what a coordinator pays. Rounds are interleaved: each tool runs once
in every round, in turn. A peer that is not installed is named and left out.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

CURVE = "curve25519-sha256"


class Run:
    """One run of a command: seconds of wall and CPU (children included), peak memory in MB."""

    def __init__(self, words, env=None, preexec=None):
        began = time.monotonic()
        with tempfile.TemporaryFile() as out:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=subprocess.STDOUT, env={**os.environ, **(env or {})},
                                     preexec_fn=preexec)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.wall = time.monotonic() - began
            out.seek(0)
            self.output = out.read().decode(errors="replace")
        self.status = child.returncode
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss / 1024


def spread(values, form="%.2f"):
    return " / ".join(form % value for value in
                      (min(values), statistics.median(values), max(values)))


class Table:
    def __init__(self, title, columns):
        self.title, self.columns, self.rows = title, columns, []

    def add(self, *cells):
        self.rows.append([str(cell) for cell in cells])

    def show(self):
        print("\n%s\n" % self.title)
        print("| " + " | ".join(self.columns) + " |")
        print("|" + "---|" * len(self.columns))
        for row in self.rows:
            print("| " + " | ".join(row) + " |")
        sys.stdout.flush()


class Bench:
    def __init__(self, options, folder):
        from support import fleet
        reason = fleet.missing()
        if reason:
            sys.exit("cannot measure: " + reason)
        self.options, self.folder = options, folder
        self.program = str(pathlib.Path(options.build).resolve() / "ds-deploy")
        self.fleet_module = fleet

    def files(self, fleet, number):
        """Host lists and ssh configurations: as the fleet has it, and with one key exchange."""
        names = list(fleet.hosts)[:number]
        (self.folder / "names").write_text("\n".join(names) + "\n")
        base = pathlib.Path(fleet.config).read_text()
        (self.folder / "plain").write_text(base)
        (self.folder / "curve").write_text("KexAlgorithms %s\n" % CURVE + base)
        (self.folder / "by-name").write_text("".join(
            "Host %s\n  ServerAliveCountMax 3\n" % name for name in names) + base)
        port = next(iter(fleet.hosts.values()))["port"]
        (self.folder / "cluster").write_text("".join(
            "%s slots=8 port=%d\n" % (name, port) for name in names))
        (self.folder / "ansible.cfg").write_text(
            "[defaults]\nhost_key_checking = True\n"
            # Its own ControlPersist would leave a connection open for the next round.
            "[ssh_connection]\nssh_args = -o ControlMaster=no\n")

    def ours(self, *words):
        return [self.program, "ping", "-q", "--json", "--hostfile", str(self.folder / "cluster"),
                "-f", str(self.options.fanout), *words]

    def no_files(self, fleet):
        return ["-F", "none", "-o", "IdentityFile=%s" % fleet.user_key, "-o",
                "UserKnownHostsFile=%s" % fleet.known_hosts, "-o", "IdentitiesOnly=yes"]

    def tools(self, fleet):
        fan, names = str(self.options.fanout), str(self.folder / "names")
        tools = {
            "ds-deploy ping -F none": (self.ours(*self.no_files(fleet)), {}),
            "ds-deploy ping, ssh -G for all": (
                self.ours("-F", str(self.folder / "plain")), {"XDG_CACHE_HOME": "/dev/null/none"}),
            "ds-deploy ping, ssh -G for each": (
                self.ours("-F", str(self.folder / "by-name")), {"XDG_CACHE_HOME": "/dev/null/none"}),
            "ds-deploy ping, ssh -G for each, kept": (
                self.ours("-F", str(self.folder / "by-name")),
                {"XDG_CACHE_HOME": str(self.folder / "cache")}),
        }
        for kex in ("plain", "curve"):
            config = str(self.folder / kex)
            end = "" if kex == "plain" else ", " + CURVE
            tools["pdsh" + end] = (["pdsh", "-R", "ssh", "-f", fan, "-w", "^" + names, "true"],
                                   {"PDSH_SSH_ARGS_APPEND": "-F " + config})
            tools["clush" + end] = (["clush", "-f", fan, "--hostfile", names, "-o", "-F " + config,
                                     "true"], {})
            tools["parallel-ssh" + end] = (["parallel-ssh", "-p", fan, "-h", names, "-x",
                                            "-F " + config, "true"], {})
            tools["ansible raw" + end] = (
                ["ansible", "all", "-i", names, "-f", fan, "-m", "raw", "-a", "true",
                 "--ssh-common-args", "-F %s -o ControlMaster=no" % config],
                {"ANSIBLE_CONFIG": str(self.folder / "ansible.cfg")})
        return tools

    def ping(self):
        number = self.options.hosts
        # The namespaces that hosts of other tests have would be the fixture's cost, not a tool's.
        with self.fleet_module.Fleet(self.folder / "fleet", number, wildcard=True, noise=False,
                                     separate=False) as fleet:
            self.files(fleet, number)
            tools = self.tools(fleet)
            for name in [name for name, (words, _) in tools.items() if not shutil.which(words[0])]:
                print("left out: %s is not installed" % name)
                del tools[name]
            runs = {name: [] for name in tools}
            for _ in range(self.options.rounds):
                for name, (words, env) in tools.items():
                    run = Run(words, env)
                    if run.status != 0:
                        print("%s ended with status %d: %s" % (name, run.status, run.output[-300:]))
                    runs[name].append(run)
        base = runs["ds-deploy ping -F none"]
        table = Table("One no-op command on %d hosts, %d interleaved rounds, fan-out %d: min / median"
                      " / max" % (number, self.options.rounds, self.options.fanout),
                      ["tool", "wall s", "its CPU, ms per host", "wall, ratio to ds-deploy -F none",
                       "largest process MB"])
        for name, done in runs.items():
            table.add(name, spread([run.wall for run in done]),
                      spread([run.cpu * 1000 / number for run in done]),
                      spread([run.wall / own.wall for run, own in zip(done, base)]),
                      "%.1f" % max(run.peak for run in done))
        table.show()

    def helper(self, *words, limit=None, env=None):
        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        program = str(pathlib.Path(self.options.build).resolve() / "tests" / "transport-bench")
        run = Run([program, *map(str, words)], env, preexec=lower if limit else None)
        try:
            run.said = json.loads(run.output.splitlines()[-1])
        except (ValueError, IndexError):
            sys.exit("transport-bench: " + run.output)
        return run

    def sessions(self):
        number = self.options.sessions
        table = Table("%d sessions" % number, ["what", "kept", "lost", "KB per session", "CPU ms per host",
                                               "notes"])
        with self.fleet_module.Fleet(self.folder / "many", number, wildcard=True,
                                     noise=False) as fleet:
            self.files(fleet, number)
            for name, limit, seconds in (("all open at one time", 8192, 30),
                                         ("ulimit -n 1024", 1024, 1)):
                run = self.helper("hold", self.folder / "plain", self.folder / "names", seconds,
                                  limit=limit)
                table.add(name, run.said["ok"], number - run.said["ok"],
                          "%.0f" % run.said["kb_per_session"], "%.2f" % (run.cpu * 1000 / number),
                          "; ".join(run.said["notes"]))
        table.show()

    def upload(self):
        size, rounds = self.options.megabytes, 4 * self.options.rounds
        data = self.folder / "data"
        data.write_bytes(os.urandom(1 << 20) * size)
        table = Table("%d MB to one host, client CPU, %d interleaved rounds: min / median / max"
                      % (size, rounds), ["what", "CPU s", "ratio to ssh", "wall s"])
        with self.fleet_module.Fleet(self.folder / "one", 1, wildcard=True, noise=False) as fleet:
            self.files(fleet, 1)
            name = next(iter(fleet.hosts))
            config = self.folder / "ctr"
            config.write_text("Ciphers aes128-ctr\nMACs hmac-sha2-256\nKexAlgorithms %s\n" % CURVE
                              + (self.folder / "plain").read_text())
            ours, theirs = [], []
            env = {"XDG_CACHE_HOME": str(self.folder / "answers")}
            self.helper("upload", config, name, "/dev/null", env=env)  # ssh -G is asked once
            for _ in range(rounds):
                ours.append(self.helper("upload", config, name, data, env=env))
                theirs.append(Run(["sh", "-c", "exec ssh -F %s %s 'cat > uploaded' < %s"
                                   % (config, name, data)]))
            if not all(run.said["ok"] for run in ours) or any(run.status for run in theirs):
                print("an upload failed")
        for what, runs in (("ds-deploy's transport", ours), ("ssh host 'cat > f'", theirs)):
            table.add(what, spread([run.cpu for run in runs]),
                      spread([run.cpu / peer.cpu for run, peer in zip(runs, theirs)]),
                      spread([run.wall for run in runs]))
        table.show()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build folder with tests (build)")
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--fanout", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--only", choices=("ping", "sessions", "upload"))
    options = parser.parse_args()
    os.environ["DS_DEPLOY_TEST_BUILD"] = str(pathlib.Path(options.build).resolve())
    with tempfile.TemporaryDirectory(prefix="ds-deploy-bench.") as folder:
        bench = Bench(options, pathlib.Path(folder))
        for what in ("ping", "sessions", "upload"):
            if options.only in (None, what):
                getattr(bench, what)()


if __name__ == "__main__":
    main()
