# SPDX-License-Identifier: Apache-2.0
"""The newest DeepSpeed, built by one command and put to use: each test asks one thing of one wheel.

A few ops always, all that build in --long, there also with a newer torch; support/real_parts.py
says what they need. Compilers are out of reach wherever DeepSpeed runs, so that an op that it would
compile itself is a failure. Where there is no GPU, DeepSpeed would take itself for one that is made
for CPUs and would ignore what is installed: DS_ACCELERATOR=cuda tells it.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import zipfile

from support import device_code, prepare_torch, real_wheel
from support.deploy_case import BUILD_FOLDER, PROGRAM, TESTS, clean_environment
from support.real_parts import (TORCH, needs_modules, needs_nvcc, needs_sources, needs_torch,
                                only_long)

LOAD = """
import json, os, sys
import deepspeed.ops.op_builder as builders
from deepspeed.ops.op_builder.all_ops import ALL_OPS
found = {}
for name in sys.argv[1:]:
    builder = getattr(builders, type(ALL_OPS[name]).__name__)
    try:
        found[name] = builder().load().__file__
    except Exception as error:
        found[name] = "%s: %s" % (type(error).__name__, error)
os.write(1, b"\\n" + json.dumps(found).encode())
"""
# Written by the op and read as a plain file; a plain file, read by the op. What one thread takes
# has to be a multiple of 512 bytes: O_DIRECT knows no less, and DeepSpeed leaves the rest to its
# caller.
FILES = """
import os, sys
import torch
from deepspeed.ops.op_builder import AsyncIOBuilder
folder, sizes = sys.argv[1], [512, 1 << 20, (4 << 20) + 512, (1 << 20) + 3072]
for threads in (1, 2):
    handle = AsyncIOBuilder().load().aio_handle(1 << 18, 8, False, True, threads)
    for size in sizes:
        if size % (512 * threads):
            continue
        data = torch.randint(0, 256, (size,), dtype=torch.uint8)
        path = os.path.join(folder, "%d-%d" % (threads, size))
        handle.sync_pwrite(data, path)
        with open(path, "rb") as file:
            assert file.read() == bytes(data.tolist()), "written: %d" % size
        other = os.urandom(size)
        with open(path + "b", "wb") as file:
            file.write(other)
        buffer = torch.zeros(size, dtype=torch.uint8)
        handle.sync_pread(buffer, path + "b")
        assert bytes(buffer.tolist()) == other, "read: %d" % size
        buffer.zero_()
        assert handle.async_pread(buffer, path) == 0
        assert handle.wait() == 1
        assert torch.equal(buffer, data), "read later: %d" % size
        print("compared", threads, size)
"""


class InUse:
    """The tests, for a choice of ops and a torch."""

    ops = real_wheel.FEW
    torch = TORCH

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.names = real_wheel.NAMES[cls.ops]
        cls.wheel = real_wheel.build(cls.ops, cls.torch)
        with contextlib.ExitStack() as stack:
            cls.python = stack.enter_context(real_wheel.installed(cls.wheel, cls.torch))
            cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
            stack.callback(shutil.rmtree, cls.folder)
            cls.addClassCleanup(stack.pop_all().close)
        with zipfile.ZipFile(cls.wheel) as archive:
            archive.extractall(cls.folder / "wheel", [
                name for name in archive.namelist() if name.endswith(".so")])
        cls.libraries = {re.sub(r"_op\..*", "", path.name): path
                         for path in (cls.folder / "wheel").rglob("*.so")}
        cls.driver = real_wheel.driver(cls.folder)
        cls.inspected = {name: cls.inspect(path) for name, path in cls.libraries.items()}

    @staticmethod
    def inspect(path):
        done = subprocess.run([PROGRAM, "inspect", str(path), "--json"], text=True, check=True,
                              stdout=subprocess.PIPE, env=clean_environment())
        return json.loads(done.stdout)

    def says(self, *words, **variables):
        """What the interpreter with the wheel prints; nothing was compiled for it."""
        nowhere = self.folder / "extensions"
        if self.driver:
            variables["LD_LIBRARY_PATH"] = self.driver
        said = real_wheel.says(self.python, *words, out_of_reach=nowhere, **variables)
        self.assertFalse(nowhere.exists())
        return said

    def test_one_library_for_each_op(self):
        self.assertEqual(set(self.libraries), self.names)

    def test_ds_report_says_yes(self):
        said = self.says(self.python.parent / "ds_report")
        installed = set(re.findall(r"(?m)^(\w+) \.+ \S*\[YES\]", said))
        self.assertEqual(installed, self.names, said)

    def test_every_op_is_loaded_by_its_builder(self):
        loadable = set(self.names)
        if self.driver is None:
            loadable -= {name for name, one in self.inspected.items()
                         if "libcuda.so.1" in one["requirements"]["needed"]}
        found = json.loads(self.says("-c", LOAD, *sorted(loadable)).splitlines()[-1])
        site = str(self.python.parent.parent)
        for name in loadable:
            with self.subTest(name):
                self.assertRegex(found[name], "^%s/.*/deepspeed/ops/(.*/)?%s_op[.]" % (
                    re.escape(site), name))

    def test_an_op_that_is_not_taken_is_not_compiled_either(self):
        """So that the test above cannot pass by compiling."""
        said = self.says("-c", LOAD, "cpu_adam", DS_ACCELERATOR="cpu").splitlines()[-1]
        self.assertRegex(json.loads(said)["cpu_adam"], "^[A-Za-z]+Error: ")

    def check_optimizers(self, name, cases):
        found = json.loads(self.says(TESTS / "support" / "optimizers.py", name).splitlines()[-1])
        self.assertEqual(len(found), cases)
        for case, said in found.items():
            with self.subTest(case):
                self.assertLessEqual(said["difference"], 1)
                self.assertGreater(said["moved"], 0.05)

    def test_cpu_adam_is_right(self):
        self.check_optimizers("cpu_adam", 36)

    def test_architectures_are_those_asked_for(self):
        """In every unit of every op with device code, whichever op was compiled before it."""
        found = {}
        for name, one in self.inspected.items():
            gpu = one["libraries"][0]["gpu"]
            if gpu:
                found[name] = gpu["sass_all_units"], gpu["sass"], gpu["ptx"]
        self.assertEqual(found, {name: (["80", "90"], ["80", "90"], [])
                                 for name in self.names & real_wheel.DEVICE_CODE})

    def test_no_cpu_above_the_level(self):
        for name, one in self.inspected.items():
            with self.subTest(name):
                self.assertLessEqual(one["requirements"]["cpu_level"], real_wheel.CPU_LEVEL)
        self.assertLessEqual(self.inspect(self.wheel)["requirements"]["cpu_level"],
                             real_wheel.CPU_LEVEL)

    def test_nothing_of_the_build_machine(self):
        places = real_wheel.places_of_the_build(self.torch)
        for name, library in self.libraries.items():
            with self.subTest(name):
                dynamic = subprocess.run(["readelf", "-dW", str(library)], text=True, check=True,
                                         stdout=subprocess.PIPE).stdout
                self.assertNotRegex(dynamic, r"\((RPATH|RUNPATH)\)")
                content = library.read_bytes()
                self.assertEqual([place for place in places if place.encode() in content], [])


@needs_torch
@needs_sources
@needs_modules
@needs_nvcc
class FewOps(InUse, unittest.TestCase):
    """In every run of the tests."""


class AllThatBuild(InUse):
    ops = real_wheel.ALL

    def test_cpu_adagrad_is_right(self):
        self.check_optimizers("cpu_adagrad", 18)

    def test_async_io_reads_and_writes_files(self):
        if self.driver is None:
            self.skipTest("async_io links the driver, and neither that nor a stub is here")
        with tempfile.TemporaryDirectory(dir=BUILD_FOLDER) as folder:
            try:
                os.close(os.open(folder + "/x", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
            except OSError:
                self.skipTest("the disk below %s knows no O_DIRECT" % BUILD_FOLDER)
            said = self.says("-c", FILES, folder)
        self.assertEqual(said.count("compared"), 6)

    def test_two_ops_of_the_same_sources_hold_different_code(self):
        """transformer and stochastic_transformer compile the same files with other macros.

        Upstream writes the objects of both to the same paths: with -j8 all its ops are compiled at
        one time, each link takes what was written last, and both libraries hold the same kernels.
        """
        both = [device_code.kernels(self.torch, self.libraries[name])
                for name in ("transformer", "stochastic_transformer")]
        self.assertEqual(*map(set, both))
        for arch in ("sm_80", "sm_90"):
            other = {name for where, name in both[0]
                     if where == arch and both[0][where, name] != both[1][where, name]}
            self.assertTrue(any("dropout" in name for name in other), other)
            self.assertTrue(any("layer_norm" in name.lower() for name in other), other)

    def plan(self, ops, archs):
        done = subprocess.run(
            [str(word) for word in real_wheel.words(self.torch)] + ["--dry-run", "--json"],
            text=True, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**real_wheel.chosen(ops), "TORCH_CUDA_ARCH_LIST": archs})
        return json.loads(done.stdout)["jobs"]

    def test_the_same_objects_would_be_noticed(self):
        """Both linked of the objects of one, as upstream's -j8 way does."""
        link, = (job["command"] for job in self.plan(self.ops, "8.0;9.0")
                 if job["name"] == "link stochastic_transformer_op.so")
        build = real_wheel.folder(self.ops, self.torch) / "build"
        objects = [build / word for word in link if word.startswith("obj/")]
        self.assertEqual(len(objects), 8)
        linked = []
        for name in ("transformer", "stochastic_transformer"):
            linked.append(self.folder / ("again_%s.so" % name))
            subprocess.run(["g++", "-shared", "-o", str(linked[-1]), *map(str, objects)],
                           check=True)
        self.assertEqual(*(device_code.kernels(self.torch, library) for library in linked))

    def test_the_order_of_ops_and_of_architectures_changes_nothing(self):
        commands = [{job["name"]: [word for word in job["command"] if "gencode" in word]
                     for job in self.plan(ops, archs)}
                    for ops, archs in ((self.ops, "8.0;9.0"), (self.ops[::-1], "9.0;8.0"))]
        self.assertEqual(*commands)
        for name, words in commands[0].items():
            if name.startswith("nvcc "):
                self.assertEqual([re.sub(r".*code=", "", word) for word in words],
                                 ["sm_80", "sm_90"], name)


@only_long
@needs_torch
@needs_sources
@needs_modules
@needs_nvcc
class AllOps(AllThatBuild, unittest.TestCase):
    """Twelve ops, and pin_memory, which async_io brings."""


@only_long
@needs_torch
@needs_sources
@needs_modules
@needs_nvcc
class AllOpsOfANewerTorch(AllThatBuild, unittest.TestCase):
    """Upstream's own build stops at quantizer: this torch needs C++20, and that passes C++17.

    DS_DEPLOY_TEST_TORCH215_PYTHON names an interpreter with it; otherwise it is prepared.
    """

    @classmethod
    def setUpClass(cls):
        cls.torch = os.environ.get("DS_DEPLOY_TEST_TORCH215_PYTHON", "")
        if not cls.torch:
            try:
                cls.torch = str(prepare_torch.Workshop(seconds=1800).torch("2.15"))
            except prepare_torch.Unprepared as error:
                raise unittest.SkipTest(str(error)) from error
        super().setUpClass()


if __name__ == "__main__":
    unittest.main()
