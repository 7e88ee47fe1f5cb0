# SPDX-License-Identifier: Apache-2.0
"""Hosts with other Pythons or torches: a wheel for each from one run, or what is lacking."""
import json
import os
import subprocess
import unittest

from support.deploy_case import clean_environment
from support.real_parts import TORCH, needs, needs_torch
from support.source_case import SourceCase

OTHER = os.environ.get("DS_DEPLOY_TEST_TORCH215_PYTHON", "")
MODULE = """
#include <torch/extension.h>
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("torch", [] { return TORCH_VERSION; }); }
"""


def about(python):
    """What facts say of an interpreter with torch."""
    return json.loads(subprocess.check_output([python, "-c", (
        "import json, sys, sysconfig, torch; print(json.dumps({"
        "'version': '.'.join(map(str, sys.version_info[:3])), "
        "'soabi': sysconfig.get_config_var('SOABI'), "
        "'torch': torch.__version__, 'cuda': torch.version.cuda or ''}))")], text=True))


class GroupsCase(SourceCase):
    def setUp(self):
        super().setUp()
        self.make_installable()
        self.op("host", "def cxx_args(self):\n    return ['-O0']")
        self.write("tree/csrc/host.cpp", MODULE)

    def facts(self, **hosts):
        """A file of facts: each host has the Python and torch that are told."""
        saved = self.folder / "facts.json"
        if not saved.exists():
            done = self.run_program("facts", "-l", "--python", self.python, "--save-facts", saved)
            self.assertEqual(done.returncode, 0, done.stderr)
        whole = json.loads(saved.read_text())
        local = whole["hosts"][0]
        whole["hosts"] = []
        for name, told in hosts.items():
            host = json.loads(json.dumps(local))
            host["name"] = host["hostname"] = host["machine_id"] = name
            host["python"].update(version=told["version"], soabi=told["soabi"],
                                  executable="/env/bin/python", asked="/env/bin/python")
            host["torch"] = {"version": told["torch"], "cuda": told["cuda"], "folder": "/env/torch",
                             "cxx11_abi": True}
            whole["hosts"].append(host)
        return self.write("groups.json", json.dumps(whole))

    def build(self, facts, *words, status=0, command="build", **variables):
        words = ["--output", self.folder / "build/wheels", *words] if command == "build" else words
        done = self.run_program(
            command, "--facts", facts, "--source", self.root, "--build-dir", self.folder / "build",
            "--cpu-level", "2", "--cache-dir", self.folder / "cache", *words,
            env=clean_environment(**variables))
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done


@needs_torch
class OneIsLacking(GroupsCase):
    def test_it_says_what_to_install(self):
        here = about(TORCH)
        facts = self.facts(n1=here, n2=dict(here, torch="1.99.3+cu118"),
                           n3=dict(here, torch="1.99.3+cu118"))
        said = self.build(facts, "--python", TORCH, status=9).stderr
        version = ".".join(here["version"].split(".")[:2])
        self.assertIn("no interpreter of this machine has Python %s with torch 1.99.3+cu118, "
                      "as n2, n3 have" % version, said)
        self.assertIn("%s has Python %s with torch %s" % (TORCH, here["version"], here["torch"]),
                      said)
        self.assertIn("python%s -m venv DIR && DIR/bin/pip install torch==1.99.3 setuptools, "
                      "and add --env DIR" % version, said)

    def test_one_environment(self):
        """Two wheels can be in no environment that several hosts have."""
        here = about(TORCH)
        facts = self.facts(n1=here, n2=dict(here, torch="1.99.3+cu118"), n3=here)
        whole = json.loads(facts.read_text())
        for host in whole["hosts"]:
            host["disk"].update(filesystem="nfs4", source="store:/envs")
            host["python"]["prefix_id"] = "9:77"
        said = self.build(self.write("shared.json", json.dumps(whole)), "--python", TORCH,
                          status=3).stderr
        self.assertRegex(said, r"n1, n2, n3 have one environment on a shared file system, and would "
                               r"need two wheels: for .* \(n1, n3\) and for .* \(n2\)\n")
        self.assertIn("give hosts that differ an environment of their own", said)

    def test_another_python(self):
        here = about(TORCH)
        other = dict(here, version="3.8.1", soabi="cpython-38-x86_64-linux-gnu")
        said = self.build(self.facts(n1=here, n2=other), "--python", TORCH, status=9).stderr
        self.assertIn("has Python 3.8 with torch %s, as n2 has" % here["torch"], said)

    def test_what_is_no_environment(self):
        facts = self.facts(n1=about(TORCH))
        for named, says in ((self.folder, "it has no bin/python"),
                            (self.folder / "no", "it does not exist")):
            self.assertIn(says, self.build(facts, "--env", named, status=2).stderr)

    def test_requirements_that_pip_cannot_meet(self):
        wanted = self.write("requirements.txt", "--no-index\ntorch==1.99.3\n")
        facts = self.facts(n1=dict(about(TORCH), torch="1.99.3"))
        said = self.build(facts, "--python", TORCH, "--env", wanted, status=9).stderr
        self.assertRegex(said, r"'-m pip' failed: .*No matching distribution found for torch")
        # Nothing half made stands for the next run.
        self.assertEqual(list((self.folder / "cache/environments").glob("*/complete")), [])

    def test_an_environment_that_pip_makes(self):
        """Of a torch in name only: it is made, once, chosen, and asked."""
        self.pure_wheel("torch", "1.99.3")
        setuptools = subprocess.run(
            [TORCH, "-m", "pip", "download", "--no-deps", "-d", str(self.folder), "setuptools"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if setuptools.returncode != 0:
            self.skipTest("the package index cannot be reached: " + setuptools.stdout[-200:])
        wanted = self.write("requirements.txt", "--no-index\n--find-links %s\ntorch==1.99.3\n"
                            % self.folder)
        facts = self.facts(n1=dict(about(TORCH), torch="1.99.3"))
        words = ("--python", TORCH, "--env", wanted)
        first = self.build(facts, *words, status=9).stderr
        self.assertIn("pip makes an environment", first)
        self.assertRegex(first, "environments/[0-9a-f]{16}/bin/python")
        self.assertIn("torch", first)
        self.assertNotIn("pip makes an environment", self.build(facts, *words, status=9).stderr)


@needs_torch
@needs(OTHER, "DS_DEPLOY_TEST_TORCH215_PYTHON", "interpreter with a second torch")
class TwoTorches(GroupsCase):
    def test_two_wheels_from_one_run(self):
        first, second = about(TORCH), about(OTHER)
        facts = self.facts(n1=first, n2=second, n3=first)
        words = ("--python", TORCH, "--env", os.path.dirname(os.path.dirname(OTHER)))
        done = self.build(facts, *words, "-v")
        wheels = done.stdout.split()
        self.assertEqual(len(wheels), 2, done.stdout)
        self.assertRegex(done.stderr, r"\(wheel 1 of 2\)")
        for wheel, told, python in zip(wheels, (first, second), (TORCH, OTHER)):
            self.assertIn("torch" + ".".join(told["torch"].split(".")[:2]), wheel)
            place = self.folder / ("on-" + told["torch"])
            subprocess.run([python, "-m", "zipfile", "-e", wheel, str(place)], check=True)
            said = subprocess.check_output(
                [python, "-c", "import torch, deepspeed.ops.host_op as m; print(m.torch())"],
                text=True, cwd="/", env=clean_environment(PYTHONPATH=str(place)))
            self.assertEqual(said.strip(), told["torch"].split("+")[0])
        # The audit holds each host against its own wheel.
        report = json.loads(self.build(facts, *words, "--dry-run", "--json", command="deploy",
                                       status=0).stdout)
        self.assertEqual([wheel["hosts"] for wheel in report["wheels"]], [["n1", "n3"], ["n2"]])
        self.assertEqual([plan["hosts"] for plan in report["plans"]], [["n1", "n3"], ["n2"]])
        self.assertEqual(len({host["wheel"] for host in report["hosts"]}), 2)


if __name__ == "__main__":
    unittest.main()
