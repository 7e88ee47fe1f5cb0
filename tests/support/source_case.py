# SPDX-License-Identifier: Apache-2.0
"""What the tests of foreign sources share: a small tree in DeepSpeed's shape, and its reading."""
import importlib.util
import json
import pathlib
import subprocess
import sys
import textwrap

from support.deploy_case import DeployCase, clean_environment
from support.real_parts import TORCH, site_packages

BASE = '''
import os
import torch

class OpBuilder:
    def __init__(self, name=None):
        self.name = name or self.NAME
        self.error_log = None
    def absolute_name(self):
        return "deepspeed.ops.%s_op" % self.name
    def sources(self):
        return ["csrc/%s.cpp" % self.name]
    def include_paths(self):
        return ["csrc/includes"]
    def cxx_args(self):
        return ["-O3", "-march=native"]
    def extra_ldflags(self):
        return []
    def is_compatible(self, verbose=True):
        return True
    def warning(self, message):
        self.error_log = message
        print("warning: %s" % message)
    def builder(self):
        from torch.utils.cpp_extension import CppExtension
        return CppExtension(name=self.absolute_name(), sources=self.sources(),
                            include_dirs=[os.path.abspath(x) for x in self.include_paths()],
                            extra_compile_args={"cxx": self.cxx_args()},
                            extra_link_args=self.extra_ldflags())

class CUDAOpBuilder(OpBuilder):
    def sources(self):
        return ["csrc/%s.cpp" % self.name, "csrc/%s.cu" % self.name]
    def filter_ccs(self, ccs):
        return ccs
    def nvcc_args(self):
        archs = self.filter_ccs(os.environ.get("TORCH_CUDA_ARCH_LIST", "6.0;9.9").split(";"))
        os.environ["TORCH_CUDA_ARCH_LIST"] = "leaked"
        return ["-gencode=%s" % arch for arch in archs]
    def builder(self):
        if torch.utils.cpp_extension.CUDA_HOME is None:
            return super().builder()
        from torch.utils.cpp_extension import CUDAExtension
        return CUDAExtension(name=self.absolute_name(), sources=self.sources(),
                             include_dirs=[os.path.abspath(x) for x in self.include_paths()],
                             extra_compile_args={"cxx": self.cxx_args(), "nvcc": self.nvcc_args()},
                             extra_link_args=self.extra_ldflags())
'''
ALL_OPS = '''
import importlib, os, pkgutil
import op_builder
ALL_OPS = {}
for _, name, _ in pkgutil.iter_modules([os.path.dirname(op_builder.__file__)]):
    if name not in ("all_ops", "builder"):
        module = importlib.import_module("op_builder." + name)
        for found in vars(module):
            if found.endswith("Builder") and found not in ("OpBuilder", "CUDAOpBuilder"):
                op = getattr(module, found)()
                ALL_OPS[op.name] = op
'''


class SourceCase(DeployCase):
    """A tree to be filled with ops, and an interpreter without torch and setuptools."""

    def setUp(self):
        super().setUp()
        self.root = self.folder / "tree"
        self.python = self.make_environment()
        self.site = site_packages(self.python)
        self.lend_setuptools()
        self.write("tree/version.txt", "9.9.1\n")
        self.write("tree/op_builder/__init__.py", "")
        self.write("tree/op_builder/all_ops.py", ALL_OPS)
        self.write("tree/op_builder/builder.py", BASE)
        self.write("toolkit/bin/nvcc", "#!/bin/sh\necho 'release 12.4, V12.4.99'\n").chmod(0o755)

    def lend_setuptools(self):
        """From Python 3.12 on distutils is setuptools', and a fresh environment has neither."""
        if sys.version_info < (3, 12):
            return
        found = importlib.util.find_spec("setuptools")
        if not TORCH and found is None:
            self.skipTest("this Python has no distutils, and there is no setuptools for it")
        place = site_packages(TORCH) if TORCH else pathlib.Path(found.origin).parent.parent
        for pattern in ("setuptools", "_distutils_hack", "distutils-precedence.pth",
                        "pkg_resources"):
            for entry in place.glob(pattern):
                (self.site / entry.name).symlink_to(entry)

    def make_installable(self):
        """A setup.py that packs a package of nothing."""
        self.write("tree/setup.py", "from setuptools import setup\n"
                                    "setup(name='deepspeed', version='0.0.1',\n"
                                    "      packages=['deepspeed'])\n")
        self.write("tree/deepspeed/__init__.py", "")

    def op(self, name, body="", base="OpBuilder", before="", sources=True):
        """A module with one builder; `body` goes into its class, `before` above it."""
        self.write("tree/op_builder/%s.py" % name, "import os, sys, time\n%s\n%s\n" % (
            "from .builder import OpBuilder, CUDAOpBuilder", textwrap.dedent(before)) + (
            "class %sBuilder(%s):\n    BUILD_VAR = 'DS_BUILD_%s'\n    NAME = '%s'\n%s\n" % (
                name.title().replace("_", ""), base, name.upper(), name,
                textwrap.indent(textwrap.dedent(body), "    "))))
        for ending in (".cpp", ".cu") if sources else ():
            self.write("tree/csrc/%s%s" % (name, ending), "")

    def torch_without(self, torch, *names):
        """An environment with all that is beside that torch but what begins with these names."""
        python = self.make_environment("without")
        here = site_packages(python)
        for entry in site_packages(torch).iterdir():
            if not entry.name.startswith(names):
                (here / entry.name).symlink_to(entry)
        return python

    def run_source(self, *words, source=None, python=None, stub="2.6.0/12.4", env=None):
        words = list(words) + (["stub=" + stub] if stub else [])
        words += ["CUDA_HOME=%s" % (self.folder / "toolkit")]
        return subprocess.run(
            [str(self.build_folder / "tests" / "source-run"), str(source or self.root),
             str(python or self.python), str(self.folder / "cache"), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", env=env or clean_environment(), check=False, timeout=600)

    def read(self, *words, **settings):
        """What was read; its ops by name."""
        done = self.run_source(*words, **settings)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.stderr = done.stderr
        self.answer = json.loads(done.stdout)
        return {op["name"]: op for op in self.answer["ops"]}

    def refusal(self, *words, status=2, **settings):
        done = self.run_source(*words, **settings)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stderr
