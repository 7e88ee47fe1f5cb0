# SPDX-License-Identifier: Apache-2.0
"""What self-tests measure, and hosts that are slower than others of their class."""
import json
import unittest

from support import recorded_wheel
from support.deploy_case import DeployCase

OP = """
import sys
import time


def wait():
    time.sleep(1.0 if "/n3/" in sys.prefix else 0.2)


def copy():
    return {"gb_per_s": 50 if "/n4/" in sys.prefix else 100.0, "rounds": 3}


def odd():
    return {"gb_per_s": float("nan")}
"""


class SlowHosts(DeployCase):
    def setUp(self):
        super().setUp()
        self.hosts = {name: self.make_environment(name + "/env")
                      for name in ("n1", "n2", "n3", "n4", "n5")}
        self.wheel = recorded_wheel.pack(
            self.folder, {"demo/__init__.py": OP.encode()}, "demo",
            ops=[{"name": name, "module": "demo", "self_test": "demo:" + name}
                 for name in ("wait", "copy", "odd")])

    def take(self, *words):
        hostfile = self.write("cluster", "".join(
            "%s slots=1 transport=local python=%s\n" % pair for pair in self.hosts.items()))
        return self.deploy("deploy", "--hostfile", hostfile, "--state-dir", self.folder / "state",
                           "--wheel", self.wheel, *words)

    def test_the_slow_one_is_named(self):
        report = self.take()
        notes = [note for note in report["notes"] if note.startswith("slower")]
        self.assertEqual(len(notes), 1, report["notes"])
        self.assertRegex(notes[0], r"^slower than their class: "
                                   r"n4 \(copy 50 GB/s, median 100 GB/s\); "
                                   r"n3 \(wait 1\.\d\d s, median 0\.\d\d s\)$")
        kept = json.loads(self.run_program("show", report["run"], "--receipt", "--state-dir",
                                           self.folder / "state").stdout)
        figures = {host["name"]: host["self_test_figures"] for host in kept["hosts"]}
        self.assertEqual(figures["n4"]["copy"]["gb_per_s"], 50)
        self.assertGreater(figures["n3"]["wait"]["seconds"], 0.99)
        self.assertEqual(list(figures["n1"]["odd"]), ["seconds"])
        self.assertEqual(self.states(report), dict.fromkeys(self.hosts, "confirmed"))

    def test_three_are_no_class(self):
        self.assertEqual([note for note in self.take("--limit", "n[3-5]")["notes"]
                          if note.startswith("slower")], [])


if __name__ == "__main__":
    unittest.main()
