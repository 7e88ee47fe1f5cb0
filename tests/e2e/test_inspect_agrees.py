# SPDX-License-Identifier: Apache-2.0
"""What `inspect` says of libraries, field by field beside readelf and cuobjdump.

In the short run: the system's C and C++ libraries and one of the op library's. With --long: every
library of DS_DEPLOY_TEST_TORCH_PYTHON's environment (torch and NVIDIA's own), of the CUDA toolkit,
and libraries made here for all architectures and compression modes of this nvcc.
cuobjdump: DS_DEPLOY_TEST_CUOBJDUMP, or in PATH, else what it would say is not compared.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from support.deploy_case import DeployCase
from support.find_nvcc import find_nvcc
from support.real_parts import TORCH, needs_nvcc, needs_torch, only_long

CUOBJDUMP = os.environ.get("DS_DEPLOY_TEST_CUOBJDUMP") or shutil.which("cuobjdump")
KERNEL = """
#include <cuda_runtime.h>
__global__ void scale(float* x, float y) { x[threadIdx.x] *= y; }
extern "C" void run(float* x) { scale<<<1, 32>>>(x, 2); }
"""


def output(*words):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, errors="replace", check=True,
                          env=dict(os.environ, LC_ALL="C"))
    return done.stdout


def numbers(version):
    return tuple(map(int, version.split(".")))


def highest(versions, family):
    found = [name[len(family):] for name in versions
             if re.fullmatch(re.escape(family) + r"[0-9.]+", name)]
    return max(found, key=numbers, default="")


def by_readelf(path):
    """The fields of inspect that readelf knows."""
    dynamic = output("readelf", "-dW", path)

    def tagged(tag):
        return re.findall(r"\(%s\).*?\[(.*)\]" % tag, dynamic)

    strong, weak = [], []
    in_needs = False
    for line in output("readelf", "-VW", path).splitlines():
        if line.startswith("Version "):
            in_needs = line.startswith("Version needs")
        found = re.search(r"Name: (\S+)\s+Flags: (\S+)", line)
        if in_needs and found:
            (weak if "WEAK" in found.group(2) else strong).append(found.group(1))
    glibc = highest(strong, "GLIBC_")
    if "GLIBC_ABI_DT_RELR" in strong:
        glibc = max(glibc, "2.36", key=numbers)
    undefined = 0
    for line in output("readelf", "--dyn-syms", "-W", path).splitlines():
        words = line.split()
        if len(words) >= 8 and words[6] == "UND" and words[4] == "GLOBAL":
            undefined += 1
    level = 0
    found = re.search(r"x86 ISA needed: (.*)", output("readelf", "-nW", path))
    if found:
        named = {"x86-64-baseline": 1, "x86-64-v2": 2, "x86-64-v3": 3, "x86-64-v4": 4}
        level = max((named.get(word.strip(), 0) for word in found.group(1).split(",")), default=0)
    return {"needed": tagged("NEEDED"), "soname": "".join(tagged("SONAME")),
            "rpath": "".join(tagged("RPATH")), "runpath": "".join(tagged("RUNPATH")),
            "glibc": glibc, "glibcxx": highest(strong, "GLIBCXX_"),
            "cxxabi": highest(strong, "CXXABI_"), "gcc": highest(strong, "GCC_"),
            "weak_versions": sorted(weak), "undefined": undefined, "cpu_level": level}


def by_cuobjdump(path):
    """Architectures of machine code and PTX; the names of listed files leave out 'a' and 'f'."""
    def listed(option, ending):
        done = subprocess.run([CUOBJDUMP, option, str(path)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        if done.returncode != 0 and "does not contain device code" not in done.stdout:
            raise AssertionError(done.stdout[-300:])
        return set(re.findall(r"\.sm_(\d+)[af]?\.%s" % ending, done.stdout))

    return {"sass": listed("--list-elf", "cubin"), "ptx": listed("--list-ptx", "ptx")}


class AgreesCase(DeployCase):
    def compare(self, path):
        done = self.run_program("inspect", path, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        library = json.loads(done.stdout)["libraries"][0]
        library["weak_versions"] = sorted(library["weak_versions"])
        expected = by_readelf(path)
        self.assertEqual({name: library[name] for name in expected}, expected, path)
        self.compare_images(path, library["gpu"])

    def compare_images(self, path, gpu):
        if not CUOBJDUMP:
            return
        expected = by_cuobjdump(path)
        gpu = gpu or {"sass": [], "ptx": []}
        self.assertEqual({arch.rstrip("af") for arch in gpu["sass"]}, expected["sass"], path)
        self.assertEqual({image["arch"].rstrip("af") for image in gpu["ptx"]}, expected["ptx"],
                         path)


class Some(AgreesCase):
    def test_libraries_of_the_system(self):
        listed = output("ldconfig", "-p") if shutil.which("ldconfig") else output(
            "/sbin/ldconfig", "-p")
        for name in ("libc.so.6", "libstdc++.so.6", "libm.so.6", "libgcc_s.so.1"):
            with self.subTest(name):
                found = re.search(r"%s \(libc6,x86-64.*=> (.*)" % re.escape(name), listed)
                self.compare(found.group(1))


@only_long
class All(AgreesCase):
    def compare_below(self, folder):
        files = [path for path in sorted(pathlib.Path(folder).rglob("*.so*"))
                 if path.is_file() and not path.is_symlink()
                 and path.read_bytes()[:5] == b"\177ELF\2"]
        self.assertGreater(len(files), 3)
        for path in files:
            with self.subTest(path.name):
                self.compare(path)

    @needs_torch
    def test_every_library_of_an_environment_with_torch(self):
        self.compare_below(output(TORCH, "-c", "import sysconfig; "
                                               "print(sysconfig.get_paths()['platlib'])").strip())

    @needs_nvcc
    def test_every_library_of_the_toolkit(self):
        self.compare_below(pathlib.Path(os.path.realpath(find_nvcc())).parent.parent)

    @needs_nvcc
    def test_every_architecture_and_compression(self):
        nvcc = find_nvcc()
        source = self.write("scale.cu", KERNEL)
        archs = re.findall(r"sm_(\d+)$", output(nvcc, "--list-gpu-code"), re.M)
        images = [word for arch in archs
                  for word in ("-gencode", "arch=compute_%s,code=sm_%s" % (arch, arch))]
        images += ["-gencode", "arch=compute_%s,code=compute_%s" % (archs[-1], archs[-1])]
        for mode in ("default", "size", "speed", "balance", "none"):
            for more in ([], ["-rdc=true"]):
                library = self.folder / ("lib%s%d.so" % (mode, len(more)))
                with self.subTest(library.name):
                    subprocess.run(
                        [nvcc, "-shared", "-Xcompiler", "-fPIC", *images, *more, "-o", library,
                         source] + ([] if mode == "default" else ["--compress-mode=" + mode]),
                        check=True)
                    self.compare(library)
                    gpu = json.loads(self.run_program("inspect", library, "--json").stdout)[
                        "libraries"][0]["gpu"]
                    self.assertEqual(gpu["sass"], sorted(archs, key=int))
                    # What the device linker made has the size of "none" under "speed" too.
                    self.assertIn({"none": "none", "size": "zstd",
                                   "speed": "none" if more else "lz4"}.get(mode, "none"),
                                  gpu["compression"])


if __name__ == "__main__":
    unittest.main()
