# SPDX-License-Identifier: Apache-2.0
"""The coordinator is stopped for a while, or ends: hosts keep nothing, and a pause harms nothing."""
import os
import shutil
import signal
import subprocess
import time
import unittest

from support.deploy_case import PROGRAM, clean_environment
from support.fleet_case import FleetCase

# Longer than every time limit of FleetCase.
PAUSE = 60 if os.environ.get("DS_DEPLOY_LONG") else 4.5


class Paused(FleetCase):
    """SIGSTOP in every phase of a connection, then SIGCONT; all at one time."""

    number = 11

    def begin(self, name, moment, fault=None, **command):
        """A coordinator for one host that will be stopped after `moment` seconds."""
        if fault:
            self.faults(**{name: fault})
        self.children.append((time.monotonic() + moment, name, self.start_transport(
            [{"host": name, "limit": 3, **command}])))

    def setUp(self):
        self.children = []

    def test_harms_nothing(self):
        upload = self.folder / "upload"
        upload.write_bytes(bytes(6_000_000))
        # This one is let in while its coordinator sleeps.
        self.begin("n1", 0.5, "drop")
        # Handshake, login and command take some 2.5 s.
        for index, moment in enumerate((0.2, 0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.3)):
            self.begin("n%d" % (index + 2), moment, "slow:100")
        self.begin("n10", 1.5, script="sleep %g" % (PAUSE + 1.5))
        self.begin("n11", 1.5, "rate:2000000", script="cat > got; wc -c < got", limit=20,
                   file=str(upload))
        self.pause(meanwhile=lambda: self.fleet.clear("n1"))
        answers = {name: self.finish(child)[0][0] for _, name, child in self.children}
        self.assert_well(answers)
        self.assertIn("6000000", answers["n11"]["out"])

    def pause(self, meanwhile):
        self.children.sort(key=lambda each: each[0])
        for moment, _, child in self.children:
            time.sleep(max(0, moment - time.monotonic()))
            child.send_signal(signal.SIGSTOP)
        meanwhile()
        time.sleep(PAUSE)
        for _, _, child in self.children:
            child.send_signal(signal.SIGCONT)


class Ends(FleetCase):
    """What a command started ends with its connection, whatever shell and wrapper lie between."""

    number = 6
    # It ignores SIGTERM, and so do its children.
    script = "trap '' TERM; sleep 1000 & touch begun; while :; do sleep 1000; done"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.names = {}
        for name, shell in zip(cls.fleet.hosts, ("bash", "dash", "csh", "fish")):
            if shutil.which(shell):
                cls.names[name] = shell
                cls.fleet.configure(name, shell=shutil.which(shell))
        wrapper = cls.folder / "wrapper"
        wrapper.write_text('#!/bin/sh\necho wrapped >&2\n"$@"\n')
        wrapper.chmod(0o755)
        for name, wrappers in (("n5", "'%s'" % wrapper), ("n6", "'%s' '%s'" % (wrapper, wrapper))):
            root = cls.fleet.hosts[name]["root"]
            force = cls.fleet.force_command(root)
            cls.fleet.configure(name, extra_config="ForceCommand %s %s\n" % (wrappers, force))
            cls.names[name] = "behind a wrapper"

    def begun(self, name):
        return (self.fleet.hosts[name]["root"] / "home" / "begun").exists()

    def start(self, limit=100, **options):
        for name in self.names:
            (self.fleet.hosts[name]["root"] / "home" / "begun").unlink(missing_ok=True)
        child = self.start_transport([{"host": name, "script": self.script, "limit": limit}
                                      for name in self.names], **options)
        self.wait_for(lambda: all(map(self.begun, self.names)))
        return child

    def assert_all_end(self):
        try:
            self.wait_for(lambda: not any(map(self.fleet.processes, self.names)), 10)
        except AssertionError:
            self.fail("still there: %s" % {
                "%s, %s" % (name, kind): self.fleet.processes(name)
                for name, kind in self.names.items() if self.fleet.processes(name)})
        finally:
            for name in self.names:
                self.fleet.kill(name)

    def test_after_interrupts_a_kill_and_a_time_limit(self):
        """Of four coordinators, one by the system's ssh."""
        late = self.start(limit=4)
        ends = [(self.start(**options), number, status) for options, number, status in (
            ({}, signal.SIGINT, 130), ({}, signal.SIGKILL, -9),
            ({"backend": "openssh"}, signal.SIGINT, 130))]
        for child, number, status in ends:
            child.send_signal(number)
            began = time.monotonic()
            self.assertEqual(child.wait(10), status)
            self.assertLess(time.monotonic() - began, 3)
        (answers,) = self.finish(late)
        self.assertEqual({answer["outcome"] for answer in answers}, {"timed_out"})
        self.assert_all_end()

    def test_a_command_that_ends_leaves_no_guard(self):
        self.assert_well(self.run_transport(":")[0])
        self.assert_all_end()

    def test_interrupt_of_facts(self):
        self.faults(n1="hang", n2="never")
        words = [PROGRAM, "facts", "-F", str(self.fleet.config), "--hostfile", str(self.hostfile)]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=clean_environment()) as child:
            self.wait_for(lambda: self.fleet.processes("n1"))
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=10)
        self.assertEqual((child.returncode, out), (130, b""), err)
        self.wait_for(lambda: self.fleet.open("n2") == 0)


if __name__ == "__main__":
    unittest.main()
