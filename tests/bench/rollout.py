# SPDX-License-Identifier: Apache-2.0
"""What a rollout costs: the coordinator, the hosts beside pip, and the moment of activation.

    python3 tests/bench/rollout.py --build build [--only fake|real|line|host|check] [--rounds 3]

`fake`: 1,000 hosts that answer at once, with a real journal. `real`: 100 sshd hosts of this machine,
each with an environment of its own, from one release to another and once with nothing to do. `line`:
a request to activate, told to 100 sshd hosts that wait. `host`: one host takes a wheel of 50 MB in
and activates it, beside pip, in four environments in turn. `check`: ds-deploy-check, beside an
interpreter that does nothing.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from ssh import Run, Table, spread  # puts tests/ on the path

TESTS = pathlib.Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")


def bytes_that_pack(seed, size):
    """To about half, as code does."""
    import random
    return bytes(byte & 15 for byte in random.Random(seed).randbytes(size))


def pack(folder, version, size):
    from support.recorded_wheel import pack as plain
    files = {"demo/__init__.py": b"VERSION = %r\n" % version.encode()}
    files.update(("demo/op%d.bin" % at, bytes_that_pack(at + 100 * len(version), size // 10))
                 for at in range(10))
    files["demo/version.txt"] = bytes_that_pack(version, max(size // 10, 1000))
    return plain(folder, files, name="demo", version=version)


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.build = pathlib.Path(options.build).resolve()

    def fake(self):
        runs = []
        for at in range(self.options.rounds):
            state = self.folder / ("fake%d" % at)
            done = subprocess.run([str(self.build / "tests" / "rollout-bench"), "1000", "200",
                                   str(state)], stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout))
        table = Table("1,000 hosts that answer at once, a wheel of 200 files, %d rounds: min / median "
                      "/ max" % len(runs), ["what", "figure"])
        for key, name in (("cpu_ms_per_host", "CPU, ms per host"),
                          ("again_cpu_ms_per_host", "the same with nothing to do"),
                          ("activation_s", "all activated, with the journal, s"),
                          ("peak_mb", "memory, MB")):
            table.add(name, spread([run[key] for run in runs], "%.3f"))
        table.show()

    def cluster(self, fleet, number):
        """A hostfile, and an environment of its own for each host."""
        origin = self.folder / "origin" / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(origin)], check=True)
        lines = ""
        for name in list(fleet.hosts)[:number]:
            prefix = self.folder / "env" / name / "env"
            prefix.parent.mkdir(parents=True)
            subprocess.run(["cp", "-a", str(origin), str(prefix)], check=True)
            lines += "%s slots=8 python=%s\n" % (name, prefix / "bin" / "python")
        hostfile = self.folder / "cluster"
        hostfile.write_text(lines)
        return hostfile

    def tree(self):
        return {str(path): path.lstat().st_mtime_ns
                for path in (self.folder / "env").glob("*/.ds-deploy/**/*")}

    def deploy(self, fleet, hostfile, wheel, state):
        run = Run([str(self.build / "ds-deploy"), "-q", "--json", "--hostfile", str(hostfile), "-F",
                   str(fleet.config), "--wheel", str(wheel), "--state-dir",
                   str(self.folder / "state")],
                  {"XDG_CACHE_HOME": str(self.folder / "cache")})
        report = json.loads(run.output.splitlines()[-1]) if run.status == 0 else {"hosts": []}
        if {host["state"] for host in report["hosts"]} != {state}:
            sys.exit("a deployment went wrong: %s" % run.output[-2000:])
        run.megabytes = sum(host["sent_bytes"] for host in report["hosts"]) / 1e6
        return run

    def real(self):
        from support.fleet import Fleet
        number = self.options.hosts
        table = Table("%d sshd hosts, %d rounds: min / median / max" % (number, self.options.rounds),
                      ["what", "CPU, ms per host", "MB sent per host", "allowed, ms", "memory, MB"])
        with Fleet(self.folder / "fleet", number, wildcard=True, noise=False,
                   separate=False) as fleet:
            hostfile = self.cluster(fleet, number)
            for size in (100_000, 10_000_000):
                runs, again = [], []
                for at in range(self.options.rounds):
                    wheel = pack(self.folder, "%d.%d" % (size, at), size)
                    runs.append(self.deploy(fleet, hostfile, wheel, "confirmed"))
                    before = self.tree()
                    again.append(self.deploy(fleet, hostfile, wheel, "unchanged"))
                    if self.tree() != before:
                        sys.exit("a run with nothing to do wrote something")
                for name, those in (("deploy, %.1f MB" % (size / 1e6), runs),
                                    ("again: nothing to do", again)):
                    sent = [run.megabytes / number for run in those]
                    table.add(name, spread([run.cpu * 1000 / number for run in those]),
                              "%.2f" % max(sent), "%.1f" % (15 + 4.5 * max(sent)),
                              "%.0f" % max(run.peak for run in those))
        table.show()

    def line(self):
        from support.fleet import Fleet
        from support.host_side import HostSide
        number = self.options.hosts
        request = json.dumps(HostSide.activation(["a" * 64], "run-1"))
        script = "while read -r line; do echo answer; done"
        table = Table("A request to activate (%.1f kB) to %d sshd hosts that wait, %d rounds: min / "
                      "median / max" % (len(request) / 1000, number, self.options.rounds),
                      ["what", "figure"])
        with Fleet(self.folder / "waiting", number, wildcard=True, noise=False,
                   separate=False) as fleet:
            orders = [{"open": name, "script": script} for name in fleet.hosts] + [{"run": 0}]
            for _ in range(self.options.rounds):
                orders += [{"send": "*", "text": request + "\n", "limit": 60}, {"run": 0}]
            done = subprocess.run(
                [str(self.build / "tests" / "conversation-run"), str(fleet.config), "libssh2", "64"],
                input="".join(json.dumps(order) + "\n" for order in orders), text=True,
                stdout=subprocess.PIPE, check=True)
        said = [json.loads(each) for each in done.stdout.splitlines()][1:]
        if not all(len(each["heard"]) == number for each in said):
            sys.exit("not every host has answered")
        table.add("CPU, ms per host", spread([each["cpu"] * 1000 / number for each in said], "%.3f"))
        table.add("all have answered, s", spread([each["seconds"] for each in said], "%.3f"))
        table.show()

    def host(self):
        wheel = self.packed_wheel()
        pip, ours = [], []
        for at in range(4):
            ours.append(self.take_in(self.folder / ("ours%d" % at), wheel))
            prefix = self.folder / ("pip%d" % at)
            subprocess.run([sys.executable, "-m", "venv", str(prefix)], check=True)
            pip.append(Run([str(prefix / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps",
                            "--no-index", "--no-compile", str(wheel)]))
            if pip[-1].status != 0:
                sys.exit(pip[-1].output)
        table = Table("One host, a wheel of %.0f MB that holds 50 MB, no byte-compiling, 4 environments"
                      " in turn: min / median / max" % (wheel.stat().st_size / 1e6),
                      ["what", "CPU s", "ratio to pip"])
        table.add("pip install", spread([run.cpu for run in pip]), "1.00 / 1.00 / 1.00")
        for name, own in (("ds-deploy: unpack, hash, seal, activate",
                           [whole - verify for whole, verify in ours]),
                          ("the same, and all read once more to verify",
                           [whole for whole, _ in ours])):
            table.add(name, spread(own), spread([one / run.cpu for one, run in zip(own, pip)]))
        table.show()

    def check(self):
        import time
        from support.host_side import HostSide
        (self.folder / "check").mkdir()
        host = HostSide(self.folder / "check")
        release = host.seal("a")
        self.expect(host.activate([release], "run-1"))
        self.expect(host.ask("keep", activation="run-1"))
        programs = host.prefix / "bin"
        commands = {"an interpreter that does nothing": [programs / "python", "-I", "-S", "-c", ""],
                    "ds-deploy-check": [programs / "ds-deploy-check"],
                    "ds-deploy-check --expect SHA": [programs / "ds-deploy-check", "--expect",
                                                     release[:12]]}
        took = {name: [] for name in commands}
        for _ in range(50):
            for name, words in commands.items():
                began = time.monotonic()
                subprocess.run(list(map(str, words)), stdout=subprocess.DEVNULL, check=True)
                took[name].append((time.monotonic() - began) * 1000)
        table = Table("A check of a host without a coordinator, 50 in turn: min / median / max",
                      ["what", "ms"])
        for name, values in took.items():
            table.add(name, spread(values, "%.1f"))
        table.show()

    def packed_wheel(self):
        import zipfile
        plain = pack(self.folder, "1.0", 45_450_000)
        packed = self.folder / "packed"
        packed.mkdir()
        wheel = packed / plain.name
        with zipfile.ZipFile(plain) as source, \
                zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in source.infolist():
                target.writestr(entry.filename, source.read(entry))
        return wheel

    def take_in(self, folder, wheel):
        """CPU seconds of the host's program, with its zstd and the process that watches; and those of
        verify among them."""
        from support.host_side import HostSide
        folder.mkdir()
        host = HostSide(folder)
        manifest, stream = self.contents(wheel)
        child = host.open()
        self.expect(host.say(child, "lock", run="run-1", who="ada", since="now", **{"from": "head"}))
        self.expect(host.say(child, "lacking", run="run-1", epoch=1, again=False, manifest=manifest))
        self.expect(host.say(child, "stage", stream["content"], run="run-1", epoch=1, again=False,
                             manifest=manifest, stream=stream["facts"],
                             kept={"bytes": 0, "sha256": stream["of_nothing"]}))
        before = self.cpu_of(child.pid)
        self.expect(host.say(child, "verify", run="run-1", epoch=1, manifests=[manifest]))
        verify = self.cpu_of(child.pid) - before
        sha256 = manifest["wheel"]["sha256"]
        self.expect(host.say(child, "activate", run="run-1", epoch=1,
                             **HostSide.activation([sha256], "run-1")))
        watcher = json.loads((host.root / "armed.json").read_text())["pid"]
        with open("/proc/%d/stat" % watcher, encoding="ascii") as source:
            ticks = sum(map(int, source.read().rpartition(")")[2].split()[11:13]))
        self.expect(host.say(child, "keep", run="run-1", epoch=1, activation="run-1"))
        child.stdin.close()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime + ticks / TICK, verify

    @staticmethod
    def cpu_of(pid):
        """Seconds so far; scheduler/sched-stats of the kernel's documentation: nanoseconds."""
        with open("/proc/%d/schedstat" % pid, encoding="ascii") as source:
            return int(source.read().split()[0]) / 1e9

    @staticmethod
    def expect(answer):
        if not answer["ok"]:
            sys.exit(answer["problem"])

    @staticmethod
    def contents(wheel):
        import zipfile
        from support.host_side import sha256_of
        with zipfile.ZipFile(wheel) as archive:
            entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
        manifest = {"files": [{"path": path, "size": len(content), "mode": 0o644,
                               "sha256": sha256_of(content)} for path, content in entries],
                    "wheel": {"sha256": sha256_of(wheel.read_bytes()), "file": wheel.name}}
        packed = subprocess.run(["zstd", "-q", "-c"], input=b"".join(c for _, c in entries),
                                stdout=subprocess.PIPE, check=True).stdout
        return manifest, {"content": packed, "of_nothing": sha256_of(b""),
                          "facts": {"files": [0, len(entries)], "packing": "zstd",
                                    "bytes": len(packed), "sha256": sha256_of(packed)}}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build folder with tests (build)")
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("fake", "real", "line", "host", "check"))
    options = parser.parse_args()
    os.environ["DS_DEPLOY_TEST_BUILD"] = str(pathlib.Path(options.build).resolve())
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-bench."))
    try:
        bench = Bench(options, folder)
        for what in ("fake", "real", "line", "host", "check"):
            if options.only in (None, what):
                getattr(bench, what)()
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
