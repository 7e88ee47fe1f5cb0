# SPDX-License-Identifier: Apache-2.0
"""Hosts with cables of their own: a network namespace for each, joined by a bridge, whose rates are
limited both ways (tc-tbf(8)). For root; nothing of it reaches the machine's own network."""
import os
import shutil
import subprocess

from support.sshd_hosts import SshdHosts

NET = "10.213.0.%d"


def missing():
    """Why there can be no such hosts here, or None."""
    for name in ("ip", "tc"):
        if shutil.which(name) is None:
            return "no %s (iproute2)" % name
    if os.geteuid() != 0:
        return "network namespaces need root"
    done = subprocess.run(["sh", "-c", "ip netns add ds-trial && ip -n ds-trial link add one type "
                           "veth peer name two && tc -n ds-trial qdisc add dev one root tbf rate 1mbit burst "
                           "16k latency 50ms; status=$?; ip netns del ds-trial; exit $status"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return None if done.returncode == 0 else "no tbf in a namespace: " + done.stdout.strip()


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class NetworkHosts(SshdHosts):
    """n1 .. nN, and the coordinator, within()."""

    def __init__(self, folder, number):
        super().__init__(folder, number, address=lambda index: NET % (index + 10))
        self.prefix = "ds%d-" % os.getpid()
        self.switch, self.coordinator = self.prefix + "switch", self.prefix + "run"
        self.spaces = {}

    def name_of(self, name):
        return self.prefix + name

    def begin(self):
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.switch, "link", "set", "bridge", "up")
        self.join("run", NET % 1)
        for name, host in self.hosts.items():
            self.join(name, host["address"])
        for name in self.hosts:
            self.start(name, within=self.within(name))

    def join(self, name, address):
        space, port = self.name_of(name), "p" + name
        ip("netns", "add", space)
        ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns",
           space)
        ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")
        ip("-n", space, "addr", "add", address + "/24", "dev", "eth0")
        ip("-n", space, "link", "set", "eth0", "up")
        ip("-n", space, "link", "set", "lo", "up")

    def within(self, name="run"):
        """What runs a command on a host's network."""
        return ("ip", "netns", "exec", self.name_of(name))

    def set_rate(self, name, mbit, down=None):
        """What it sends; and what it gets, the same if nothing is said."""
        for space, device, rate in ((self.name_of(name), "eth0", mbit),
                                    (self.switch, "p" + name, down or mbit)):
            # A burst that the kernel's timer can serve at a gigabit.
            subprocess.run(["tc", "-n", space, "qdisc", "replace", "dev", device, "root", "tbf",
                            "rate", "%dmbit" % rate, "burst", "%dk" % max(16, rate // 4),
                            "latency", "50ms"], check=True)

    def sent(self, name="run"):
        """Bytes that left it so far."""
        path = "/sys/class/net/eth0/statistics/tx_bytes"
        return int(subprocess.run([*self.within(name), "cat", path], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout)

    def wait(self, host):
        name = next(name for name, one in self.hosts.items() if one is host)
        subprocess.run([*self.within(name), "sh", "-c", "for i in $(seq 200); do ss -ltn | grep -q "
                        "':%d ' && exit; sleep 0.05; done; exit 1" % host["port"]], check=True)

    def end(self):
        self.stop()
        for name in ("run", *self.hosts):
            subprocess.run(["ip", "netns", "del", self.name_of(name)], check=False)
        subprocess.run(["ip", "netns", "del", self.switch], check=False)
