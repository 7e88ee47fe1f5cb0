# SPDX-License-Identifier: Apache-2.0
"""The package around the ops: it finds them, tests them, and says what is wrong."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import ds_ops


class Installed(unittest.TestCase):
    def test_every_folder_is_an_op(self):
        folders = {p.parent.name for p in pathlib.Path(ds_ops.__file__).parent.glob("*/*.so")}
        self.assertEqual(set(ds_ops.ops()), folders)
        self.assertTrue(folders)

    def test_unknown_op(self):
        with self.assertRaisesRegex(ValueError, "no op 'nonsense'; there are: "):
            ds_ops.self_test("nonsense")

    def test_imports_the_standard_library_only(self):
        program = ("import sys,ds_ops\nfor op in ds_ops.ops():\n"
                   "  try: ds_ops.self_test(op)\n  except ds_ops.CannotRun: pass\n"
                   "assert not {'numpy','torch'} & set(sys.modules)")
        subprocess.run([sys.executable, "-c", program], check=True)


class Copied(unittest.TestCase):
    """A package made of the common part and of ops written here."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.package = pathlib.Path(self.folder.name, "ds_ops")
        self.package.mkdir()
        for file in pathlib.Path(ds_ops.__file__).parent.glob("*.py"):
            shutil.copy(file, self.package)

    def add(self, name, source):
        (self.package / name).mkdir()
        (self.package / name / "__init__.py").write_text(source)

    def run_module(self, *arguments):
        return subprocess.run([sys.executable, "-B", "-m", "ds_ops", *arguments],
                              capture_output=True, text=True, cwd=self.folder.name,
                              env={**os.environ, "PYTHONPATH": self.folder.name})

    def test_table(self):
        self.add("good", "def self_test(): pass")
        self.add("elsewhere", "import ds_ops\ndef self_test(): raise ds_ops.CannotRun('no GPU')")
        done = self.run_module()
        self.assertEqual(done.stdout.splitlines(), [
            "op         loads  self-test", "elsewhere  yes    cannot run here: no GPU",
            "good       yes    passed"])
        self.assertEqual(done.returncode, 0)

    def test_failures(self):
        self.add("good", "def self_test(): pass")
        self.add("wrong", "def self_test(): assert 1 == 2, 'bad sum'")
        self.add("missing", "from ds_ops._library import load\nload(__file__)")
        done = self.run_module("--json")
        self.assertEqual(done.returncode, 1)
        states = {op["name"]: op for op in json.loads(done.stdout)["ops"]}
        self.assertEqual(states["wrong"]["message"], "AssertionError: bad sum")
        self.assertTrue(states["wrong"]["loads"])
        self.assertFalse(states["missing"]["loads"])
        self.assertIn("libmissing.so", states["missing"]["message"])
        self.assertEqual(states["good"]["state"], "passed")
        self.assertEqual(self.run_module("good").returncode, 0)
        self.assertEqual(self.run_module("nonsense").returncode, 2)

    def load(self, program, name="extra", **more):
        """What a process prints that loads an op with `program` as ds-deploy."""
        script = pathlib.Path(self.folder.name, "program")
        script.write_text(program)
        script.chmod(0o755)
        text = ("import sys, ds_ops\ntry: print(ds_ops.load(%r).__name__, ds_ops.ops())\n"
                "except ds_ops.BuildFailed as error: print(error.op, error.status, error.output,"
                " '|', error, end='')" % name)
        done = subprocess.run([sys.executable, "-B", "-c", text], capture_output=True, text=True,
                              check=True, env={**os.environ, "PYTHONPATH": self.folder.name,
                                               "DS_DEPLOY": str(script), **more})
        self.stderr = done.stderr
        return done.stdout

    def test_load(self):
        built = pathlib.Path(self.folder.name, "built", "ds_ops", "extra")
        built.mkdir(parents=True)
        (built / "__init__.py").write_text("def self_test(): pass")
        self.add("here", "def self_test(): pass")
        said = self.load("#!/bin/sh\necho \"$@\" >&2\necho '{\"package\": \"%s\"}'"
                         % built.parent.parent)
        self.assertEqual(said, "ds_ops.extra ['extra', 'here']\n")
        self.assertEqual(self.stderr, f"jit extra --json --python {sys.executable}\n")
        self.assertEqual(self.load("#!/bin/sh\nexit 1", "here"), "ds_ops.here ['here']\n")

    def test_load_that_fails(self):
        for program, said in (
                ("#!/bin/sh\necho 'a.cc:1: error' >&2; exit 9", "ended with status 9:\na.cc:1: "),
                ("#!/bin/sh\nkill -9 $$", "was ended by signal 9"),
                ("#!/nonexistent\n", "cannot be run: "),
                ("#!/bin/sh\necho 0.1.0", "an answer that is not known here"),
                ("#!/bin/sh\necho '[1]'", "an answer that is not known here"),
                ("#!/bin/sh\necho '{\"package\": \"/nowhere\"}'",
                 "named the folder /nowhere, and it holds no op extra")):
            with self.subTest(said):
                printed = self.load(program)
                self.assertIn("| the op extra cannot be built: ", printed)
                self.assertIn(said, printed)

    def test_no_ops(self):
        done = self.run_module("--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["ops"]), (0, []))


if __name__ == "__main__":
    unittest.main()
