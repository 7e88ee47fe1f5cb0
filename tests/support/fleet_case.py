# SPDX-License-Identifier: Apache-2.0
"""What the tests of the SSH transport share: one fleet a class, ds-deploy and transport-run on it."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from support import fleet
from support.deploy_case import PROGRAM, clean_environment

DRIVER = fleet.binary("transport-run")
# What may not reach a terminal: C0 but newline and tab, DEL, C1 as it is and as UTF-8.
RAW = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


def missing():
    """Why these tests cannot run here, or None."""
    if not os.access(DRIVER, os.X_OK):
        return "%s is not built" % DRIVER
    return fleet.missing()


class Ended:
    """A process that ended: status, out and err in bytes, seconds, CPU seconds, peak memory in MB."""

    def __init__(self, words, text=b"", env=None, preexec=None, timeout=120):
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, \
                tempfile.TemporaryFile() as err:
            source.write(text)
            source.seek(0)
            began = time.monotonic()
            child = subprocess.Popen([*map(str, words)], stdin=source, stdout=out, stderr=err,
                                     env=env or clean_environment(), preexec_fn=preexec)
            _, status, usage = self.wait(child, began + timeout)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.seconds = time.monotonic() - began
            self.status, self.cpu = child.returncode, usage.ru_utime + usage.ru_stime
            out.seek(0)
            err.seek(0)
            self.out, self.err = out.read(), err.read()

    def wait(self, child, latest):
        """The peak is its own: ru_maxrss has that of the process before exec, which is ours."""
        self.peak = 0
        while time.monotonic() < latest:
            with open("/proc/%d/status" % child.pid, encoding="ascii", errors="replace") as status:
                found = re.search(r"^VmHWM:\s+(\d+) kB", status.read(), re.M)
            self.peak = int(found.group(1)) / 1024 if found else self.peak
            ended = os.wait4(child.pid, os.WNOHANG)
            if ended[0] != 0:
                return ended
            time.sleep(0.005)
        child.kill()
        return os.wait4(child.pid, 0)


class FleetCase(unittest.TestCase):
    """One fleet for all tests of a class; every test leaves its hosts as they were."""

    number = 8
    settings = {}
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        reason = missing()
        if reason:
            raise unittest.SkipTest(reason)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.fleet = fleet.Fleet(cls.folder / "fleet", cls.number, **cls.settings)
        cls.addClassCleanup(cls.fleet.stop)
        cls.fleet.start()
        cls.hostfile = cls.fleet.hostfile(cls.folder / "hosts")

    def faults(self, **faults):
        """Puts faults in force until the test ends: n1="refuse"."""
        for name, fault in faults.items():
            self.fleet.fault(name, fault)
            self.addCleanup(self.fleet.kill, name)
            self.addCleanup(self.fleet.clear, name)

    def program(self, *words, hostfile=None, config=None, **how):
        """ds-deploy on the fleet, with short time limits."""
        return Ended([PROGRAM, *words, "-F", config or self.fleet.config, "--hostfile",
                      hostfile or self.hostfile, "--connect-timeout", "2", "--login-timeout", "3"],
                     **how)

    def ping(self, *words, status=0, **how):
        """The answers of `ds-deploy ping` by name."""
        done = self.program("ping", "--json", *words, **how)
        self.assertEqual(done.status, status, done.out + done.err)
        self.done = done
        return {host["name"]: host for host in json.loads(done.out)["hosts"]}

    @classmethod
    def order(cls, *phases, **options):
        """What transport-run reads: each phase is a list of commands, or a script for all hosts."""
        everywhere = [[{"host": name, "script": phase} for name in cls.fleet.hosts]
                      if isinstance(phase, str) else phase for phase in phases]
        return json.dumps({"config": str(cls.fleet.config), "connect": 2, "login": 3, "stall": 2,
                           **options, "phases": everywhere}).encode()

    def run_transport(self, *phases, preexec=None, env=None, **options):
        """The phases' results, each by the name of the host; `notes` and `done` are kept."""
        orders = self.order(*phases, **options)
        self.done = Ended([DRIVER], orders, preexec=preexec, env=env)
        self.assertEqual(self.done.status, 0, self.done.err)
        answer = json.loads(self.done.out)
        self.notes = answer["notes"]
        return [{command["host"]: result for command, result in zip(commands, results)}
                for commands, results in zip(json.loads(orders)["phases"], answer["phases"])]

    @classmethod
    def begin_transport(cls, *phases, **options):
        """transport-run as a process; finish() gives its answers, end() has to be called."""
        child = subprocess.Popen([str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=clean_environment())
        child.stdin.write(cls.order(*phases, **options))
        child.stdin.close()
        child.stdin = None
        return child

    def start_transport(self, *phases, **options):
        """begin_transport() for this test alone."""
        child = self.begin_transport(*phases, **options)
        self.addCleanup(self.end, child)
        return child

    @staticmethod
    def end(child):
        if child.poll() is None:
            child.kill()
        child.wait()
        for pipe in (child.stdout, child.stderr):
            pipe.close()

    def finish(self, child):
        out, err = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 0, err)
        return json.loads(out)["phases"]

    def assert_well(self, answers, but=()):
        """Every host of `answers` but those named is well."""
        ill = {name: answer for name, answer in answers.items() if name not in but and not (
            answer["ok"] if "ok" in answer
            else (answer["outcome"], answer["status"]) == ("exited", 0))}
        self.assertEqual(ill, {})

    def wait_for(self, what, seconds=20):
        latest = time.monotonic() + seconds
        while not what():
            if time.monotonic() > latest:
                self.fail("it did not happen in %g s" % seconds)
            time.sleep(0.02)

    def assert_clean(self, done):
        """Nothing that a terminal would obey is in what `done` wrote."""
        for text in (done.out, done.err):
            self.assertIsNone(RAW.search(text), RAW.search(text))
            text.decode()
