# SPDX-License-Identifier: Apache-2.0
"""The runner itself: what cannot be built is a failure that is counted, never a traceback."""
import contextlib
import io
import os
import pathlib
import tempfile
import unittest
from unittest import mock

import suite


class BrokenBuilds(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.build = pathlib.Path(temporary.name)
        for name in ("ops-env/bin/python", "ops-env/bin/pip"):
            self.program(name, "exit 0")

    def program(self, name, body):
        path = self.build / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n%s\n" % body)
        path.chmod(0o755)

    def assert_counted(self, work, *said):
        totals = suite.Totals()
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            work(totals)
        self.assertEqual((totals.passed, totals.failed, totals.skips), (0, 1, []))
        for text in said:
            self.assertIn(text, output.getvalue())

    def test_ops_that_do_not_build(self):
        self.program("ds-deploy", "echo 'adam.cc:1:1: error: nowhere' >&2; exit 9")
        self.assert_counted(lambda totals: totals.add_ops(self.build, None),
                            "adam.cc:1:1: error: nowhere", "status 9")

    def test_a_program_that_is_not_there(self):
        self.assert_counted(lambda totals: totals.add_ops(self.build, None), "No such file")
        self.assert_counted(lambda totals: totals.add_unit_tests(self.build / "unit-tests", "-tc=*"),
                            "was not built")

    def test_a_preset_that_cannot_be_built(self):
        self.program("bin/cmake", "echo 'libtsan is missing'; exit 1")
        path = "%s:%s" % (self.build / "bin", os.environ["PATH"])
        with mock.patch.dict(os.environ, PATH=path):
            self.assert_counted(lambda totals: totals.add_build("tsan", self.build),
                                "libtsan is missing", "tsan preset, configured: failed")

    def test_torch_is_that_of_the_other_tests(self):
        self.program("ops-env/bin/pip", "touch %s/called" % self.build)
        self.program("ds-deploy", "exit 9")
        with mock.patch.dict(os.environ, DS_DEPLOY_TEST_TORCH_PYTHON="/torch/python"):
            self.assert_counted(lambda totals: totals.add_ops(self.build, None))
        self.assertFalse((self.build / "called").exists())

    def test_without_torch_pip_brings_what_it_can(self):
        self.program("ops-env/bin/pip", 'echo "$*" >> %s/calls; exit 1' % self.build)
        self.program("ds-deploy", "exit 9")
        with mock.patch.dict(os.environ, DS_DEPLOY_TEST_TORCH_PYTHON=""):
            self.assert_counted(lambda totals: totals.add_ops(self.build, None))
        self.assertIn("install -q numpy\n", (self.build / "calls").read_text())


if __name__ == "__main__":
    unittest.main()
