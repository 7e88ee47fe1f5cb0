# SPDX-License-Identifier: Apache-2.0
"""Hosts that die while the wheel is copied, and bytes that change; tests/faults/README.md."""
import os
import shutil
import unittest

from support.fault_case import FaultCase, shell

ALL_MAY_FAIL = "retries: 0\nmax_failures: 100%\n"
# Ends $PID and the sshd processes that it belongs to, the one that listens but for.
DIE = """p=$PID all=
while [ $p != %d ]; do all="$p $all"; p=$(cut -d' ' -f4 /proc/$p/stat); done
kill -9 $all"""
STAGE = "*/releases"  # made, where it is missing, as the first act of staging


class Dies(FaultCase):
    """How much of the copy was there when the host died, in percent; the last host stays alive."""

    ssh = True
    size = 16_000_000
    parts = (0, 1, 50, 99, 100)
    number = len(parts) + 1

    def die(self, name):
        return DIE % self.sshd.hosts[name]["process"].pid

    def dies_at(self, name, percent):
        part = self.root(name) / "releases" / (self.new + ".part")
        if percent == 0:
            self.at(name, STAGE, self.die(name))
        elif percent == 100:
            self.at(name, "*/.stage-*", self.die(name))
        else:
            self.at(name, STAGE, "(while [ $(stat -c %%s %s || echo 0) -lt %d ]; do sleep 0.001; "
                    "done; %s) 2> /dev/null &" % (part, percent * self.size // 100, self.die(name)))

    def test_at_every_part_of_the_copy(self):
        for name, percent in zip(self.names, self.parts):
            self.dies_at(name, percent)
        hosts = self.deploy(5, policy=ALL_MAY_FAIL)
        for name, percent in zip(self.names, self.parts):
            with self.subTest(percent=percent):
                self.assert_says(hosts[name], "unreachable", "stage", "127.0.0.",
                                 "the connection broke during the command")
        self.assert_says(hosts[self.names[-1]], "confirmed", "confirm")
        self.assert_reports_are_true(hosts)
        self.assert_goes_on(self.assert_heals())

    def assert_goes_on(self, hosts):
        """Nothing that was there is sent again."""
        sent = [hosts[name]["sent_bytes"] for name in self.names]
        self.assertGreater(sent[0], self.size)
        self.assertGreater(self.size, sent[1])
        self.assertGreater(sent[1], self.size * 3 // 4)
        self.assertLess(sent[2], self.size * 5 // 8)
        self.assertEqual(sent[3:], [0] * 3)


def flip(path):
    return "chmod u+w %s; printf '#' | dd of=%s bs=1 seek=100 conv=notrunc 2> /dev/null" % (
        path, path)


class OnTheHost(FaultCase):
    """What arrived, and is not any more what was sent."""

    number = 6
    size = 10_000_000

    def part(self, name):
        return self.root(name) / "releases" / (self.new + ".part")

    def data(self, name):
        return self.root(name) / "releases" / self.new / "demo" / "data"

    def test_killed_cut_and_flipped(self):
        for name in ("n1", "n2", "n3"):
            self.at(name, STAGE, "(while ! [ -s %s ]; do sleep 0.001; done; kill -9 $PID) "
                    "2> /dev/null &" % self.part(name))
        seal = "*/%s.json.*.new" % self.new
        self.at("n4", seal, flip(self.data("n4")))
        self.at("n5", seal, "%s; rm %s" % (flip(self.data("n5")), self.place("n5") / "done"))
        hosts = self.deploy(8, policy=ALL_MAY_FAIL)
        for name in ("n1", "n2", "n3"):
            self.assert_says(hosts[name], "failed", "stage", "killed by signal 9")
            self.assertGreater(self.size, self.part(name).stat().st_size)
        # Staged a second time, which helps where it happens once.
        self.assert_says(hosts["n4"], "confirmed", "confirm")
        self.assert_says(hosts["n5"], "failed", "verify", "demo/data has other content")
        self.assert_says(hosts["n6"], "confirmed", "confirm")
        self.assert_reports_are_true(hosts)

        shell(flip(self.part("n2")))
        os.truncate(self.part("n3"), 1000)
        self.at("n5", "", "")
        hosts = self.assert_heals()
        self.assertLess(hosts["n1"]["sent_bytes"], self.size - 500_000)
        self.assertGreater(hosts["n2"]["sent_bytes"], self.size)
        self.assertGreater(hosts["n3"]["sent_bytes"], self.size - 1000)
        self.assertLess(hosts["n3"]["sent_bytes"], self.size)

    def test_what_is_active_is_damaged(self):
        self.write_hostfile("n1", "n2")
        self.assert_heals("n1", "n2")
        shell(flip(self.data("n1")))
        hosts = self.deploy(8)
        self.assert_says(hosts["n1"], "failed", "verify", "demo/data has other content",
                         "deploy another wheel first")
        self.assert_says(hosts["n2"], "unchanged", "audit")
        # The way out that it names.
        self.assert_heals("n1", "n2", release=self.old)
        self.assert_heals("n1", "n2")


class InTheFile(FaultCase):
    """The wheel on the coordinator's disk, before the run and while hosts say what they lack."""

    number = 2
    SAYS = (("cp {other} {wheel}.x; mv {wheel}.x {wheel}", "demo/data changed since"),
            ("cat {other} > {wheel}", "demo/data changed since"),
            ("truncate -s 10000 {wheel}", "it was cut short"))

    def setUp(self):
        super().setUp()
        self.wheel = self.wheels[self.new]
        self.whole = self.wheel.read_bytes()
        self.addCleanup(self.wheel.write_bytes, self.whole)

    def test_changed_while_it_is_sent(self):
        other = self.folder / "other"
        shutil.copy(self.wheels[self.pack("2.0")], other)
        for text, words in self.SAYS:
            self.after_facts("n1", text.format(wheel=self.wheel, other=other))
            with self.subTest(text):
                hosts = self.deploy(2)
                for name in self.names:
                    self.assert_says(hosts[name], "ready", "audit", words, self.wheel)
            self.wheel.write_bytes(self.whole)
        self.assert_at(self.old)
        self.after_facts("n1", ":")
        self.assert_heals()

    def test_damaged_before(self):
        flipped = bytearray(self.whole)
        flipped[1000] ^= 1
        for content, words in ((self.whole[:-1000], "it was cut short"),
                               (bytes(flipped), "the archive is damaged")):
            self.wheel.write_bytes(content)
            with self.subTest(words):
                self.assertEqual(self.deploy(2), {})
                self.assertIn("%s: " % self.wheel, self.done.stderr)
                self.assertIn(words, self.done.stderr)
        self.assert_at(self.old)


if __name__ == "__main__":
    unittest.main()
