# SPDX-License-Identifier: Apache-2.0
"""Loads the ops of a DeepSpeed wheel as DeepSpeed does. confirm_calls.py stands before this text,
confirm.py after it.

In this process nothing can be compiled: compilers and extension cache are out of reach, and what
would build an op anew raises instead and says why DeepSpeed did not take the wheel's library.
"""
import importlib
import importlib.util
import os
import re
import runpy
import shutil
import signal
import sys
import tempfile
import time

RECORD = "git_version_info_installed.py"
OF_A_GPU = re.compile(r"cuda|cublas|curand|nvidia|driver|gpu", re.IGNORECASE)
COMPILER = re.compile(r"^(.+-)?(cc|c\+\+|gcc|g\+\+|clang|clang\+\+|icc|icpc|icx|icpx|hipcc)"
                      r"(-[0-9.]+)?$")


class BuiltAnew(Exception):
    """DeepSpeed would not take the wheel's library; the text says why."""

    plain = True  # the text needs no name before it


def hide_compilers(folder):
    """Each compiler of PATH is behind one of its name that fails. The rest of PATH stays, as old
    DeepSpeeds call df. These are links, so that it does not matter if nothing in `folder` may run.
    """
    fails = shutil.which("false") or "/bin/false"
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.mkdir(folder)
    for place in filter(os.path.isdir, places):
        for name in filter(COMPILER.match, os.listdir(place)):
            if not os.path.lexists(os.path.join(folder, name)):
                os.symlink(fails, os.path.join(folder, name))
    os.environ["PATH"] = os.pathsep.join([folder, *places])


class DeepSpeedOps:
    """`request`: {"release", "ops": [{"name", "builder", "module"}], "gpus": how many it has, "spared": none
    of them may be used}. What pip installed has an empty release."""

    def __init__(self, request):
        self.release, self.ops, self.gpus = request["release"], request["ops"], request["gpus"]
        self.record = None
        self.builders = None
        self.spared = request.get("spared", False)
        self.note = ""
        self.figures = {}  # by op, of those that were called
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        self.folder = tempfile.mkdtemp(prefix="ds-deploy-confirm.")

    def hide_compilers(self):
        """Before anything of torch is imported."""
        nowhere = os.path.join(self.folder, "no-compiler")
        # Old builders ask nvcc for its version when they are imported, and it compiles nothing
        # without a host compiler.
        nvcc = shutil.which("nvcc")
        if nvcc and not (os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")):
            os.environ["CUDA_HOME"] = os.path.dirname(os.path.dirname(nvcc))
        hide_compilers(os.path.join(self.folder, "bin"))
        os.environ.update(CC=nowhere, CXX=nowhere, NVCC_CCBIN=nowhere,
                          TORCH_EXTENSIONS_DIR=os.path.join(self.folder, "extensions"))

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """Imports torch and DeepSpeed; any exception is a failure of the host."""
        self.torch = self.required("torch")
        self.deny_compiling()
        self.find_package()
        torch_sees = self.torch.cuda.device_count() if self.torch.cuda.is_available() else 0
        self.blind = self.gpus > 0 and torch_sees == 0
        self.has_gpu = max(self.gpus, torch_sees) > 0
        recorded = (self.record or {}).get("accelerator_name")
        if recorded == "cuda" and not self.has_gpu and "DS_ACCELERATOR" not in os.environ:
            os.environ["DS_ACCELERATOR"] = "cuda"
            self.note = ", with DS_ACCELERATOR=cuda, as " + (
                "its GPUs are in use" if self.spared else "this host has no GPU")
        self.required("deepspeed")
        self.builders = importlib.import_module("deepspeed.ops.op_builder")

        def refuse(builder, *_, **__):
            raise BuiltAnew(self.why_anew(builder.name))
        self.builders.OpBuilder.jit_load = refuse
        sys.modules["torch.utils.cpp_extension"].CUDA_HOME = None

    @staticmethod
    def required(module):
        try:
            return importlib.import_module(module)
        except BuiltAnew:
            raise
        except Exception as error:
            hint = ""
            if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(
                    "deepspeed."):
                hint = ("; what DeepSpeed requires has to be in this environment, as a release "
                        "brings DeepSpeed alone")
            raise Wrong("import %s: %s: %s%s" % (module, type(error).__name__, error, hint))

    def deny_compiling(self):
        """At the last door, so that it does not matter who asks."""
        compiling = importlib.import_module("torch.utils.cpp_extension")

        def refuse(name, *_, **__):
            raise BuiltAnew(self.why_anew(name))
        for function in ("load", "load_inline", "_jit_compile"):
            setattr(compiling, function, refuse)

    def find_package(self):
        """Reads the record without an import of the package: what it says comes before that."""
        found = importlib.util.find_spec("deepspeed")
        places = list(found.submodule_search_locations or ()) if found else []
        if not places:
            raise Wrong("there is no package deepspeed")
        self.package = os.path.realpath(places[0])
        folder = os.path.dirname(self.package)
        if not (os.path.basename(folder) == self.release if self.release else is_of_pip(folder)):
            raise Wrong("deepspeed comes from %s, not from %s: something on sys.path "
                        "(PYTHONPATH, another virtual environment) hides it"
                        % (self.package, "release " + self.release[:12] if self.release
                           else "what pip installed"))
        path = os.path.join(self.package, RECORD)
        if os.path.exists(path):
            self.record = runpy.run_path(path)

    def accelerator(self):
        return importlib.import_module("deepspeed.accelerator").get_accelerator()._name

    def other_accelerator(self):
        recorded = (self.record or {}).get("accelerator_name")
        if recorded is None or recorded == self.accelerator():
            return ""
        return "accelerator_name in %s is %s, and DeepSpeed takes this host for %s%s" % (
            RECORD, recorded or "empty", self.accelerator(),
            ", as torch sees none of its GPUs" if self.blind else "")

    def why_anew(self, name):
        if self.builders is None:
            return "the import of deepspeed compiles %s, which the wheel does not have" % name
        if self.record is None:
            return "there is no deepspeed/%s" % RECORD
        reasons = [self.other_accelerator()]
        if not self.record.get("installed_ops", {}).get(name):
            reasons.append("installed_ops in %s is without it" % RECORD)
        return "; ".join(filter(None, reasons)) or "%s shows no cause" % RECORD

    def other_torch(self):
        """What DeepSpeed's own check found, in our words; "" if it was not that."""
        info = (self.record or {}).get("torch_info", {})
        for key, here in (("version", self.torch.__version__),
                          ("cuda_version", self.torch.version.cuda or "none")):
            here = ".".join(here.split(".")[:2])
            if key in info and info[key] != here:
                return "%s in torch_info of %s is %s, and of the torch here %s" % (
                    key, RECORD, info[key], here)
        return ""

    def loaded(self, op):
        """The module, and what to say of the way; only DeepSpeed's own builder decides."""
        make = getattr(self.builders, op["builder"], None)
        builder = make() if make else None
        if getattr(builder, "name", None) == op["name"]:
            return builder.load(), ""
        other = self.other_accelerator()
        if other:
            raise BuiltAnew(other)
        return importlib.import_module(op["module"]), "; DeepSpeed has no %s for accelerator %s" % (
            op["builder"], self.accelerator())

    def load(self, op):
        try:
            module, way = self.loaded(op)
        except ModuleNotFoundError as error:
            raise Wrong("its library is not in the release: %s" % error)
        except ImportError as error:
            if not self.has_gpu and "libcuda.so" in str(error):
                raise CannotRun("no GPU, and so no driver: %s" % error)
            raise Wrong("its library does not load: %s" % error)
        except KeyError:  # where old builders look an op up
            raise BuiltAnew(self.why_anew(op["name"]))
        except RuntimeError as error:
            raise Wrong(self.other_torch() or str(error))
        place = os.path.realpath(getattr(module, "__file__", None) or "")
        if not place.startswith(self.package + os.sep):
            raise Wrong("its library comes from %s, not from the release" % (place or "nowhere"))
        return module, way

    def call(self, op, module):
        if op["name"] not in CALLS:
            return "loaded"
        try:
            begin = time.monotonic()
            said = CALLS[op["name"]](self.torch, module, self.folder)
            self.figures[op["name"]] = {"seconds": time.monotonic() - begin}
            return said
        except NotKnown:
            pass
        except TypeError as error:
            if "incompatible" not in str(error):  # pybind11's word for other parameters
                raise
        except RuntimeError as error:
            if not self.has_gpu and OF_A_GPU.search(str(error)):
                raise CannotRun("no GPU: %s" % error)
            raise
        return "loaded; its functions are not those that are called here"

    def outcome(self, op):
        sys.stderr.write("self-test of %s\n" % op["name"])
        sys.stderr.flush()  # the last words, should the op end the process
        try:
            module, way = self.load(op)
            return "passed: %s%s%s" % (self.call(op, module), way, self.note)
        except CannotRun as error:
            return "cannot run here: %s" % error
        except BuiltAnew as error:
            return "failed: DeepSpeed would compile it anew: %s" % error
        except Wrong as error:
            return "failed: %s" % error
        except Exception as error:  # noqa: BLE001 - any failure of an op is an answer
            if TAKEN.search(str(error)):
                return "not run: somebody has the GPU: %s" % error
            return "failed: %s: %s" % (type(error).__name__, error)

    def outcomes(self):
        """By op. async_io has what it needs loaded by its builder, so that the order is free."""
        return {op["name"]: self.outcome(op) for op in self.ops}


