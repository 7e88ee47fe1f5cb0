# SPDX-License-Identifier: Apache-2.0
"""Ops that link PyTorch, and one verdict of an op in build, jit and audit. The host, its GPU, its
torch and its toolkit are made up, but for the last class, which compiles against a real torch."""
import json
import os
import re
import subprocess
import unittest
import zipfile

from support import recorded_wheel
from support.deploy_case import DeployCase, clean_environment
from support.real_parts import TORCH, needs_nvcc, needs_torch

OP = """name: {name}
summary: for a test
kind: {kind}
build_variable: DS_BUILD_{upper}
sources: [{source}]
{more}
self_test: ds_ops.{name}:self_test
"""
SMI = """#!/bin/sh
echo '0, GPU-1, NVIDIA A100, 8.0, 580.65.06, 40960, [N/A], Enabled'
"""
NVCC = """#!/bin/sh
echo 'Cuda compilation tools, release %s, V%s.1'
"""
READER = "reader opens libds_nowhere.so.7, which this host's loader does not know"
NEWER = "newer needs compute capability 9.0, and no GPU of this host has it: 8.0 (NVIDIA A100)"
LINKED = "linked is built with CUDA 13.0, and torch 2.9.0+cu128 of this host with CUDA 12.8"


class TorchCase(DeployCase):
    def setUp(self):
        super().setUp()
        self.ops = self.folder / "ops"
        self.write("ops/VERSION", "1.0\n")

    def op(self, name, kind="cpu", more="", text="extern \"C\" int one() { return 1; }\n"):
        source = "op.cu" if kind == "cuda" else "op.cc"
        self.write("ops/%s/%s" % (name, source), text)
        self.write("ops/%s/op.yaml" % name, OP.format(name=name, upper=name.upper(), kind=kind,
                                                      source=source, more=more))

    def script(self, name, text):
        path = self.write(name, text)
        path.chmod(0o755)
        return path

    def words(self, *words):
        return [*words, "--ops", self.ops, "--build-dir", self.folder / "build"]


class OneVerdict(TorchCase):
    """The same sentence, whoever is asked."""

    def setUp(self):
        super().setUp()
        self.interpreter = self.make_environment()
        site = next((self.folder / "env" / "lib").glob("python3*")) / "site-packages"
        (site / "torch").mkdir()
        (site / "torch" / "version.py").write_text("__version__ = '2.9.0+cu128'\ncuda = '12.8'\n")
        self.script("bin/nvidia-smi", SMI)
        self.script("cuda/bin/nvcc", NVCC % ("13.0", "13.0"))
        self.script("other/bin/nvcc", NVCC % ("12.8", "12.8"))
        self.op("plain")
        self.op("reader", more="host_needs: [libds_nowhere.so.7]")
        self.op("newer", kind="cuda", more='minimum_compute_capability: "9.0"')
        self.op("linked", kind="cuda", more="links_torch: true")

    def environment(self, **more):
        return clean_environment(**{"PATH": "%s:%s" % (self.folder / "bin", os.environ["PATH"]),
                                    "CUDA_HOME": str(self.folder / "cuda"), **more})

    def run_here(self, *words, **more):
        return self.run_program(*words, "--python", self.interpreter, env=self.environment(**more))

    def plan(self, **more):
        done = self.run_here(*self.words("build", "-l", "--dry-run", "--json"), **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_build(self):
        plan = self.plan()
        self.assertEqual([op["name"] for op in plan["ops"]], ["plain"])
        because = {op["name"]: op["because"] for op in plan["left_out"]}
        for name, sentence in (("reader", READER), ("newer", NEWER), ("linked", LINKED)):
            self.assertIn("localhost: " + sentence, because[name])
        for part in ("set CUDA_HOME to a CUDA 12.8 toolkit", "DS_SKIP_CUDA_CHECK=1",
                     "install a torch that is built with CUDA 13.0"):
            self.assertIn(part, because["linked"])

    def test_jit(self):
        for name, sentence in (("reader", READER), ("newer", NEWER), ("linked", LINKED)):
            done = self.run_here(*self.words("jit", name),
                                 TORCH_EXTENSIONS_DIR=str(self.folder / "extensions"))
            self.assertEqual(done.returncode, 9, done.stdout)
            self.assertIn("cannot be built: %s: localhost: %s" % (name, sentence),
                          re.sub(r"\s+", " ", done.stderr))

    def record(self, **changes):
        linked = {"name": "linked", "links_torch": True, "torch": "2.9.0+cu128", "cuda": "13.0",
                  "torch_cxx11_abi": True, **changes}
        return recorded_wheel.pack(
            self.folder,
            {"ds_ops/%s/lib%s.so" % (name, name): recorded_wheel.cuda_library()
             for name in ("reader", "newer", "linked")},
            ops=[{"name": "reader", "host_needs": ["libds_nowhere.so.7"]},
                 {"name": "newer", "minimum_compute_capability": "9.0"}, linked])

    def findings(self, wheel):
        done = self.run_here("audit", wheel, "-l", "--json")
        self.assertEqual(done.returncode, 3, done.stderr)
        return [(found["severity"], found["rule"], found["op"], found["because"])
                for found in json.loads(done.stdout)["hosts"][0]["findings"]]

    def test_audit(self):
        findings = self.findings(self.record())
        for expected in (("fail", "needed-libraries", "reader", READER),
                         ("fail", "minimum-capability", "newer", NEWER),
                         ("fail", "torch", "linked", LINKED)):
            self.assertIn(expected, findings)
        self.assertEqual([found for found in findings if found[1:3] == ("gpu-image", "newer")], [])

    def test_what_was_skipped_is_a_warning_everywhere(self):
        plan = self.plan(DS_SKIP_CUDA_CHECK="1")
        self.assertIn("linked", [op["name"] for op in plan["ops"]])
        self.assertIn("localhost: %s; DS_SKIP_CUDA_CHECK=1 took it all the same" % LINKED,
                      plan["notes"])
        self.assertIn(("warn", "torch", "linked", LINKED),
                      self.findings(self.record(cuda_check_skipped=True)))

    def test_another_torch(self):
        self.assertIn(("fail", "torch", "linked",
                       "linked is built with torch 2.8.0, and this host has torch 2.9.0+cu128"),
                      self.findings(self.record(torch="2.8.0")))

    def test_a_record_of_another_form(self):
        wheel = self.record(torch="2.9\x1b[31m", cuda=7, torch_cxx11_abi="yes", links_torch="true")
        self.assertNotIn("linked", [op for _, rule, op, _ in self.findings(wheel)
                                    if rule == "torch"])

    def test_toolkits_are_told_with_their_reasons(self):
        toolkits = {kit["path"]: kit for kit in self.plan()["toolkits"]}
        mine = toolkits[str(self.folder / "cuda/bin/nvcc")]
        self.assertEqual((mine["version"], mine["chosen"]), ("13.0", True))
        self.assertIn("CUDA_HOME names it", mine["because"])

    def test_toolkits_of_the_environment(self):
        """pip's are in site-packages/nvidia; a folder that is conda's has one in bin."""
        site = next((self.folder / "env" / "lib").glob("python3*")) / "site-packages"
        kit = site / "nvidia" / "cu12"
        self.script(kit.relative_to(self.folder) / "bin" / "nvcc", NVCC % ("12.8", "12.8"))
        self.write(kit.relative_to(self.folder) / "include" / "cuda_runtime.h", "")
        self.script("env/bin/nvcc", NVCC % ("12.6", "12.6"))
        (self.folder / "env" / "conda-meta").mkdir()
        headers = "env/targets/%s-linux/include" % os.uname().machine
        self.write(headers + "/cuda_runtime.h", "")
        done = self.run_here("facts", "-l", "--json")
        tools = {tool["path"]: tool for tool in json.loads(done.stdout)["hosts"][0]["nvcc"]}
        self.assertEqual(tools[str(kit / "bin/nvcc")]["version"], "12.8")
        self.assertEqual(tools[str(kit / "bin/nvcc")]["include"], str(kit / "include"))
        conda = tools[str(self.folder / "env/bin/nvcc")]
        self.assertEqual((conda["version"], conda["include"]),
                         ("12.6", str(self.folder / headers)))
        plan = self.plan(CUDA_HOME=str(kit))
        self.assertIn("linked", [op["name"] for op in plan["ops"]])
        self.assertIn(str(kit / "bin/nvcc"), plan["nvcc"])


@needs_torch
class RealTorch(TorchCase):
    """Headers and libraries of a real torch; nothing is loaded, so that no GPU is needed."""

    CPU = ('#include <ATen/ATen.h>\nextern "C" __attribute__((visibility("default")))\n'
           "long numel(long n) { TORCH_CHECK(n > 0, \"none\"); return at::arange(n).numel(); }\n")
    CUDA = ('#include <ATen/ATen.h>\n#include <c10/cuda/CUDAException.h>\n'
            "__global__ void kernel(float* p) { *p = 1; }\n"
            'extern "C" __attribute__((visibility("default"))) void run(float* p) {\n'
            "  TORCH_CHECK(p, \"none\");\n"
            "  kernel<<<1, 1>>>(p);\n  C10_CUDA_KERNEL_LAUNCH_CHECK();\n}\n")

    def setUp(self):
        super().setUp()
        facts = json.loads(self.run_program("facts", "-l", "--python", TORCH, "--json").stdout)
        self.torch = facts["hosts"][0]["torch"]
        self.assertTrue(self.torch["version"], "%s has no torch" % TORCH)

    def built(self, **more):
        done = self.run_program(*self.words("build", "-l", "--python", TORCH, "--output",
                                            self.folder), env=clean_environment(**more))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def assert_clean(self, name, wheel):
        with zipfile.ZipFile(wheel) as archive:
            library = archive.read("ds_ops/%s/lib%s.so" % (name, name))
            record = [n for n in archive.namelist() if n.endswith("requirements.json")][0]
            said = {op["name"]: op for op in json.loads(archive.read(record))["ops"]}[name]
        self.assertNotIn(self.torch["folder"].encode(), library)
        self.assertNotIn(str(self.folder).encode(), library)
        self.assertEqual(said["torch"], self.torch["version"])
        path = self.folder / ("lib%s.so" % name)
        path.write_bytes(library)
        dynamic = subprocess.run(["readelf", "-d", str(path)], stdout=subprocess.PIPE, text=True,
                                 check=True).stdout
        self.assertIn("libc10.so", dynamic)
        self.assertNotIn("PATH)", dynamic)
        return dynamic

    def test_cpu_op(self):
        self.op("sized", more="links_torch: true", text=self.CPU)
        wheel = self.built().stdout.strip()
        self.assertIn(".torch" + re.sub(r"[^a-z0-9]+", ".", self.torch["version"]), wheel)
        self.assertIn("libtorch_cpu.so", self.assert_clean("sized", wheel))
        audit = self.run_program("audit", wheel, "-l", "--python", TORCH, "--json")
        torch = [found for found in json.loads(audit.stdout)["hosts"][0]["findings"]
                 if found["rule"] == "torch"]
        self.assertEqual([found["severity"] for found in torch], ["ok"], torch)

    @needs_nvcc
    def test_cuda_op(self):
        self.op("plain")
        self.op("kernel", kind="cuda", more="links_torch: true", text=self.CUDA)
        wheel = self.built(DS_SKIP_CUDA_CHECK="1", TORCH_CUDA_ARCH_LIST="8.0").stdout.strip()
        self.assertIn("libc10_cuda.so", self.assert_clean("kernel", wheel))
        nvcc = json.loads(self.run_program(*self.words(
            "build", "-l", "--python", TORCH, "--dry-run", "--json")).stdout)["toolkits"]
        version = [kit["version"] for kit in nvcc if kit["chosen"]][0]
        refused = self.run_program(*self.words("jit", "kernel", "--python", TORCH))
        if version.split(".")[0] == self.torch["cuda"].split(".")[0]:
            self.skipTest("nvcc and torch have the same CUDA: nothing to refuse")
        self.assertEqual(refused.returncode, 9, refused.stdout)
        for part in ("CUDA " + version, "with CUDA " + self.torch["cuda"], "CUDA_HOME",
                     "DS_SKIP_CUDA_CHECK=1"):
            self.assertIn(part, re.sub(r"\s+", " ", refused.stderr))


if __name__ == "__main__":
    unittest.main()
