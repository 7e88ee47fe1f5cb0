# SPDX-License-Identifier: Apache-2.0
"""An audit of real sshd hosts, before and after: files, processes, and a user who may write nowhere."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest

from support import recorded_wheel, sshd_hosts
from support.deploy_case import DeployCase

# It takes symbols of the interpreter, so that the hosts are asked for theirs.
MODULE = """
#include <Python.h>
PyMODINIT_FUNC PyInit_probe(void) { PyErr_Clear(); return PyLong_FromLong(7); }
"""
READ_ONLY = ["unshare", "-m", "sh", "-c", 'mount -o bind,ro /tmp /tmp && '
             'mount -o remount,bind,ro /tmp && exec "$@"', "sh"]


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class AuditChangesNothing(DeployCase):
    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", 2)
        self.addCleanup(self.fleet.stop)
        self.pythons = {name: self.make_environment("%s/env" % name) for name in self.fleet.hosts}
        self.hosts = self.write("cluster", "".join(
            "%s slots=8 python=%s\n" % (name, python) for name, python in self.pythons.items()))
        self.common = ["--hostfile", self.hosts, "-F", self.fleet.config]

    def wheel(self):
        files = {"probe/__init__.py": b""}
        include = self.python(sys.executable, "-c", "import sysconfig; print("
                              "sysconfig.get_path('include'))").strip()
        if shutil.which("cc") and os.path.exists(include + "/Python.h"):
            source = self.write("probe.c", MODULE)
            subprocess.run(["cc", "-shared", "-fPIC", "-I", include, "-o",
                            str(self.folder / "probe.so"), str(source)], check=True)
            files["probe/native.so"] = (self.folder / "probe.so").read_bytes()
        return recorded_wheel.pack(self.folder, files, name="probe")

    def audit(self, exit_status):
        done = self.run_program("audit", self.wheel(), *self.common, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def places(self):
        """All that a host of the fleet has of its own: environment, releases, home."""
        found = {}
        for name in self.pythons:
            found.update(self.tree(self.folder / name))
            found.update(self.tree(self.folder / "fleet" / name / "home"))
        return found

    def left_over(self):
        """Processes on the hosts; what watches a connection outlives it by a second."""
        for _ in range(50):
            found = self.processes()
            if not found:
                break
            time.sleep(0.1)
        return found

    def processes(self):
        """Those that have the home of a host."""
        found = set()
        for entry in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if str(self.folder / "fleet").encode() in entry.read_bytes():
                    found.add("%s %s" % (entry.parent.name,
                                         (entry.parent / "comm").read_text().strip()))
            except OSError:
                continue
        return found

    def test_files_and_processes_are_as_they_were(self):
        self.fleet.start()
        self.deploy(*self.common)
        job = subprocess.Popen([str(self.pythons["n1"]), "-c", "import ds_ops.utils, time; "
                                "print('up', flush=True); time.sleep(600)"],
                               stdout=subprocess.PIPE, text=True)
        self.addCleanup(job.stdout.close)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        job.stdout.readline()
        maps = pathlib.Path("/proc/%d/maps" % job.pid)
        self.assertEqual(self.left_over(), set())
        before = self.places(), maps.read_text()
        report = self.audit(0)
        self.assertEqual(self.states(report), {"n1": "ready", "n2": "ready"})
        self.assertEqual((self.places(), maps.read_text()), before)
        self.assertEqual(self.left_over(), set())
        self.assertIsNone(job.poll())

    def test_a_user_who_may_write_nowhere(self):
        if os.geteuid() != 0 or not str(self.folder).startswith("/tmp/"):
            self.skipTest("only root can make /tmp read-only for one sshd")
        tried = subprocess.run([*READ_ONLY, "true"], check=False, stderr=subprocess.DEVNULL)
        if tried.returncode != 0:
            self.skipTest("unshare -m is not allowed here")
        self.fleet.start(within=READ_ONLY)
        report = self.audit(3)
        for host in report["hosts"]:
            bad = [one["rule"] for one in host["findings"] if one["severity"] == "fail"]
            self.assertEqual(bad, ["write-permission"], host["findings"])
            known = {one["rule"]: one["severity"] for one in host["findings"]}
            for rule in ("python", "glibc", "disk", "noexec", "shadowed", "clock"):
                self.assertIn(known.get(rule, "ok"), ("ok",), rule)
