# SPDX-License-Identifier: Apache-2.0
"""templates/confirm_deepspeed.py beside a small package in DeepSpeed's shape: each way to fail.

The package's builders decide as DeepSpeed's do; test_source_deploy.py has DeepSpeed itself.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import unittest

from support.deploy_case import ROOT, DeployCase, clean_environment

RELEASE = "ab" * 32
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
TORCH = '''
import sys
from . import cuda, utils, version
__version__ = "2.11.0+cu130"
float32, uint8 = "float32", "uint8"
class Tensor:
    def __init__(self, values):
        self.values = list(values)
    def tolist(self):
        return list(self.values)
def tensor(values, dtype=None):
    return Tensor(values)
def zeros(number):
    return Tensor([0.0] * number)
def full(shape, value):
    return Tensor([value] * shape[0])
'''
EXTENSION = '''
import os
CUDA_HOME = os.environ.get("CUDA_HOME")
def load(name, *words, **settings):
    open(os.path.join(os.environ["TORCH_EXTENSIONS_DIR"], "built"), "w")
    raise SystemExit("compiled")
def load_inline(name, *words, **settings):
    load(name)
def _jit_compile(name, *words, **settings):
    load(name)
'''
PACKAGE = '''
import os, shutil, sys
print("a line of DeepSpeed"); os.write(1, b"and one of its libraries\\n")
LOG = dict(os.environ, compiler=os.path.realpath(shutil.which("gcc")),
           df=shutil.which("df"), first=sorted(os.listdir(os.environ["PATH"].split(":")[0])),
           extensions=str(os.path.exists(os.environ["TORCH_EXTENSIONS_DIR"])))
if "CONFIRM_LOG" in os.environ:
    import json
    json.dump(LOG, open(os.environ["CONFIRM_LOG"], "w"))
from . import ops
'''
ACCELERATOR = '''
import os, torch
class Accelerator:
    def __init__(self, name):
        self._name = name
def get_accelerator():
    found = "cuda" if torch.cuda.device_count() > 0 and torch.cuda.is_available() else "cpu"
    return Accelerator(os.environ.get("DS_ACCELERATOR", found))
'''
BUILDER = '''
import importlib, torch
class OpBuilder:
    _loaded_ops = {}
    def __init__(self):
        self.name = self.NAME
    def absolute_name(self):
        return "deepspeed.ops.%s_op" % self.name
    def load(self, verbose=False):
        from deepspeed.git_version_info import installed_ops, torch_info, accelerator_name
        from deepspeed.accelerator import get_accelerator
        if installed_ops.get(self.name, False) and accelerator_name == get_accelerator()._name:
            if torch_info["version"] != ".".join(torch.__version__.split(".")[:2]):
                raise RuntimeError("PyTorch version mismatch!")
            if torch.cuda.is_available() and torch_info["cuda_version"] != torch.version.cuda:
                raise RuntimeError("CUDA version mismatch!")
            return importlib.import_module(self.absolute_name())
        return self.jit_load(verbose)
    def jit_load(self, verbose=True):
        from torch.utils.cpp_extension import load
        return load(name=self.name)
'''
OLD_BUILDER = re.sub(r"(?s)\n    def load.*    def jit_load", '''
    def load(self, verbose=True):
        from deepspeed.git_version_info import installed_ops, torch_info
        if installed_ops[self.name]:
            if torch_info["version"] != ".".join(torch.__version__.split(".")[:2]):
                raise RuntimeError("PyTorch version mismatch!")
            return importlib.import_module(self.absolute_name())
        return self.jit_load(verbose)
    def jit_load''', BUILDER)
BUILDERS = '''
from .builder import OpBuilder
class CPUAdamBuilder(OpBuilder):
    NAME = "cpu_adam"
class UtilsBuilder(OpBuilder):
    NAME = "utils"
class FusedBuilder(OpBuilder):
    NAME = "fused"
class NotImplementedBuilder(OpBuilder):
    NAME = "deepspeed_not_implemented"
'''
ADAM = '''
made = {}
def create_adam(id, rate, beta1, beta2, eps, decay, adamw, log):
    made[id] = decay
def destroy_adam(id):
    del made[id]
def adam_update(id, step, rate, beta1, beta2, eps, decay, correct, param, grad, mean, square):
    for at, g in enumerate(grad.values):
        mean.values[at] = beta1 * mean.values[at] + (1 - beta1) * g
        square.values[at] = beta2 * square.values[at] + (1 - beta2) * g * g
        param.values[at] *= 1 - rate * decay
        param.values[at] -= rate / (1 - beta1 ** step) * mean.values[at] / (
            (square.values[at] / (1 - beta2 ** step)) ** 0.5 + eps)
'''
RECORD = {"version": "9.9.1", "installed_ops": {"cpu_adam": 1, "utils": 1, "fused": 1},
          "accelerator_name": "cpu", "torch_info": {"version": "2.11", "cuda_version": "13.0"}}
ADAM_OP = {"name": "cpu_adam", "builder": "CPUAdamBuilder", "module": "deepspeed.ops.cpu_adam_op"}
FUSED_OP = {"name": "fused", "builder": "FusedBuilder", "module": "deepspeed.ops.fused_op"}


class Confirmed(DeployCase):
    def setUp(self):
        super().setUp()
        self.release = "releases/" + RELEASE
        for name, text in {
                "__init__": TORCH, "utils/__init__": "from . import cpp_extension",
                "utils/cpp_extension": EXTENSION, "version": "cuda = '13.0'"}.items():
            self.write("site/torch/%s.py" % name, text)
        self.gpus_of_torch(0)
        for name, text in {
                "__init__": PACKAGE, "accelerator": ACCELERATOR, "ops/__init__": "",
                "ops/op_builder/__init__": BUILDERS, "ops/op_builder/builder": BUILDER,
                "ops/cpu_adam_op": ADAM,
                "git_version_info": "from .git_version_info_installed import *",
                "ops/fused_op": ""}.items():
            self.write("%s/deepspeed/%s.py" % (self.release, name), text)
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.record()

    def gpus_of_torch(self, number):
        self.write("site/torch/cuda.py", "import os\n"
                   "def device_count(): return is_available() * %d\n"
                   "def is_available(): return %r and "
                   "os.environ.get('CUDA_VISIBLE_DEVICES') != ''\n" % (number, number > 0))

    def record(self, **changes):
        self.package("git_version_info_installed", "".join(
            "%s=%r\n" % pair for pair in dict(RECORD, **changes).items() if pair[1] is not None))

    def package(self, name, text):
        return self.write("%s/deepspeed/%s.py" % (self.release, name), text)

    def start(self, *ops, gpus=0, spared=False, path=(), python=sys.executable, release=RELEASE,
              **environment):
        source = b"".join((ROOT / "templates" / name).read_bytes()
                          for name in ("confirm_calls.py", "confirm_deepspeed.py",
                                       "confirm.py"))
        request = {"nonce": "nonce", "dists": [], "imports": [], "self_tests": {}, "deepspeed": {
            "release": release, "ops": ops or [ADAM_OP], "gpus": gpus, "spared": spared},
            "spare_gpus": spared}
        places = [*path, self.folder / self.release, self.folder / "site"]
        return source + json.dumps(request).encode() + b"\n", dict(
            args=[str(python), "-B", "-c", "import sys; exec(compile(sys.stdin.buffer.read(%d), "
                  "'ds-deploy', 'exec'))" % len(source)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            env=clean_environment(PYTHONPATH=":".join(map(str, places)),
                                  TMPDIR=str(self.temporary), **environment))

    def confirm(self, *ops, **settings):
        text, how = self.start(*ops, **settings)
        self.done = subprocess.Popen(**how)
        out, err = self.done.communicate(text, timeout=60)
        self.assertEqual(list(self.temporary.iterdir()), [])
        self.err = err.decode()
        self.assertRegex(out.decode(), r"\A\nnonce .*\n\Z", self.err)
        return json.loads(out.decode().split(" ", 1)[1])

    def said(self, *ops, **settings):
        answer = self.confirm(*ops, **settings)
        self.assertEqual(answer["ok"], not any(
            text.startswith("failed") for text in answer["self_tests"].values()), answer)
        text, = set(answer["self_tests"].values())
        return text

    def test_an_op_is_loaded_and_called(self):
        self.assertEqual(self.said(), "passed: one step of Adam")
        self.assertIn("a line of DeepSpeed\n", self.err)
        self.assertIn("and one of its libraries\n", self.err)

    def test_wrong_numbers(self):
        for wrong, says in (("param.values[at] += 1e-3", r"parameter\[0\] is .* and should be "),
                            ("param.values[149] = float('nan')", r"parameter\[149\] is nan and "),
                            ("mean.values[at] = 0", r"mean\[0\] is 0 and should be 0.0"),
                            ("square.values[at] *= 1.01", r"mean square\[0\] is ")):
            self.package("ops/cpu_adam_op", "%s        %s\n" % (ADAM, wrong))
            self.assertRegex(self.said(), "^failed: " + says)

    def test_nothing_can_be_compiled_while_it_is_imported(self):
        log = self.folder / "log"
        toolkit = self.write("cuda/bin/nvcc", "#!/bin/sh\n")
        for name in ("x86_64-conda-linux-gnu-g++", "clang-19", "cc", "tcc-like", "nvcc"):
            self.write("cuda/bin/" + name, "#!/bin/sh\n").chmod(0o755)
        self.said(CONFIRM_LOG=str(log), TORCH_EXTENSIONS_DIR="/elsewhere", CXX="g++",
                  CUDA_HOME="", CUDA_PATH="",
                  PATH="%s:%s" % (toolkit.parent, os.environ["PATH"]))
        seen = json.loads(log.read_text())
        self.assertEqual(seen["extensions"], "False")
        self.assertEqual(seen["CUDA_HOME"], str(toolkit.parent.parent))
        self.assertLessEqual({"x86_64-conda-linux-gnu-g++", "clang-19", "cc"}, set(seen["first"]))
        self.assertEqual({"nvcc", "tcc-like"} & set(seen["first"]), set())
        self.assertEqual(os.path.basename(seen["compiler"]), "false")
        self.assertTrue(seen["df"])
        for name in ("CC", "CXX", "PATH", "TORCH_EXTENSIONS_DIR"):
            self.assertTrue(seen[name].startswith(str(self.temporary)), seen[name])
        self.package("ops/__init__", "from torch.utils.cpp_extension import load\nload('early')\n")
        self.assertEqual(self.confirm()["problem"],
                         "the import of deepspeed compiles early, which the wheel does not have")

    def test_the_accelerator_is_another(self):
        self.record(accelerator_name="xpu")
        self.assertEqual(self.said(), "failed: DeepSpeed would compile it anew: accelerator_name "
                         "in git_version_info_installed.py is xpu, and DeepSpeed takes this host "
                         "for cpu")
        answer = self.confirm(ADAM_OP, FUSED_OP)
        self.assertRegex(answer["problem"], "^self-test of cpu_adam, fused failed: .* is xpu")
        self.gpus_of_torch(2)
        self.record()
        self.assertIn(" is cpu, and DeepSpeed takes this host for cuda", self.said(gpus=2))

    def test_a_record_of_cuda(self):
        self.record(accelerator_name="cuda")
        note = ", with DS_ACCELERATOR=cuda, as this host has no GPU"
        self.assertEqual(self.said(), "passed: one step of Adam" + note)
        self.assertEqual(self.said(FUSED_OP), "passed: loaded" + note)
        self.assertIn("takes this host for cpu", self.said(DS_ACCELERATOR="cpu"))
        self.assertRegex(self.said(gpus=2), "is cuda, and DeepSpeed takes this host for cpu, as "
                                            "torch sees none of its GPUs$")
        self.gpus_of_torch(2)
        self.assertEqual(self.said(gpus=2), "passed: one step of Adam")

    def test_seconds_of_what_was_called(self):
        figures = self.confirm(ADAM_OP, FUSED_OP)["figures"]
        self.assertEqual(list(figures), ["cpu_adam"])
        self.assertGreater(figures["cpu_adam"]["seconds"], 0)
        self.record(installed_ops={})
        self.assertEqual(self.confirm(ADAM_OP)["figures"], {})

    def test_gpus_that_somebody_uses_are_left_alone(self):
        self.record(accelerator_name="cuda")
        self.gpus_of_torch(2)
        note = ", with DS_ACCELERATOR=cuda, as its GPUs are in use"
        self.assertEqual(self.said(spared=True), "passed: one step of Adam" + note)
        self.assertEqual(self.said(FUSED_OP, spared=True), "passed: loaded" + note)
        self.package("ops/cpu_adam_op", ADAM + "def create_adam(*words):\n"
                     "    raise RuntimeError('CUDA error: out of memory')\n")
        answer = self.confirm(gpus=2)
        self.assertEqual((answer["ok"], answer["gpus_taken"]), (True, True))
        self.assertEqual(answer["self_tests"], {
            "cpu_adam": "not run: somebody has the GPU: CUDA error: out of memory"})

    def test_the_op_is_not_recorded(self):
        self.record(installed_ops={"cpu_adam": False})
        says = "failed: DeepSpeed would compile it anew: installed_ops in .* is without it$"
        self.assertRegex(self.said(), says)
        self.package("ops/op_builder/builder", OLD_BUILDER)
        self.assertRegex(self.said(), says)
        self.record(installed_ops={})
        self.assertRegex(self.said(), says)
        self.package("git_version_info_installed", "").unlink()
        self.package("git_version_info", "installed_ops = {'cpu_adam': False}\n"
                     "accelerator_name = ''\ntorch_info = {'version': '0.0'}\n")
        self.assertIn("there is no deepspeed/git_version_info_installed.py", self.said())

    def test_builders_that_know_no_accelerators(self):
        self.package("ops/op_builder/builder", OLD_BUILDER)
        self.record(accelerator_name=None)
        self.assertEqual(self.said(), "passed: one step of Adam")
        self.record(accelerator_name=None, torch_info={"version": "1.13"})
        self.assertEqual(self.said(), "failed: version in torch_info of "
                         "git_version_info_installed.py is 1.13, and of the torch here 2.11")

    def test_another_torch_or_cuda(self):
        self.record(torch_info={"version": "2.10", "cuda_version": "13.0"})
        self.assertRegex(self.said(), "^failed: version in .* is 2.10, and of the torch here 2.11$")
        self.gpus_of_torch(1)
        self.record(accelerator_name="cuda",
                    torch_info={"version": "2.11", "cuda_version": "12.8"})
        self.assertRegex(self.said(gpus=1),
                         "^failed: cuda_version in .* is 12.8, and of the torch here 13.0$")

    def library(self, needs):
        """The module fused_op as a real library that needs another one, which is not there."""
        (self.folder / self.release / "deepspeed/ops/fused_op.py").unlink(missing_ok=True)
        empty = self.write("c/empty.c", "")
        stub = self.folder / "c" / "libstub.so"
        target = self.folder / self.release / "deepspeed/ops" / ("fused_op" + SUFFIX)
        for words in (["-Wl,-soname," + needs, "-o", str(stub), str(empty)],
                      ["-o", str(target), str(empty), "-Wl,--no-as-needed", str(stub)]):
            subprocess.run(["gcc", "-shared", *words], check=True)

    def test_a_library_is_missing(self):
        self.library("libds_nowhere.so.7")
        self.assertRegex(self.said(FUSED_OP), "^failed: its library does not load: "
                         "libds_nowhere.so.7: cannot open shared object file")
        # As the driver's; its own name would be found where there is a GPU.
        self.library("libcuda.so.999")
        self.assertRegex(self.said(FUSED_OP), "^cannot run here: no GPU, and so no driver: "
                         "libcuda.so.999: cannot open shared object file")
        self.assertRegex(self.said(FUSED_OP, gpus=1), "^failed: its library does not load: libcuda")

    def test_the_library_itself_is_missing(self):
        self.package("ops/cpu_adam_op", "").unlink()
        self.assertEqual(self.said(), "failed: its library is not in the release: No module named "
                                      "'deepspeed.ops.cpu_adam_op'")

    def test_a_library_from_elsewhere(self):
        self.package("ops/cpu_adam_op", "").unlink()
        self.write("other/cpu_adam_op.py", ADAM)
        self.package("ops/__init__", "__path__.append(%r)\n" % str(self.folder / "other"))
        self.assertRegex(self.said(), "^failed: its library comes from .*/other/cpu_adam_op.py, "
                                      "not from the release$")

    def test_what_pip_installed(self):
        self.assertRegex(self.confirm(release="")["problem"],
                         "^deepspeed comes from .*/deepspeed, not from what pip installed")
        python = self.make_environment()
        (site,) = self.folder.glob("env/lib/python*/site-packages")
        shutil.move(str(self.folder / self.release / "deepspeed"), str(site))
        self.assertEqual(self.said(python=python, release=""), "passed: one step of Adam")

    def test_a_package_from_elsewhere(self):
        self.write("checkout/deepspeed/__init__.py", "")
        self.assertRegex(self.confirm(path=[self.folder / "checkout"])["problem"],
                         "^deepspeed comes from .*/checkout/deepspeed, not from release abab")

    def test_requirements_of_deepspeed_are_missing(self):
        self.package("ops/__init__", "import ds_pydantic.fields\n")
        answer = self.confirm()
        self.assertEqual((answer["ok"], answer["self_tests"]), (False, {}))
        self.assertRegex(answer["problem"], "^import deepspeed: ModuleNotFoundError: No module "
                         "named 'ds_pydantic'; what DeepSpeed requires has to be in this env")
        self.package("ops/__init__", "from numbers import BUFSIZE\n")
        self.assertRegex(self.confirm()["problem"], "^import deepspeed: ImportError: cannot .*'"
                         r"BUFSIZE' from 'numbers' \(.*py\)$")

    def test_an_op_that_the_accelerator_does_not_have(self):
        op = {"name": "utils", "builder": "NotImplementedBuilder",
              "module": "deepspeed.ops.utils_op"}
        self.package("ops/utils_op", "def cast_to_byte_tensor(tensor):\n    import struct, torch\n"
                     "    return torch.tensor(struct.pack('=150f', *tensor.values))\n")
        self.package("tensor", "")
        self.assertEqual(self.said(op), "passed: one tensor as bytes; DeepSpeed has no "
                                        "NotImplementedBuilder for accelerator cpu")
        self.record(accelerator_name="xpu")
        self.assertIn("is xpu", self.said(op))

    def test_functions_of_another_version(self):
        says = "passed: loaded; its functions are not those that are called here"
        self.package("ops/cpu_adam_op", "def create_adam(id): pass\n")
        self.assertEqual(self.said(), says)
        self.package("ops/cpu_adam_op", ADAM + "def create_adam(*words):\n    raise TypeError("
                     "'create_adam(): incompatible function arguments.')\n")
        self.assertEqual(self.said(), says)
        self.package("ops/cpu_adam_op", ADAM + "def create_adam(*words):\n    None + 1\n")
        self.assertRegex(self.said(), "^failed: TypeError: unsupported operand")

    def test_an_op_that_needs_a_gpu_when_called(self):
        self.package("ops/cpu_adam_op", ADAM + "def create_adam(*words):\n"
                     "    raise RuntimeError('Fail to create cublas handle.')\n")
        self.assertEqual(self.said(), "cannot run here: no GPU: Fail to create cublas handle.")
        self.assertEqual(self.said(gpus=1), "failed: RuntimeError: Fail to create cublas handle.")

    def test_the_last_words_name_the_op_that_ends_the_process(self):
        self.package("ops/fused_op", "import os\nos.abort()\n")
        text, how = self.start(ADAM_OP, FUSED_OP)
        out, err = (done := subprocess.Popen(**how)).communicate(text, timeout=60)
        self.assertEqual((done.returncode, out), (-signal.SIGABRT, b""))
        self.assertEqual(err.decode().splitlines()[-1], "self-test of fused")

    def test_nothing_stays_when_it_is_ended(self):
        ready = self.folder / "ready"
        self.package("ops/fused_op", "import time\nopen(%r, 'w')\ntime.sleep(60)\n" % str(ready))
        text, how = self.start(FUSED_OP)
        with subprocess.Popen(**how) as child:
            child.stdin.write(text)
            child.stdin.flush()
            while not ready.exists():
                self.assertIsNone(child.poll())
                time.sleep(0.01)
            child.terminate()
            child.communicate(timeout=60)
        self.assertEqual(list(pathlib.Path(self.temporary).iterdir()), [])


if __name__ == "__main__":
    unittest.main()
