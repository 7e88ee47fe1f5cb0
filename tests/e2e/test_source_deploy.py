# SPDX-License-Identifier: Apache-2.0
"""A DeepSpeed tree goes to three sshd hosts, and confirm loads its ops there as DeepSpeed does.
The hosts share torch and what DeepSpeed requires on disk.
"""
import ast
import base64
import hashlib
import pathlib
import re
import shutil
import subprocess
import sysconfig
import tempfile
import unittest
import zipfile

from support import sshd_hosts
from support.deploy_case import PROGRAM, DeployCase, clean_environment
from support.real_parts import (MODULES, TORCH, needs_modules, needs_sources, needs_torch, newest,
                                only_long, site_packages)

RECORD = "deepspeed/git_version_info_installed.py"
LIBRARY = "deepspeed/ops/adam/cpu_adam_op" + sysconfig.get_config_var("EXT_SUFFIX")
LEVEL = ["--cpu-level", "3"]
OPS = {"DS_BUILD_OPS": "0", "DS_BUILD_UTILS": "1", "DS_BUILD_CPU_ADAM": "1"}


def changed_wheel(wheel, target, changes):
    """A copy with files changed, or left out where the change is None, and a RECORD that agrees."""
    entries, record = [], ""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            text = changes.get(info.filename, archive.read(info))
            if text is None:
                continue
            if info.filename.endswith(".dist-info/RECORD"):
                last = info
                continue
            digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")
            record += "%s,sha256=%s,%d\n" % (info.filename, digest, len(text))
            entries.append((info, text))
    record += last.filename + ",,\n"
    target.parent.mkdir(parents=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, text in entries + [(last, record.encode())]:
            archive.writestr(info, text)
    return target


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
@needs_sources
@needs_torch
@needs_modules
class SourceDeploy(DeployCase):
    """Compiles once; every test has hosts of its own."""

    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        cls.addClassCleanup(shutil.rmtree, cls.shared)
        cls.places = [MODULES, str(site_packages(TORCH))]
        cls.source = newest()
        cls.caches = ["--build-dir", str(cls.shared / "build")]
        done = subprocess.run(
            [PROGRAM, "build", "-l", "--source", str(cls.source), "--python", TORCH, "--output",
             str(cls.shared / "dist"), *LEVEL, *cls.caches],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=clean_environment(**OPS), check=False)
        if done.returncode:
            raise AssertionError(done.stdout[-3000:])
        cls.wheel, = (cls.shared / "dist").iterdir()

    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", 3)
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        self.pythons = {name: self.host_environment(name) for name in self.fleet.hosts}
        hosts = self.write("cluster", "".join(
            "%s slots=8 python=%s\n" % (name, python) for name, python in self.pythons.items()))
        self.common = ["--hostfile", hosts, "-F", self.fleet.config, *self.caches]

    def host_environment(self, name):
        python = self.make_environment("%s/env" % name)
        here = next(python.parent.parent.glob("lib/python*/site-packages"))
        (here / "shared.pth").write_text("\n".join(self.places) + "\n")
        return python

    def deploy(self, *words, **settings):
        return super().deploy(*words, *self.common, env=clean_environment(**OPS), **settings)

    def pointers(self):
        return {(self.folder / name / ".ds-deploy/env/active").read_text().strip()
                for name in self.pythons}

    def test_from_the_tree_to_three_hosts(self):
        dry = self.deploy("--source", self.source, *LEVEL, "--dry-run")
        self.assertEqual(set(self.states(dry).values()), {"ready"})
        report = self.deploy("--source", self.source, *LEVEL)
        self.assertEqual(set(self.states(report).values()), {"confirmed"})
        self.assertEqual(report["wheels"][0]["sha256"],
                         hashlib.sha256(self.wheel.read_bytes()).hexdigest())
        for host in report["hosts"]:
            self.assertIn("cpu_adam: passed: one step of Adam", host["self_tests"])
            self.assertRegex("\n".join(host["self_tests"]), "utils: passed: one tensor as bytes")
        for python in self.pythons.values():
            said = self.python(python, "-c", "import deepspeed, deepspeed.ops.op_builder as b\n"
                               "print(b.CPUAdamBuilder().load().__file__)")
            self.assertIn("/releases/%s/%s" % (report["wheels"][0]["sha256"], LIBRARY), said)

        again = self.deploy("--source", self.source, *LEVEL)
        self.assertEqual(set(self.states(again).values()), {"unchanged"})
        self.assertEqual(sum(host["sent_bytes"] for host in again["hosts"]), 0)
        dry = self.deploy("--source", self.source, *LEVEL, "--dry-run")
        self.assertEqual(set(self.states(dry).values()), {"unchanged"})

    def record(self, **changes):
        """The build record with other values."""
        with zipfile.ZipFile(self.wheel) as archive:
            text = archive.read(RECORD).decode()
        known = {one.targets[0].id: ast.literal_eval(one.value) for one in ast.parse(text).body}
        self.assertLessEqual(set(changes), set(known))
        known.update(changes)
        return "".join("%s=%r\n" % pair for pair in known.items()).encode()

    def goes_back(self, name, changes, says, *hosts):
        """A changed wheel fails at confirm on these hosts, and they go back to the good one."""
        wheel = changed_wheel(self.wheel, self.folder / name / self.wheel.name, changes)
        limits = [word for one in hosts for word in ("--limit", one)]
        report = self.deploy("--wheel", wheel, *limits, exit_status=4)
        self.assertEqual(self.states(report), dict.fromkeys(hosts, "rolled-back"))
        for host in report["hosts"]:
            self.assertEqual(host["step"], "confirm")
            self.assertRegex(host["message"], "self-test of " + says)

    def test_a_falsified_accelerator_goes_back(self):
        good = self.deploy("--wheel", self.wheel)["wheels"][0]["sha256"]
        self.goes_back("xpu", {RECORD: self.record(accelerator_name="xpu")},
                       "cpu_adam, utils failed: DeepSpeed would compile it anew: accelerator_name "
                       "in git_version_info_installed.py is xpu, and DeepSpeed takes this host for "
                       "cpu", *self.pythons)
        self.assertEqual(self.pointers(), {good})
        # Which torch an op is for is told before anything is sent.
        other = {"version": "2.1", "cuda_version": "12.1"}
        wheel = changed_wheel(self.wheel, self.folder / "other" / self.wheel.name,
                              {RECORD: self.record(torch_info=other)})
        report = self.deploy("--wheel", wheel, exit_status=3)
        self.assertEqual(set(self.states(report).values()), {"refused"})
        self.assertIn("the ops are recorded for torch 2.1", report["hosts"][0]["message"])

    @only_long
    def test_wheels_whose_ops_would_be_compiled_anew_go_back(self):
        good = self.deploy("--wheel", self.wheel)["wheels"][0]["sha256"]
        stub = self.folder / "stub.so"
        subprocess.run(["gcc", "-shared", "-o", str(stub), "-xc", "/dev/null"], check=True)
        info = next(name for name in zipfile.ZipFile(self.wheel).namelist()
                    if name.endswith("ds_deploy/requirements.json"))
        self.assertIn(b'"builder": "CPUAdamBuilder"', zipfile.ZipFile(self.wheel).read(info))
        for name, changes, says in (
                ("left out", {RECORD: self.record(installed_ops={})},
                 "cpu_adam failed: .* installed_ops in .* is without it"),
                ("missing", {LIBRARY: None},
                 "cpu_adam failed: its library is not in the release: No module named "
                 "'deepspeed.ops.adam.cpu_adam_op'"),
                ("broken", {LIBRARY: stub.read_bytes()},
                 "cpu_adam failed: its library does not load: dynamic module does not define")):
            with self.subTest(name):
                self.goes_back(name, changes, says, "n1")
                self.assertEqual(self.pointers(), {good})


if __name__ == "__main__":
    unittest.main()
