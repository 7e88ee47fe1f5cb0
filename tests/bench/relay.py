# SPDX-License-Identifier: Apache-2.0
"""How fast a wheel comes to all hosts over links of a known rate, beside pdcp and clush in one run.

    python3 tests/bench/relay.py --build build [--hosts 16] [--mb 50] [--uplink 200] [--link 1000]
        [--rounds 3] [--peers]

Needs root. The hosts are sshd processes, each in a network namespace with a cable of its own (tests/
support/netns.py); --uplink is what the coordinator sends, --link what a host sends and gets, in
Mbit/s. The wheel is bytes that no packing makes smaller. For ds-deploy the time is that from the
start of staging until the last host has checked all and has it sealed; for the peers that of the
command, which checks nothing. Each way runs once in every round, in turn. --peers: pdcp and clush
too, as a star and as a tree of two gateways.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from build import show, spread

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from support import netns  # noqa: E402
from support.recorded_wheel import pack  # noqa: E402


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.program = pathlib.Path(options.build).resolve() / "ds-deploy"
        self.hosts = netns.NetworkHosts(folder / "fleet", options.hosts)
        self.size = options.mb * 1_000_000
        content = random.Random(1).randbytes(self.size)
        self.wheel = pack(folder, {"demo/__init__.py": b"", "demo/data.bin": content}, name="demo",
                          version="1.0")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "origin"],
                       check=True)
        self.ssh = "-F %s" % self.hosts.config
        self.rounds = 0

    def begin(self):
        self.hosts.begin()
        self.hosts.set_rate("run", self.options.uplink)
        for name in self.hosts.hosts:
            self.hosts.set_rate(name, self.options.link)

    def environments(self):
        """New ones, and the hostfile of them."""
        place = self.folder / ("round%d" % self.rounds)
        self.rounds += 1
        lines = []
        for name in self.hosts.hosts:
            shutil.copytree(self.folder / "origin", place / name / "env", symlinks=True)
            lines.append("%s slots=8 python=%s\n" % (name, place / name / "env/bin/python"))
        (place / "hosts").write_text("".join(lines))
        return place

    def ours(self, relay):
        place = self.environments()
        (place / "policy.yaml").write_text("relay: %s\n" % relay)
        before = self.hosts.sent()
        done = subprocess.run(
            [*self.hosts.within(), self.program, "stage", "--json", "--hostfile", place / "hosts",
             "--wheel", self.wheel, "--policy", place / "policy.yaml", "-F", self.hosts.config,
             "--state-dir", place / "state", "--events", place / "events"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
            stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit("ds-deploy ended with %d:\n%s" % (done.returncode, done.stderr[-3000:]))
        events = [json.loads(line) for line in (place / "events").read_text().splitlines()]
        stage = [event for event in events if event.get("stage") == "stage"]
        self.plan = next((event["text"] for event in events if event["event"] == "remark" and
                          event["text"].startswith("relay: ")), "")
        seconds = (stage[-1]["at_ms"] - stage[0]["at_ms"]) / 1000
        shutil.rmtree(place, ignore_errors=True)
        return seconds, self.hosts.sent() - before

    def peer(self, *words):
        target = self.folder / "copy"
        before, began = self.hosts.sent(), time.monotonic()
        subprocess.run([*self.hosts.within(), *map(str, words), str(target)], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.STDOUT, env={
                           **os.environ, "PDSH_SSH_ARGS_APPEND": self.ssh, "PDSH_RCMD_TYPE": "ssh"})
        return time.monotonic() - began, self.hosts.sent() - before

    def ways(self):
        names = ",".join(self.hosts.hosts)
        ways = {"ds-deploy, relay: auto": lambda: self.ours("auto"),
                "ds-deploy, relay: off": lambda: self.ours("off")}
        if self.options.peers and shutil.which("pdcp"):
            ways["pdcp -f32"] = lambda: self.peer("pdcp", "-R", "ssh", "-f", 32, "-w", names,
                                                  self.wheel)
        if self.options.peers and shutil.which("clush"):
            ways["clush --copy -f64"] = lambda: self.peer(
                "clush", "-S", "-q", "-f", 64, "-o", self.ssh, "-w", names, "--copy", self.wheel,
                "--dest")
        return ways

    def table(self):
        ways = self.ways()
        found = {name: [] for name in ways}
        for number in range(self.options.rounds):
            names = list(ways)
            for name in names[number % len(names):] + names[:number % len(names)]:
                found[name].append(ways[name]())
                print("round %d: %s: %.2f s, %.1f MB" % (
                    number + 1, name, found[name][-1][0], found[name][-1][1] / 1e6),
                    file=sys.stderr, flush=True)
        ours = [seconds for seconds, _ in found["ds-deploy, relay: auto"]]
        options = self.options
        rate = min(options.uplink, options.link) * 1e6 / 8
        show("%d hosts, %d MB, uplink %d Mbit/s, host links %d Mbit/s, %d rounds in turn: min / "
             "median / max" % (options.hosts, options.mb, options.uplink, options.link,
                               options.rounds),
             ["way", "s", "its s / ours of the round", "MB that left the coordinator"],
             [(name, spread([one for one, _ in runs]),
               spread([one / own for (one, _), own in zip(runs, ours)]),
               spread([sent / 1e6 for _, sent in runs], "%.1f")) for name, runs in found.items()])
        print("\nS / B: %.2f s; 1.25 S / B + 1 s: %.2f s. %s" % (
            self.size / rate, 1.25 * self.size / rate + 1, self.plan))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--hosts", type=int, default=16)
    parser.add_argument("--mb", type=int, default=50)
    parser.add_argument("--uplink", type=int, default=200, metavar="MBIT")
    parser.add_argument("--link", type=int, default=1000, metavar="MBIT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    reason = netns.missing()
    if reason:
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory(prefix="ds-deploy-bench.") as name:
        bench = Bench(options, pathlib.Path(name))
        try:
            bench.begin()
            bench.table()
        finally:
            bench.hosts.end()


if __name__ == "__main__":
    main()
