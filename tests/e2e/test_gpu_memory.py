# SPDX-License-Identifier: Apache-2.0
"""A self-test that says what it takes of a GPU's memory is not begun where less is free."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support.host_side import text_of


class GpuMemory(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ds-deploy-test.")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "op.py").write_text("def self_test():\n    pass\n")

    def free(self, mebibytes):
        """What nvidia-smi says, a line for each GPU that it is asked for."""
        path = self.folder / "nvidia-smi"
        path.write_text("#!/bin/sh\ncase \"$*\" in\n"
                        "'-i 0 --query-gpu=memory.free --format=csv,noheader,nounits')\n"
                        "    echo %d ;;\n*) exit 1 ;;\nesac\n" % mebibytes)
        path.chmod(0o755)

    def confirm(self, **more):
        request = {"nonce": "N", "dists": [], "imports": [], "self_tests": {"op": "op:self_test"},
                   "gpu_memory": {"op": 600}, **more}
        done = subprocess.run(
            [sys.executable, "-c", text_of(["confirm.py"])], input=json.dumps(request) + "\n",
            stdout=subprocess.PIPE, text=True, check=True, cwd=self.folder,
            env={"PATH": "%s:%s" % (self.folder, os.environ["PATH"]),
                 "PYTHONPATH": str(self.folder)})
        answer = json.loads(done.stdout.split("N ", 1)[1])
        self.assertTrue(answer["ok"], answer)
        return answer["self_tests"]["op"], answer["gpus_taken"]

    def test_what_is_free(self):
        self.free(599)
        self.assertEqual(self.confirm(), (
            "not run: it takes 600 MiB of GPU memory, and 599 MiB is free", True))
        self.free(600)
        self.assertEqual(self.confirm(), ("passed", False))
        self.assertEqual(self.confirm(gpu_memory={}), ("passed", False))

    def test_where_nobody_tells(self):
        self.assertEqual(self.confirm(), ("passed", False))


if __name__ == "__main__":
    unittest.main()
