# SPDX-License-Identifier: Apache-2.0
"""CUDA ops: compiled with the real nvcc, read back from the binary. No GPU is needed."""
import json
import zipfile

from support.deploy_case import DeployCase, clean_environment
from support.find_nvcc import find_nvcc


class CudaOps(DeployCase):
    def setUp(self):
        super().setUp()
        if find_nvcc() is None:
            self.skipTest("no nvcc on this machine")

    def test_arch_list_is_what_the_library_holds(self):
        env = clean_environment(TORCH_CUDA_ARCH_LIST="8.0;9.0")
        done = self.run_program("build", "-l", "--json", "--output", self.folder, "--build-dir",
                                self.build_folder / "test-ops", env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        wheel = next(self.folder.glob("*.whl"))
        self.assertRegex(wheel.name, r"\.sm80\.sm90(\.v[234])?-")
        with zipfile.ZipFile(wheel) as archive:
            archive.extract("ds_ops/fused_adam/libfused_adam.so", self.folder)
        library = self.folder / "ds_ops/fused_adam/libfused_adam.so"
        text = self.run_program("inspect", library).stdout
        self.assertIn("sm_80", text)
        self.assertIn("sm_90", text)
        gpu = json.loads(self.run_program("inspect", "--json", library).stdout)["libraries"][0]["gpu"]
        self.assertEqual(gpu["sass_all_units"], ["80", "90"])
