# SPDX-License-Identifier: Apache-2.0
"""The audit over replayed facts: no host is needed."""
import json

from support.deploy_case import DeployCase, clean_environment


class Replayed(DeployCase):
    def fleet(self, **changes):
        """Facts of this machine, changed."""
        hosts = self.write("hostfile", "localhost slots=1 transport=local\n")
        python = self.make_environment()
        saved = self.folder / "facts.json"
        done = self.run_program("facts", "--hostfile", hosts, "--python", python, "--save-facts", saved)
        self.assertEqual(done.returncode, 0, done.stderr)
        facts = json.loads(saved.read_text())
        facts["hosts"][0].update(changes)
        saved.write_text(json.dumps(facts))
        return saved

    def test_same_facts_same_bytes(self):
        saved = self.fleet()
        one = self.run_program("facts", "--facts", saved, "--json").stdout
        self.assertEqual(json.loads(one), json.loads(saved.read_text()))

    def test_a_gpu_without_image_is_refused_with_the_way_out(self):
        env = clean_environment(TORCH_CUDA_ARCH_LIST="8.0")
        built = self.run_program("build", "-l", "--output", self.folder / "dist", "--build-dir",
                                 self.build_folder / "test-ops", env=env)
        self.assertEqual(built.returncode, 0, built.stderr)
        if ".cu" not in built.stdout:
            self.skipTest("no nvcc on this machine: the wheel has no CUDA op")
        v100 = {"index": 0, "uuid": "GPU-1", "name": "Tesla V100-SXM2-16GB",
                "compute_capability": "7.0", "driver": "580.65.06", "memory_mb": 16160,
                "mig": "[N/A]", "ecc": "Enabled"}
        saved = self.fleet(gpus=[v100], driver="580.65.06")
        done = self.run_program("audit", built.stdout.strip(), "--facts", saved, "--json")
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        host = json.loads(done.stdout)["hosts"][0]
        self.assertEqual(host["state"], "refused")
        finding = [f for f in host["findings"] if f["severity"] == "fail"][0]
        self.assertEqual((finding["rule"], finding["op"]), ("gpu-image", "fused_adam"))
        self.assertIn("sm_70", finding["because"])
        self.assertIn("TORCH_CUDA_ARCH_LIST", finding["fix"])

    def test_no_gpu_is_a_warning_unless_one_is_required(self):
        saved = self.fleet(gpus=[], driver="")
        base = ["--dry-run", "--facts", saved, "--build-dir", self.build_folder / "test-ops"]
        self.assertEqual(self.run_program(*base).returncode, 0)
        strict = self.run_program(*base, "--require-gpu")
        self.assertEqual(strict.returncode, 3, strict.stdout)
        self.assertIn("this host has no GPU", strict.stdout)
