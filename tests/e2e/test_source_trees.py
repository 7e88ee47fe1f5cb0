# SPDX-License-Identifier: Apache-2.0
"""Trees of DeepSpeed, old and new, whole and broken, read and planned; see support/real_parts."""
import json
import os
import pathlib
import re
import subprocess
import tarfile
import unittest
import zipfile

from support.deploy_case import clean_environment
from support.real_parts import (TORCH, needs_nvcc, needs_sources, needs_torch, newest,
                                sdists)
from support.source_case import SourceCase


@needs_sources
class RealTrees(SourceCase):
    SEED = ("utils", "cpu_adam", "cpu_adagrad", "fused_adam", "fused_lamb", "quantizer",
            "random_ltd", "spatial_inference", "async_io", "transformer", "stochastic_transformer",
            "transformer_inference")
    # What may be missing on a machine, as its builders say it.
    LACKING = r"libaio|CUTLASS|dskernels|triton|lcufile|torch version"

    def judge(self, found):
        for name, op in found.items():
            with self.subTest(name):
                self.assertTrue(op["compatible"] or re.search(self.LACKING, op["because"]),
                                op["because"])
                if op["compatible"]:
                    self.assertTrue(all((pathlib.Path(self.answer["root"]) / source).is_file()
                                        for source in op["sources"]))

    def test_without_torch(self):
        for version, path in sdists().items():
            with self.subTest(version):
                found = self.read(source=path)
                self.assertEqual(self.answer["problem"], "")
                self.judge(found)
                # utils was gone for a while.
                missing = set(self.SEED) - set(found)
                self.assertLessEqual(missing, {"utils"})
                self.assertTrue(found["cpu_adam"]["compatible"])
                self.assertTrue(found["transformer"]["cuda"])
                self.assertEqual(found["transformer_inference"]["minimum_compute_capability"],
                                 "6.0")

    @needs_torch
    def test_as_upstreams_own_build(self):
        """Sources and flags equal what torch's own classes are given by the same tree."""
        path = newest()
        done = self.run_source(source=path, python=TORCH, stub=None, env=clean_environment())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.answer = json.loads(done.stdout)
        found = {op["name"]: op for op in self.answer["ops"]}
        self.judge(found)
        self.assertGreaterEqual(len(found), 23)
        script = (
            "import json, os, sys\nsys.modules['deepspeed'] = None\n"
            "sys.path.insert(0, os.getcwd())\nours = os.dup(1)\nos.dup2(2, 1)\n"
            "from op_builder.all_ops import ALL_OPS\nfound = {}\n"
            "for name in sys.argv[1:]:\n    os.environ['TORCH_CUDA_ARCH_LIST'] = '8.0'\n"
            "    made = ALL_OPS[name].builder()\n"
            "    found[name] = [made.name, made.sources, made.extra_compile_args,\n"
            "                   made.extra_link_args, made.include_dirs, made.libraries]\n"
            "os.write(ours, json.dumps(found).encode())\n")
        asked = [name for name in (*self.SEED, "pin_memory") if name in found]
        self.assertEqual(len(asked), 13)
        real = json.loads(subprocess.run(
            [TORCH, "-B", "-c", script, *asked], cwd=self.answer["root"], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, check=True, env=clean_environment(
                DS_ACCELERATOR="cuda", DS_SKIP_CUDA_CHECK="1",
                CUDA_HOME=str(self.folder / "toolkit"))).stdout)
        for name in asked:
            with self.subTest(name):
                op = found[name]
                module, sources, flags, link_flags, include, libraries = real[name]
                self.assertEqual((op["module"], op["sources"]), (module, sources))
                # torch's class may put the flags of the op into nvcc's.
                self.assertEqual(op["cxx_flags"], flags.get("cxx", []))
                self.assertEqual(op["nvcc_flags"], [
                    word for word in flags.get("nvcc", []) if word != "-dlink"])
                self.assertEqual(op["link_flags"], link_flags or [])
                adds = self.answer["torch"]["cuda_extension" if op["links_cuda"] else "cpp"]
                whole = [os.path.join(self.answer["root"], path) for path in op["include"]]
                self.assertEqual(whole + adds["include"], include)
                self.assertEqual(op["libraries"] + adds["libraries"], libraries)


@needs_sources
@needs_torch
class Planned(SourceCase):
    """By the whole program, for a real torch."""

    LEVEL = ("--cpu-level", "2")
    # What is wrong with the tree, and what its builders say of what is missing beside it.
    BROKEN = {"fused_lamb": r"is_compatible\(\) raised OSError: no disk",
              "random_ltd": r"op_builder/random_ltd\.py: SyntaxError",
              "quantizer": r"1 of its sources are not there, such as csrc/quantization/gone\.cu",
              "async_io": "requires the dev libaio",
              "evoformer_attn": "CUTLASS",
              "cutlass_ops": "No module named 'dskernels'",
              "ragged_device_ops": "No module named 'dskernels'"}

    def program(self, source, *words, python=TORCH, **variables):
        done = self.run_program("build", "-l", "--source", source, "--python", python, *self.LEVEL,
                                *words, env=clean_environment(TORCH_CUDA_ARCH_LIST="8.0;9.0",
                                                              **variables))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    @needs_nvcc
    def test_every_age(self):
        for sdist in sdists().values():
            with self.subTest(sdist.name):
                plan = self.program(sdist, "--dry-run", "-v").stdout
                self.assertIn("-D__SCALAR__", plan)
                for gone in ("=native", "sm_70", "rpath", " -g "):
                    self.assertNotIn(gone, plan)
                plan = json.loads(self.program(sdist, "--dry-run", "--json").stdout)
                named = [op["name"] for op in plan["ops"] + plan["left_out"]]
                self.assertEqual(len(named), len(set(named)))
                self.assertGreaterEqual(len(named), 13)
                for op in plan["left_out"]:
                    self.assertTrue(op["because"], op["name"])

    def broken_copy(self):
        """Of the newest tree; all that can be wrong at one time."""
        with tarfile.open(newest()) as archive:
            archive.extractall(self.folder / "copy")
        tree, = (self.folder / "copy").iterdir()
        builders = tree / "op_builder"
        lamb = builders / "fused_lamb.py"
        lamb.write_text(lamb.read_text() + "\n    def is_compatible(self, verbose=False):\n"
                                           "        raise OSError('no disk')\n")
        (builders / "random_ltd.py").write_text("def (:\n")
        (tree / "csrc/quantization/quantize.cu").rename(self.folder / "away.cu")
        quantizer = builders / "quantizer.py"
        quantizer.write_text(quantizer.read_text().replace("quantization/quantize.cu",
                                                           "quantization/gone.cu"))
        (builders / "brand_new.py").write_text(
            "from .builder import OpBuilder\n\n\nclass BrandNewBuilder(OpBuilder):\n"
            "    BUILD_VAR = 'DS_BUILD_BRAND_NEW'\n    NAME = 'brand_new'\n\n"
            "    def __init__(self):\n        super().__init__(name=self.NAME)\n\n"
            "    def absolute_name(self):\n        return 'deepspeed.ops.brand_new_op'\n\n"
            "    def sources(self):\n        return ['csrc/brand_new.cpp']\n\n"
            "    def include_paths(self):\n        return []\n")
        (tree / "csrc/brand_new.cpp").write_text('extern "C" int brand_new() { return 7; }\n')
        return tree

    def without_libaio(self):
        """A compiler that finds what is here, but for libaio: as where its package is missing."""
        compiler = self.write("cc", "#!/bin/sh\nfor word; do\n    if [ \"$word\" = -laio ]; then\n"
                                    "        echo 'ld: cannot find -laio' >&2\n        exit 1\n"
                                    "    fi\ndone\nexec gcc \"$@\"\n")
        compiler.chmod(0o755)
        return str(compiler)

    def test_a_broken_tree_gives_a_verdict_for_each_op(self):
        tree = self.broken_copy()
        whole = json.loads(self.program(newest(), "--dry-run", "--json").stdout)
        broken = json.loads(self.program(tree, "--dry-run", "--json", python=self.python_of_less(),
                                         CC=self.without_libaio(), CUTLASS_PATH="").stdout)
        because = {op["name"]: op["because"] for op in broken["left_out"]}
        for name, reason in self.BROKEN.items():
            with self.subTest(name):
                self.assertRegex(because.get(name, "it is planned"), reason)
        self.assertEqual(
            {op["name"] for op in broken["ops"]},
            {op["name"] for op in whole["ops"]} - set(self.BROKEN) | {"brand_new"})

    def python_of_less(self):
        return self.torch_without(TORCH, "triton", "dskernels", "deepspeed_kernels", "cutlass",
                                  "nvidia_cutlass")

    def test_triton_is_missing(self):
        """Trees of the middle compile an op for it only where it is there."""
        middle = [path for version, path in sdists().items() if (0, 13) < version < (0, 16)]
        if not middle:
            self.skipTest("DS_DEPLOY_TEST_SOURCES has no tree that asks for triton")
        plan = json.loads(self.program(middle[-1], "--dry-run", "--json",
                                       python=self.python_of_less()).stdout)
        because = {op["name"]: op["because"] for op in plan["left_out"]}
        self.assertRegex(because["fp_quantizer"], "please install triton")
        self.assertIn("cpu_adam", [op["name"] for op in plan["ops"]])

    def test_the_rest_is_built(self):
        done = self.program(self.broken_copy(), "--build-dir", self.folder / "build", "--output",
                            self.folder, DS_BUILD_OPS="0", DS_BUILD_UTILS="1",
                            DS_BUILD_BRAND_NEW="1")
        with zipfile.ZipFile(done.stdout.strip()) as wheel:
            libraries = [name.split(".")[0] for name in wheel.namelist() if name.endswith(".so")]
        self.assertEqual(sorted(libraries),
                         ["deepspeed/ops/brand_new_op", "deepspeed/ops/utils_op"])


if __name__ == "__main__":
    unittest.main()
