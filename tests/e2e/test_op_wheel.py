# SPDX-License-Identifier: Apache-2.0
"""One wheel of the op library, as it is, under every Python from 3.9 on and beside any torch."""
import glob
import json
import os
import re
import shutil
import subprocess
import unittest

from support import prepare_torch
from support.deploy_case import LIBRARY_GPUS, ROOT, DeployCase, clean_environment

MINORS = range(9, 14)
# The oldest and the newest that were tried; they are large, so only a long run has them.
TORCHES = ("1.13", "2.15")


def interpreters():
    """{3.N: path} of what is in PATH and what pyenv installed."""
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    found = {}
    for minor in MINORS:
        name = "python3.%d" % minor
        places = glob.glob("%s/versions/3.%d.*/bin/%s" % (root, minor, name))
        for path in [shutil.which(name), *sorted(places)]:
            if path and works(path, minor):
                found.setdefault("3.%d" % minor, path)
    return found


def works(path, minor):
    """A name in PATH may be a stand-in for an interpreter that was not chosen."""
    done = subprocess.run([path, "-c", "import sys, ensurepip; print(sys.version_info[1])"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() == str(minor)


class Sources(DeployCase):
    def test_compile_without_a_warning(self):
        """In a long run for every GPU that is named; ptxas warns of spilled registers. (In every run
        the tests of the package look for spills at all.)"""
        gpus = "7.5;8.0;8.6;8.9;9.0;10.0;12.0" if os.environ.get("DS_DEPLOY_LONG") else "9.0"
        ops = self.folder / "ops"
        shutil.copytree(ROOT / "ops", ops)
        for manifest in ops.glob("*/op.yaml"):
            text = manifest.read_text()
            for key, more in (("flags", '"-Wall", "-Wextra", "-Werror"'), ("nvcc_flags", (
                    '"-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra,-Werror", '
                    '"-Xptxas=-warn-spills,-warn-lmem-usage"'))):
                text, found = re.subn(r"^(%s: \[)(\]?)" % key,
                                      lambda match, more=more: match[1] + more + (match[2] or ", "),
                                      text, flags=re.M)
                self.assertEqual(found, 1, manifest)
            manifest.write_text(text)
        said = self.run_program("build", "-l", "--ops", ops, "--output", self.folder, env=(
            clean_environment(TORCH_CUDA_ARCH_LIST=gpus)))
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertNotIn("warning: ", re.sub("ds-deploy: warning: .*", "", said.stderr))


class OneWheel(DeployCase):
    def setUp(self):
        super().setUp()
        self.wheel = self.deploy("build", "-l", "--output", self.folder,
                                 env=clean_environment(**LIBRARY_GPUS))["file"]

    def install(self, python):
        """An interpreter that has the wheel, by pip."""
        environment = self.folder / ("env" + re.sub(r"\W", "-", str(python)))
        self.run_python(python, "-m", "venv", environment)
        own = environment / "bin" / "python"
        self.run_python(own, "-m", "pip", "install", "-q", "--no-index", "--no-deps", self.wheel)
        return own

    def run_python(self, python, *words, **variables):
        done = subprocess.run([str(python), *map(str, words)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, cwd=self.folder,
                              env=clean_environment(**variables), check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def assert_ops_work(self, python, **variables):
        tested = json.loads(self.run_python(python, "-m", "ds_ops", "--json", **variables))["ops"]
        self.assertEqual({op["name"] for op in tested if op["state"] == "failed"}, set(), tested)
        self.assertIn("passed", {op["state"] for op in tested})

    def assert_tests_pass(self, python, **variables):
        for tests in sorted(ROOT.glob("ops/*/tests")):
            with self.subTest(tests.parent.name):
                self.run_python(python, "-B", "-m", "unittest", "discover", "-s", tests,
                                **variables)

    def test_every_python(self):
        found = interpreters()
        if len(found) < 2:
            self.skipTest("of Python 3.9 to 3.13 there are only: %s" % ", ".join(found))
        print("(Python %s) " % ", ".join(found), end="")
        for version, path in found.items():
            with self.subTest(version):
                python = self.install(path)
                self.assert_ops_work(python)
                if os.environ.get("DS_DEPLOY_LONG"):
                    self.assert_tests_pass(python)

    @unittest.skipUnless(os.environ.get("DS_DEPLOY_LONG"), "oldest and newest torch: --long")
    def test_oldest_and_newest_torch(self):
        for version in TORCHES:
            with self.subTest(version):
                try:
                    torch = prepare_torch.Workshop().torch(version)
                except prepare_torch.Unprepared as error:
                    self.skipTest("torch %s: %s" % (version, error))
                beside = str(self.folder / version)
                self.run_python(torch, "-m", "pip", "install", "-q", "--no-index", "--no-deps",
                                "--target", beside, self.wheel)
                self.assert_ops_work(torch, PYTHONPATH=beside)
                self.assert_tests_pass(torch, PYTHONPATH=beside)


if __name__ == "__main__":
    unittest.main()
