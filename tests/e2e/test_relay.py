# SPDX-License-Identifier: Apache-2.0
"""Whole deployments of which the wheel leaves the coordinator once, and goes from host to host."""
import json
import random
import shutil
import subprocess
import sys

from support.fleet_case import FleetCase
from support.recorded_wheel import pack

SIZE = 6_000_000
HOSTS = 6


class Relayed(FleetCase):
    number = HOSTS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        content = random.Random(1).randbytes(SIZE)  # not to be packed
        cls.wheel = pack(cls.folder, {"demo/__init__.py": b"", "demo/data.bin": content},
                         name="demo", version="1.0")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(cls.folder / "origin")],
                       check=True)

    def setUp(self):
        self.place = self.folder / self._testMethodName
        self.pythons = {}
        for name in self.fleet.hosts:
            shutil.copytree(self.folder / "origin", self.place / name / "env", symlinks=True)
            self.pythons[name] = self.place / name / "env" / "bin" / "python"
        self.write_hosts({})

    def write_hosts(self, racks):
        self.hostfile.write_text("".join("%s slots=8 python=%s tags=rack-%s\n" % (
            name, python, racks.get(name, "a")) for name, python in self.pythons.items()))

    def deploy(self, policy, status=0):
        path = self.place / "policy.yaml"
        path.write_text(policy)
        done = self.program("deploy", "--json", "--wheel", self.wheel, "--policy", path,
                            timeout=300)
        self.assertEqual(done.status, status, (done.out + done.err).decode())
        self.said = done.err.decode()
        return {host["name"]: host for host in json.loads(done.out)["hosts"]}

    def assert_all_confirmed(self, hosts):
        self.assertEqual({host["state"] for host in hosts.values()}, {"confirmed"})
        for host in hosts.values():
            self.assertLess(sum(host["got_from"].values()), SIZE * 1.1)

    def test_the_wheel_leaves_once(self):
        hosts = self.deploy("relay: on\n")
        self.assert_all_confirmed(hosts)
        self.assertLess(sum(host["sent_bytes"] for host in hosts.values()), SIZE * 1.1)
        came = {name: sum(host["got_from"].values()) for name, host in hosts.items()}
        self.assertEqual(sum(size > SIZE for size in came.values()), HOSTS - 1, came)
        self.assertIn("went from host to host", self.said)

    def test_off(self):
        hosts = self.deploy("relay: off\n")
        self.assert_all_confirmed(hosts)
        for host in hosts.values():
            self.assertGreater(host["sent_bytes"], SIZE)
            self.assertEqual(host["got_from"], {})

    def test_hosts_that_have_no_address_in_the_net_get_it_from_here(self):
        hosts = self.deploy("relay: on\nrelay_net: 2001:db8:ffff::/48\n")
        self.assert_all_confirmed(hosts)
        for host in hosts.values():
            self.assertGreater(host["sent_bytes"], SIZE)
            self.assertIn("passes nothing on to other hosts: this host has no address in "
                          "2001:db8:ffff::/48", host["message"])

    def test_only_those_in_the_net_pass_it_on(self):
        """n1 and n2 have 127.0.0.2 and 127.0.0.3."""
        hosts = self.deploy("relay: on\nrelay_net: 127.0.0.4/30\n")
        self.assert_all_confirmed(hosts)
        for name in ("n1", "n2"):
            self.assertGreater(hosts[name]["sent_bytes"], SIZE)
            self.assertIn("no address in 127.0.0.4/30", hosts[name]["message"])
        others = [hosts["n%d" % number] for number in range(3, HOSTS + 1)]
        self.assertLess(sum(host["sent_bytes"] for host in others), SIZE * 1.1)
        for host in others:
            self.assertNotIn("n1", host["got_from"])

    def test_in_racks(self):
        racks = {name: "a" if at < HOSTS // 2 else "b" for at, name in enumerate(self.pythons)}
        self.write_hosts(racks)
        hosts = self.deploy("relay: on\n")
        self.assert_all_confirmed(hosts)
        between = [(name, source) for name, host in hosts.items() for source in host["got_from"]
                   if racks[source] != racks[name]]
        self.assertLessEqual(len(between), 1)
