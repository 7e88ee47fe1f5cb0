# SPDX-License-Identifier: Apache-2.0
"""Ops of foreign trees, compiled: the words are torch's, what is of this machine is not in them.

A small tree, with a real torch; see support/real_parts.py.
"""
import json
import pathlib
import subprocess
import unittest

from support.deploy_case import clean_environment
from support.real_parts import TORCH, needs_nvcc, needs_torch, only_long
from support.real_wheel import places_of_the_build
from support.source_case import SourceCase

BINDING = """
#include <torch/extension.h>
#include <stdexcept>
static int vectors() {
#if defined(__AVX512__)
  return 512;
#elif defined(__AVX256__)
  return 256;
#else
  return 0;
#endif
}
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("vectors", &vectors);
  m.def("where", [] { return std::string(__FILE__); });
  m.def("sum", [](torch::Tensor t) { TORCH_CHECK(t.dim() == 1, "flat"); return t.sum(); });
}
"""
# Without torch's headers, which take half a minute.
LIGHT = """
#include <pybind11/pybind11.h>
void run(float*);
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("run", [] { run(nullptr); }); }
"""
KERNEL = """
#include <cuda_runtime.h>
#include <cassert>
__global__ void add(float* x, float y) { assert(y > 0); x[threadIdx.x] += y * FACTOR; }
void run(float* x) { add<<<1, 32>>>(x, 1); }
"""


class BuildCase(SourceCase):
    build = None

    def setUp(self):
        super().setUp()
        self.build = self.build or self.folder / "build"

    def compile(self, source, *words, **variables):
        """The libraries by op."""
        done = self.run_program(
            "build", "-l", "--source", source, "--python", TORCH, "--build-dir", self.build,
            "--output", self.folder / "dist", *words, env=clean_environment(**variables))
        self.said = done.stderr
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return {path.parent.name: path for path in (self.build / "lib").glob("*/*.so")}

    def dry_run(self, source, *words, status=0, **variables):
        done = self.run_program(
            "build", "-l", "--source", source, "--python", TORCH, "--dry-run", *words,
            env=clean_environment(**variables))
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout if status == 0 else done.stderr

    def needs(self, library):
        done = self.run_program("inspect", library, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        return {"cpu_level": answer["requirements"]["cpu_level"],
                "sass": (answer["libraries"][0]["gpu"] or {}).get("sass_all_units", [])}

    def dynamic(self, library):
        return subprocess.run(["readelf", "-dW", str(library)], stdout=subprocess.PIPE, text=True,
                              check=True).stdout

    def assert_portable(self, library, level):
        """No run path, no folder of this machine, no CPU above the one that was asked for."""
        self.assertNotRegex(self.dynamic(library), r"\((RPATH|RUNPATH)\)")
        content = library.read_bytes()
        for place in (*places_of_the_build(TORCH), str(self.folder), str(self.build)):
            self.assertNotIn(place.encode(), content, library)
        self.assertLessEqual(self.needs(library)["cpu_level"], level)


@needs_torch
class SmallTree(BuildCase):
    """One with torch's real headers."""

    def setUp(self):
        super().setUp()
        self.make_installable()
        self.op("host", "def cxx_args(self):\n"
                        "    return ['-O3', '-g', '-march=native', '-D__AVX512__']")
        self.write("tree/csrc/host.cpp", BINDING)
        self.op("broken", "def sources(self):\n    raise OSError('no disk')")

    def test_a_host_op(self):
        libraries = self.compile(self.root, "--cpu-level", "3")
        self.assertEqual(list(libraries), ["host"])
        self.assert_portable(libraries["host"], 3)
        self.assertIn("libtorch_python.so", self.dynamic(libraries["host"]))
        self.assertIn("broken is left out: builder() raised OSError: no disk", self.said)
        module = self.folder / "host_op.so"
        module.write_bytes(libraries["host"].read_bytes())
        said = subprocess.run([TORCH, "-c", (
            "import torch, host_op; "
            "print(host_op.vectors(), host_op.where(), int(host_op.sum(torch.arange(5))))")],
            stdout=subprocess.PIPE, text=True, check=True, cwd="/",
            env=clean_environment(PYTHONPATH=str(self.folder))).stdout
        self.assertEqual(said.strip(), "256 csrc/host.cpp 10")
        # The same once more: nothing is compiled; in another place: from the cache.
        self.compile(self.root, "--cpu-level", "3", "-v")
        self.assertRegex(self.said, r"build: 0 jobs ran .*2 up to date")
        self.build = self.folder / "elsewhere"
        self.compile(self.root, "--cpu-level", "3", "-v")
        self.assertRegex(self.said, r"build: 0 jobs ran .*2 from the cache")

    def exported(self, library):
        """What is defined there, weak symbols too."""
        text = subprocess.run(["nm", "-D", "--defined-only", str(library)],
                              stdout=subprocess.PIPE, text=True, check=True).stdout
        return sorted(line.split(maxsplit=1)[1] for line in text.splitlines())

    @only_long
    def test_a_precompiled_header_changes_nothing(self):
        more = ["csrc/more%d.cpp" % number for number in range(4)]
        self.op("fivefold", "def sources(self):\n    return %r" % (["csrc/host.cpp"] + more))
        for source in more:
            self.write("tree/" + source, "#include <torch/extension.h>\n"
                                         "int %s(torch::Tensor t) { return t.dim(); }\n"
                                         % pathlib.Path(source).stem)
        wanted = {"DS_BUILD_FIVEFOLD": "1", "CXXFLAGS": "-Winvalid-pch"}
        own_cache = ("--cache-dir", self.folder / "cache")
        with_header = self.compile(self.root, *own_cache, **wanted)["fivefold"]
        self.assertIn("torch/extension.h, precompiled for 5 sources", self.said)
        self.assertNotIn("invalid-pch", self.said)
        self.assertEqual(list(self.build.rglob("*.gch")), [])
        self.build = self.folder / "without"
        without = self.compile(self.root, "--no-pch", *own_cache, **wanted)["fivefold"]
        self.assertNotIn("precompiled", self.said)
        self.assertEqual(self.exported(with_header), self.exported(without))

    def test_what_is_asked_for_must_be_built(self):
        self.assertIn("broken: builder() raised OSError: no disk",
                      self.dry_run(self.root, status=9, DS_BUILD_BROKEN="1"))

    def test_flags_are_explained(self):
        text = self.dry_run(self.root, "--explain-flags", "host", "--cpu-level", "3")
        self.assertIn("-march=native becomes -march=x86-64-v3", text)
        self.assertIn("-DTORCH_EXTENSION_NAME=host_op", text)
        self.assertIn("nobody", self.dry_run(self.root, "--explain-flags", "nobody", status=2))

    @needs_nvcc
    def test_two_ops_of_one_kernel(self):
        for name, factor in (("single", 1), ("double_", 2)):
            self.op(name, "def sources(self):\n    return ['csrc/%s.cpp', 'csrc/shared.cu']\n"
                          "def nvcc_args(self):\n    return ['-DFACTOR=%d', '-lineinfo']"
                          % (name, factor), base="CUDAOpBuilder")
            self.write("tree/csrc/%s.cpp" % name, LIGHT)
        self.write("tree/csrc/shared.cu", KERNEL)
        libraries = self.compile(self.root, TORCH_CUDA_ARCH_LIST="8.0;9.0", DS_BUILD_SINGLE="1",
                                 DS_BUILD_DOUBLE_="1")
        self.assertEqual(sorted(libraries), ["double_", "single"])
        objects = [next((self.build / "obj" / name).glob("*.cu.*.o")).read_bytes()
                   for name in ("single", "double_")]
        self.assertNotEqual(*objects)
        for name in ("single", "double_"):
            self.assert_portable(libraries[name], 4)
            self.assertEqual(self.needs(libraries[name])["sass"], ["80", "90"])
            self.assertIn("libcudart.so", self.dynamic(libraries[name]))


if __name__ == "__main__":
    unittest.main()
