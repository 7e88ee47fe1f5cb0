# SPDX-License-Identifier: Apache-2.0
"""The audit over replayed facts: no host is needed."""
import json
import zipfile

from support import recorded_wheel
from support.deploy_case import DeployCase, clean_environment

V100 = {"index": 0, "uuid": "GPU-1", "name": "Tesla V100-SXM2-16GB", "compute_capability": "7.0",
        "driver": "580.65.06", "memory_mb": 16160, "mig": "[N/A]", "ecc": "Enabled"}


class ReplayCase(DeployCase):
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

    def audit(self, wheel, *words, exit_status=0):
        """The report of one host."""
        done = self.run_program("audit", wheel, *words, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout)["hosts"][0]

    def failure(self, host):
        self.assertEqual(host["state"], "refused")
        return [f for f in host["findings"] if f["severity"] == "fail"][0]


class Replayed(ReplayCase):
    def test_same_facts_same_bytes(self):
        saved = self.fleet()
        one = self.run_program("facts", "--facts", saved, "--json").stdout
        self.assertEqual(json.loads(one), json.loads(saved.read_text()))

    def assert_v100_is_refused(self, wheel, op):
        saved = self.fleet(gpus=[V100], driver="580.65.06")
        finding = self.failure(self.audit(wheel, "--facts", saved, exit_status=3))
        self.assertEqual((finding["rule"], finding["op"]), ("gpu-image", op))
        self.assertIn("sm_70", finding["because"])
        self.assertIn("TORCH_CUDA_ARCH_LIST", finding["fix"])

    def test_a_gpu_without_image_is_refused_with_the_way_out(self):
        env = clean_environment(TORCH_CUDA_ARCH_LIST="8.0")
        built = self.run_program("build", "-l", "--output", self.folder / "dist", "--build-dir",
                                 self.build_folder / "test-ops", env=env)
        self.assertEqual(built.returncode, 0, built.stderr)
        if ".cu" not in built.stdout:
            self.skipTest("no nvcc on this machine: the wheel has no CUDA op")
        self.assert_v100_is_refused(built.stdout.strip(), "fused_adam")

    def test_the_same_with_a_recorded_library(self):
        wheel = recorded_wheel.pack(self.folder, {
            "ds_ops/__init__.py": b"",
            "ds_ops/scale/libscale.so": recorded_wheel.cuda_library()})
        self.assert_v100_is_refused(wheel, "scale")

    def test_no_gpu_is_a_warning_unless_one_is_required(self):
        saved = self.fleet(gpus=[], driver="")
        base = ["--dry-run", "--facts", saved, "--build-dir", self.build_folder / "test-ops"]
        self.assertEqual(self.run_program(*base).returncode, 0)
        strict = self.run_program(*base, "--require-gpu")
        self.assertEqual(strict.returncode, 3, strict.stdout)
        self.assertIn("this host has no GPU", strict.stdout)

    def test_no_environment_is_no_obstacle(self):
        wheel = recorded_wheel.pack(self.folder, {"ds_ops/__init__.py": b""})
        host = self.audit(wheel, "-l")
        self.assertEqual(host["state"], "ready")
        severities = {f["rule"]: f["severity"] for f in host["findings"]}
        self.assertEqual(severities["environment"], "unknown")


class HostNeeds(ReplayCase):
    """What an op opens while it runs: from its manifest to the host that lacks it."""

    def library(self):
        ops = self.folder / "ops"
        for name, needs in (("scale", "[libds_nowhere.so.7]"), ("shift", "[libc.so.6]")):
            (ops / name).mkdir(parents=True)
            (ops / name / "op.yaml").write_text(
                "name: %s\nsummary: A toy\nkind: cpu\nbuild_variable: DS_BUILD_%s\n"
                "sources: [op.cc]\nhost_needs: %s\nself_test: ds_ops.%s:self_test\n"
                % (name, name.upper(), needs, name))
            (ops / name / "op.cc").write_text(
                '__attribute__((visibility("default"))) extern "C" int %s() { return 2; }\n' % name)
        (ops / "VERSION").write_text("0.1.0\n")
        return ops

    def assert_is_refused(self, host):
        finding = self.failure(host)
        self.assertEqual((finding["rule"], finding["op"]), ("needed-libraries", "scale"))
        self.assertIn("scale opens libds_nowhere.so.7", finding["because"])
        self.assertIn("install the package that has libds_nowhere.so.7", finding["fix"])

    def test_manifest_to_wheel_to_verdict(self):
        ops = self.library()
        saved = self.fleet()
        facts = json.loads(saved.read_text())
        lacks, has = facts["hosts"][0], json.loads(saved.read_text())["hosts"][0]
        lacks["name"] = "lacks"
        has["libraries"].append("libds_nowhere.so.7")
        both = self.write("both.json", json.dumps({**facts, "hosts": [has, lacks]}))
        words = ["--facts", both, "--ops", ops, "--build-dir", self.folder / "build"]
        dry = self.run_program("--dry-run", *words, "--json")
        self.assertEqual(dry.returncode, 3, dry.stdout + dry.stderr)
        self.assert_is_refused(json.loads(dry.stdout)["hosts"][1])

        built = self.run_program("build", *words, "--output", self.folder / "dist")
        self.assertEqual(built.returncode, 0, built.stderr)
        wheel = built.stdout.strip()
        with zipfile.ZipFile(wheel) as archive:
            name = [n for n in archive.namelist() if n.endswith("ds_deploy/requirements.json")][0]
            record = json.loads(archive.read(name))
        self.assertEqual({op["name"]: op["host_needs"] for op in record["ops"]},
                         {"scale": ["libds_nowhere.so.7"], "shift": ["libc.so.6"]})
        inspected = json.loads(self.run_program("inspect", "--json", wheel).stdout)
        self.assertIn("libds_nowhere.so.7", inspected["requirements"]["needed"])
        self.assert_is_refused(self.audit(wheel, "--facts", saved, exit_status=3))

    def test_a_foreign_record_breaks_nothing(self):
        for ops in ("all", [7, {"name": 7}, {"name": "scale", "self_test": [], "host_needs": "x"}]):
            wheel = recorded_wheel.pack(self.folder, {"ds_ops/__init__.py": b""}, ops=ops)
            self.assertEqual(self.audit(wheel, "-l")["state"], "ready")
