# SPDX-License-Identifier: Apache-2.0
"""The wheel of a foreign tree: all that the tree's own setup.py packs, and the compiled ops."""
import email
import json
import shutil
import subprocess
import sys
import unittest

from support.deploy_case import clean_environment
from support.source_wheel_case import RECORD, SUFFIX, WheelCase

TAG = "cp%d%d" % sys.version_info[:2]

SETUP = '''
import os
import torch
from setuptools import setup, find_packages
from op_builder import OpBuilder
from op_builder.all_ops import ALL_OPS, accelerator_name
if "SETUP_LOG" in os.environ:
    open(os.environ["SETUP_LOG"], "a").write("run\\n")
print("noise")
ops = dict.fromkeys(ALL_OPS, False)
for name, builder in ALL_OPS.items():
    if builder.is_compatible() and os.environ.get("DS_BUILD_OPS") != "0":
        raise SystemExit("ops are compiled here")
version = open("version.txt").read().strip() + "+unknown"
nccl = ".".join(map(str, torch.cuda.nccl.version()[:2]))
with open("deepspeed/git_version_info_installed.py", "w") as file:
    file.write("version='%s'\\ngit_hash='unknown'\\ngit_branch='unknown'\\n" % version)
    file.write("installed_ops=%r\\naccelerator_name=%r\\n" % (ops, accelerator_name))
    file.write("torch_info=%r\\n" % {"version": "2.11", "bf16_support": False,
                                      "cuda_version": "13.0", "nccl_version": nccl})
requires = ["packaging>=20.0", 'old; python_version < "3"']
if accelerator_name == "cuda":
    requires.append("nvidia-ml-py")
setup(name="deepspeed", version=version, description="A tree", author="T",
      long_description=open("README.md").read(), long_description_content_type="text/markdown",
      install_requires=requires, extras_require={"dev": ["pytest>=7", 'x; os_name == "nt"']},
      packages=find_packages(include=["deepspeed", "deepspeed.*"]), include_package_data=True,
      scripts=["bin/ds", "bin/ds_ssh"], license="Free",
      entry_points={"console_scripts": ["ds_say = deepspeed:say"]})
'''
TORCH_FILES = {
    "__init__": "__version__ = '2.11.0+cu130'\nfrom . import _C, cuda, utils, version\n",
    "_C": "", "version": "cuda, hip = '13.0', None\n",
    "utils/__init__": "from . import cpp_extension\n",
    "utils/cpp_extension": '''
import os
CUDA_HOME = os.environ.get("CUDA_HOME")
class CppExtension:
    def __init__(self, name, sources, **settings):
        self.include_dirs = self.library_dirs = self.libraries = []
CUDAExtension = CppExtension
''',
    "cuda/__init__": '''
from . import nccl
def is_available(): return False
def device_count(): return 0
''',
    "cuda/nccl": "def version(): return (2, 28, 9)\n"}


class Wheels(WheelCase):
    def setUp(self):
        super().setUp()
        self.python = self.make_environment("with-pip", pip=True)
        self.site = next(self.python.parent.parent.glob("lib/python*/site-packages"))
        if not (self.site / "setuptools").is_dir():
            self.skipTest("a fresh environment of this Python has no setuptools")
        for name, text in TORCH_FILES.items():
            self.write(self.site / "torch" / (name + ".py"), text)
        for name, text in {
                "setup.py": SETUP, "README.md": "# Deep\n\nVersion: no field\n", "LICENSE": "Free",
                "MANIFEST.in": "recursive-include deepspeed *.cpp *.cu *.json\n",
                "op_builder/__init__.py": "from .builder import OpBuilder\n",
                "op_builder/all_ops.py": "import os\nfrom op_builder.one import OneBuilder\n"
                                         "accelerator_name = os.environ['DS_ACCELERATOR']\n"
                                         "ALL_OPS = {'one': OneBuilder()}\n",
                "deepspeed/__init__.py": "from .git_version_info import version as __version__\n"
                                         "def say():\n    print('hello', __version__)\n",
                "deepspeed/git_version_info.py": "from .git_version_info_installed import *\n",
                "deepspeed/ops/__init__.py": "", "deepspeed/conf.json": "{}",
                "bin/ds": "#!/usr/bin/env python3\nimport deepspeed\ndeepspeed.say()\n",
                "bin/ds_ssh": "#!/bin/bash\necho ssh\n"}.items():
            self.write("tree/" + name, text)
        for name in ("ds", "ds_ssh"):
            (self.root / "bin" / name).chmod(0o755)
        self.op("one")
        (self.root / "deepspeed/ops/csrc").symlink_to("../../csrc")
        (self.root / "deepspeed/ops/op_builder").symlink_to("../../op_builder")

    def test_everything_of_the_trees_own_wheel_and_the_library(self):
        before = self.tree(self.root)
        temporary = self.folder / "tmp"
        temporary.mkdir()
        wheel, answer = self.run_package("op=one=%s" % self.library(), TMPDIR=str(temporary))
        self.assertEqual(self.tree(self.root), before)
        self.assertEqual(list(temporary.iterdir()), [])
        self.assertEqual([path.name for path in (self.folder / "cache/packages").iterdir()
                          if "." in path.name], [])
        self.assertRegex(wheel.name, r"^deepspeed-9\.9\.1\+s[0-9a-f]{9}\.cpu\.v3\.torch2\.11\."
                                     r"o[0-9a-f]{6}-%s-%s-linux_x86_64\.whl$" % (TAG, TAG))
        version = wheel.name.split("-")[1]
        stem = "deepspeed-" + version
        found = self.content(wheel)
        self.assertEqual(sorted(found), sorted(
            ["deepspeed/" + name for name in (
                "__init__.py", "conf.json", "git_version_info.py", "git_version_info_installed.py",
                "ops/__init__.py", "ops/csrc/one.cpp", "ops/csrc/one.cu", "ops/one_op" + SUFFIX,
                "ops/op_builder/__init__.py", "ops/op_builder/all_ops.py",
                "ops/op_builder/builder.py", "ops/op_builder/one.py")] +
            [stem + ".data/scripts/ds", stem + ".data/scripts/ds_ssh"] +
            [stem + ".dist-info/" + name for name in (
                "LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt",
                "ds_deploy/requirements.json")]))
        self.assertEqual(found[stem + ".data/scripts/ds"].split(b"\n")[0], b"#!python")
        self.assertEqual(found[stem + ".dist-info/top_level.txt"], b"deepspeed\n")
        self.assertIn(b"Root-Is-Purelib: false\nTag: ", found[stem + ".dist-info/WHEEL"])
        fields = email.message_from_bytes(found[stem + ".dist-info/METADATA"])
        self.assertEqual((fields["Name"], fields["Version"]), ("deepspeed", version))
        self.assertEqual(fields.get_payload().strip(), "# Deep\n\nVersion: no field")
        self.assertEqual(sorted(text.replace("'", '"') for text in
                                fields.get_all("Requires-Dist")), [
            "nvidia-ml-py", 'old; python_version < "3"', "packaging>=20.0",
            'pytest>=7; extra == "dev"', 'x; os_name == "nt" and extra == "dev"'])
        self.assertEqual(self.assigned(found[RECORD]), {
            "version": version, "git_hash": "unknown", "git_branch": "unknown",
            "installed_ops": {"one": 1}, "accelerator_name": "cuda",
            "torch_info": {"version": "2.11", "bf16_support": True, "cuda_version": "13.0",
                           "nccl_version": "2.28"}})
        self.assertRegex(self.stderr, r"wheel: deepspeed-.*; 1 op, .*\n.*one .*B")
        self.assertEqual(answer["version"], "9.9.1+unknown")

    def test_pip_takes_it_and_python_imports_it(self):
        wheel, _ = self.run_package("op=one=%s" % self.library())
        shutil.rmtree(self.site / "torch")
        self.install(wheel, self.python)
        version = wheel.name.split("-")[1]
        said = self.python_says("import deepspeed.ops.one_op as m, deepspeed.git_version_info as g"
                                "\nprint(m.__doc__, g.installed_ops, g.version)")
        self.assertEqual(said, "built by a test {'one': 1} %s\n" % version)
        for script in ("ds", "ds_say"):
            self.assertEqual(subprocess.check_output([str(self.python.parent / script)], text=True),
                             "hello %s\n" % version)
        self.assertEqual(subprocess.check_output([str(self.python.parent / "ds_ssh")]), b"ssh\n")
        self.assertIn(version, self.python_says("import importlib.metadata as m; "
                                                "print(m.version('deepspeed'))"))
        shown = self.run_program("inspect", wheel, "--json").stdout
        library = json.loads(shown)["libraries"][0]
        self.assertEqual(library["path"], "deepspeed/ops/one_op" + SUFFIX)

    def python_says(self, code):
        done = subprocess.run([str(self.python), "-c", code], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=clean_environment(),
                              cwd="/", check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_setup_runs_once_for_a_tree(self):
        log = self.folder / "log"
        library = "op=one=%s" % self.library()
        wheel, _ = self.run_package(library, SETUP_LOG=str(log))
        first = wheel.read_bytes()
        for name in ("build/lib/deepspeed/stale.py", "dist/old.whl", "deepspeed/a.pyc"):
            self.write("tree/" + name, "")
        again, _ = self.run_package(library, SETUP_LOG=str(log))
        self.assertEqual((again, again.read_bytes(), log.read_text()), (wheel, first, "run\n"))
        wheel.unlink()
        self.run_package(library, SETUP_LOG=str(log))
        self.assertEqual(wheel.read_bytes(), first)
        self.write("tree/deepspeed/more.py", "")
        changed, _ = self.run_package(library, SETUP_LOG=str(log))
        self.assertNotEqual(changed.name, wheel.name)
        found = self.content(changed)
        self.assertIn("deepspeed/more.py", found)
        self.assertNotIn("deepspeed/stale.py", found)
        self.assertEqual(log.read_text(), "run\nrun\n")

    def test_another_library_of_the_same_name_makes_another_wheel(self):
        wheel, _ = self.run_package("op=one=%s" % self.library())
        first = wheel.read_bytes()
        stale = self.root / "deepspeed" / "ops" / ("one_op" + SUFFIX)
        self.write("tree/MANIFEST.in", "recursive-include deepspeed *.so\n")
        stale.write_text("stale")
        other = self.library(body="int more(void) { return 1; }")
        wheel, answer = self.run_package("op=one=%s" % other)
        self.assertIn("deepspeed/ops/one_op" + SUFFIX, answer["files"])
        self.assertEqual(self.content(wheel)["deepspeed/ops/one_op" + SUFFIX], other.read_bytes())
        self.assertNotEqual(wheel.read_bytes(), first)

    def test_for_hosts_without_gpus(self):
        wheel, _ = self.run_package("op=one=%s" % self.library(), "accelerator=cpu")
        found = self.content(wheel)
        self.assertEqual(self.assigned(found[RECORD])["accelerator_name"], "cpu")
        metadata = next(text for name, text in found.items() if name.endswith("METADATA"))
        self.assertNotIn(b"nvidia", metadata)

    def test_build_string(self):
        wheel, _ = self.run_package("op=one=%s" % self.library(), DS_BUILD_STRING=".dev7+site")
        self.assertIn("deepspeed-9.9.1.dev7+site.cpu.v3.torch2.11.", wheel.name)
        self.assertFalse((self.root / "build.txt").exists())

    def test_an_op_that_cannot_be_imported_costs_itself_only(self):
        self.write("tree/op_builder/bad.py", "raise OSError('no disk')\n")
        self.write("tree/op_builder/all_ops.py", "import op_builder.bad\n" +
                   (self.root / "op_builder/all_ops.py").read_text())
        wheel, _ = self.run_package("op=one=%s" % self.library())
        record = self.assigned(self.content(wheel)[RECORD])
        self.assertEqual(record["installed_ops"]["one"], 1)
        self.assertFalse(record["installed_ops"]["bad"])

    def test_trees_that_make_no_wheel(self):
        setup = self.root / "setup.py"
        for text, says in (
                ("raise OSError('no disk\\x1b[2J')", r"setup.py raised OSError: no disk"),
                ("import os; print('last', flush=True); os._exit(3)",
                 r"ended with status 3; it printed: last"),
                ("", r"setup.py (does not call setup|made no wheel)"),
                ("while True: pass", r"setup.py took longer than 2 s")):
            with self.subTest(text[:40]):
                setup.write_text(text)
                said = self.run_package("limit=2", status=9)
                self.assertRegex(said, says)
                self.assertNotIn("\x1b", said)
                self.assertIn("setup.py bdist_wheel in a copy of the source", said)
        self.assertEqual(list((self.folder / "cache/packages").iterdir()), [])

    def test_an_interpreter_without_setuptools(self):
        shutil.rmtree(self.site / "setuptools")
        said = self.run_package(status=9)
        self.assertIn("there is no module setuptools", said)

    def test_links_that_lead_out(self):
        self.write("elsewhere/x.json", "7")
        (self.root / "deepspeed/linked.json").symlink_to(self.folder / "elsewhere/x.json")
        wheel, _ = self.run_package()
        self.assertEqual(self.content(wheel)["deepspeed/linked.json"], b"7")
        (self.root / "deepspeed/far").symlink_to(self.folder / "elsewhere")
        self.assertIn("far is a link to a folder outside of the tree", self.run_package(status=2))


if __name__ == "__main__":
    unittest.main()
