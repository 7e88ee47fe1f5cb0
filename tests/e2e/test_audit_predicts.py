# SPDX-License-Identifier: Apache-2.0
"""A dry run before anything is built says of the hosts what the audit of the built wheel says."""
import json

from e2e.test_audit import V100, ReplayCase
from support.deploy_case import FEW_OPS, clean_environment

A100 = {**V100, "name": "NVIDIA A100-SXM4-80GB", "compute_capability": "8.0"}
H100 = {**V100, "name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0"}
# What is known of a binary alone, and not before it is there.
OF_THE_BINARY = {"glibc", "libstdc++", "disk", "symbols", "run-path", "shadowed", "requirements"}


class DryRun(ReplayCase):
    def fleet_of(self, hosts):
        """Facts of this machine under several names, each changed in its way."""
        saved = self.fleet()
        whole = json.loads(saved.read_text())
        made = []
        for name, changes in hosts.items():
            host = json.loads(json.dumps(whole["hosts"][0]))
            host.update(changes, name=name, machine_id=name, boot_id=name)
            made.append(host)
        saved.write_text(json.dumps({**whole, "hosts": made}))
        return saved

    @staticmethod
    def said(report):
        """Host -> state, and what is not well by rules that both can know."""
        return {host["name"]: (host["state"], sorted(
            {(one["rule"], one["severity"], one["op"]) for one in host["findings"]
             if one["severity"] != "ok" and one["rule"] not in OF_THE_BINARY}))
                for host in report["hosts"]}

    def report(self, *words, env):
        done = self.run_program(*words, "--json", env=env)
        self.assertIn(done.returncode, (0, 3), done.stdout + done.stderr)
        return json.loads(done.stdout)

    def test_it_is_what_the_built_wheel_gives(self):
        saved = self.fleet_of({
            "none": {"gpus": [], "driver": ""},
            "a100": {"gpus": [A100], "driver": "580.65.06"},
            "v100": {"gpus": [V100], "driver": "580.65.06"},
            "h100": {"gpus": [H100, H100], "driver": "580.65.06"},
            "old-driver": {"gpus": [A100], "driver": "450.80.02"},
            "other-machine": {"machine": "aarch64", "gpus": [], "driver": ""},
            "small-cpu": {"gpus": [], "driver": "", "cpu_level": 1}})
        ops = self.copy_ops(FEW_OPS)
        for archs in ("8.0", "8.0;9.0", "8.0+PTX"):
            with self.subTest(archs):
                env = clean_environment(TORCH_CUDA_ARCH_LIST=archs)
                where = ["--facts", saved, "--ops", ops,
                         "--build-dir", self.folder / ("build" + archs)]
                predicted = self.report("--dry-run", *where, env=env)
                self.assertEqual(predicted["wheels"], [])
                built = self.run_program("build", *where, "--output", self.folder / "dist", env=env)
                self.assertEqual(built.returncode, 0, built.stderr)
                audited = self.report("audit", built.stdout.strip(), "--facts", saved, env=env)
                self.assertEqual(self.said(predicted), self.said(audited))
