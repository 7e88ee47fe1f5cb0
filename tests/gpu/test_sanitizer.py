# SPDX-License-Identifier: Apache-2.0
"""The ops' tests that need a GPU once more, each under compute-sanitizer's tools: it is in PATH with
the CUDA toolkit, or comes with the package nvidia-cuda-sanitizer-api."""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import ds_ops

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLASS = "OnGpu"  # where an op's tests that need one are


def sanitizer():
    """Its path, or None."""
    beside = (path for folder in sys.path
              for path in pathlib.Path(folder).glob("nvidia/*/**/compute-sanitizer"))
    return shutil.which("compute-sanitizer") or next((str(path) for path in beside), None)


def cannot():
    """Why nothing can be run, or None."""
    for op in ds_ops.ops():
        tests = ROOT / "ops" / op / "tests"
        if any(CLASS in path.read_text() for path in tests.glob("test_*.py")):
            try:
                ds_ops.self_test(op)
            except ds_ops.CannotRun as error:
                return error.reason
    return None if sanitizer() else "there is no compute-sanitizer"


@unittest.skipIf(cannot(), "%s" % cannot())
class Sanitizer(unittest.TestCase):
    def under(self, *options):
        for tests in sorted(ROOT.glob("ops/*/tests")):
            with self.subTest(tests.parent.name):
                done = subprocess.run(
                    [sanitizer(), "--error-exitcode", "9", *options, sys.executable, "-B", "-m",
                     "unittest", "discover", "-s", str(tests), "-k", CLASS], text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                    env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})
                self.assertIn(done.returncode, (0, 5), done.stdout)  # 5: it has no such tests

    def test_no_wrong_address(self):
        self.under("--tool", "memcheck", "--leak-check", "full")

    def test_no_race_in_shared_memory(self):
        self.under("--tool", "racecheck")

    def test_barriers_are_reached_by_all(self):
        self.under("--tool", "synccheck")

    def test_nothing_is_read_that_was_not_written(self):
        self.under("--tool", "initcheck")


if __name__ == "__main__":
    unittest.main()
