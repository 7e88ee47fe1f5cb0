# SPDX-License-Identifier: Apache-2.0
"""Loads the ops of a DeepSpeed wheel as DeepSpeed does; confirm.py stands after this text.

In this process nothing can be compiled: compilers and extension cache are out of reach, and what
would build an op anew raises instead and says why DeepSpeed did not take the wheel's library.
"""
import ctypes
import importlib
import importlib.util
import math
import os
import re
import runpy
import shutil
import signal
import struct
import sys
import tempfile

RECORD = "git_version_info_installed.py"
OF_A_GPU = re.compile(r"cuda|cublas|curand|nvidia|driver|gpu", re.IGNORECASE)
TRIED_WITH = 150  # elements: a few vectors of any CPU, and a rest


class BuiltAnew(Exception):
    """DeepSpeed would not take the wheel's library; the text says why."""

    plain = True  # the text needs no name before it


class Wrong(Exception):
    """The library cannot be loaded, or gives wrong results; the text says how."""

    plain = True


class CannotRun(Exception):
    """This host lacks what the call needs, and the wheel is not to blame."""


class NotKnown(Exception):
    """The op has other functions than those that are called here."""


def functions(holder, *names):
    found = [getattr(holder, name, None) for name in names]
    if None in found:
        raise NotKnown()
    return found


def check(what, tensor, wanted):
    for at, (found, value) in enumerate(zip(tensor.tolist(), wanted)):
        if not math.isclose(found, value, rel_tol=1e-4, abs_tol=1e-7):
            raise Wrong("%s[%d] is %r and should be %r" % (what, at, found, value))


def samples(torch, scale):
    values = [scale * math.cos(at) for at in range(TRIED_WITH)]
    return values, torch.tensor(values, dtype=torch.float32)


def try_adam(torch, op, _):
    create, update, destroy = functions(op, "create_adam", "adam_update", "destroy_adam")
    rate, beta1, beta2, eps, decay = 0.01, 0.9, 0.999, 1e-8, 0.1
    (start, param), (slope, grad) = samples(torch, 2.0), samples(torch, 0.5)
    mean, square = torch.zeros(TRIED_WITH), torch.zeros(TRIED_WITH)
    create(0, rate, beta1, beta2, eps, decay, True, False)
    try:
        update(0, 1, rate, beta1, beta2, eps, decay, True, param, grad, mean, square)
    finally:
        destroy(0)
    # The corrections of the first step make the mean the gradient and the root its size.
    check("parameter", param, [p * (1 - rate * decay) - rate * g / (abs(g) + eps)
                               for p, g in zip(start, slope)])
    check("mean", mean, [(1 - beta1) * g for g in slope])
    check("mean square", square, [(1 - beta2) * g * g for g in slope])
    return "one step of Adam"


def try_adagrad(torch, op, _):
    create, update, destroy = functions(op, "create_adagrad", "adagrad_update", "destroy_adagrad")
    rate, eps = 0.01, 1e-8
    (start, param), (slope, grad) = samples(torch, 2.0), samples(torch, 0.5)
    total = torch.full((TRIED_WITH,), 0.25)
    create(0, rate, eps, 0.0, False)
    try:
        update(0, 1, rate, eps, 0.0, param, grad, total)
    finally:
        destroy(0)
    totals = [0.25 + g * g for g in slope]
    check("parameter", param, [p - rate * g / (math.sqrt(t) + eps)
                               for p, g, t in zip(start, slope, totals)])
    check("sum of squares", total, totals)
    return "one step of Adagrad"


def try_lion(torch, op, _):
    create, update, destroy = functions(op, "create_lion", "lion_update", "destroy_lion")
    rate, beta1, beta2, decay = 0.01, 0.9, 0.99, 0.1
    (start, param), (slope, grad) = samples(torch, 2.0), samples(torch, 0.5)
    mean = torch.full((TRIED_WITH,), 0.02)
    create(0, rate, beta1, beta2, decay, False)
    try:
        update(0, 1, rate, beta1, beta2, decay, param, grad, mean)
    finally:
        destroy(0)
    check("parameter", param, [
        p * (1 - rate * decay) - rate * math.copysign(1, beta1 * 0.02 + (1 - beta1) * g)
        for p, g in zip(start, slope)])
    check("mean", mean, [beta2 * 0.02 + (1 - beta2) * g for g in slope])
    return "one step of Lion"


def try_utils(torch, op, _):
    _, tensor = samples(torch, 2.0)
    if hasattr(op, "cast_to_byte_tensor"):
        if bytes(op.cast_to_byte_tensor(tensor).tolist()) != struct.pack(
                "=%df" % TRIED_WITH, *tensor.tolist()):
            raise Wrong("the bytes of a tensor are not those of its numbers")
        return "one tensor as bytes"
    flatten, unflatten = functions(op, "flatten", "unflatten")
    parts = [tensor[:7].clone(), tensor[7:].clone()]
    flat = flatten(parts)
    check("flat tensor", flat, tensor.tolist())
    for ours, part in zip(parts, unflatten(flat, parts)):
        check("unflattened tensor", part, ours.tolist())
    return "two tensors as one"


def require_locked_memory():
    page = ctypes.create_string_buffer(8192)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlock(page, ctypes.c_size_t(8192)) != 0:
        raise CannotRun("memory cannot be locked: %s (ulimit -l)" % os.strerror(ctypes.get_errno()))
    libc.munlock(page, ctypes.c_size_t(8192))


def try_pin_memory(torch, op, _):
    handle = functions(op, "pin_handle")[0]()
    require_locked_memory()
    example, tensor = samples(torch, 2.0)
    pinned = handle.new_cpu_locked_tensor(TRIED_WITH, tensor)
    pinned.copy_(tensor)
    check("locked tensor", pinned, example)
    if not handle.is_pinned(pinned):
        raise Wrong("a locked tensor is not known as locked")
    if not handle.free_cpu_locked_tensor(pinned):
        raise Wrong("a locked tensor could not be freed")
    return "one locked tensor"


def require_direct_io(folder):
    """The op checks neither of these: it ends the process, or what it reads is not what it says."""
    path = os.path.join(folder, "direct")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600))
    except OSError as error:
        raise CannotRun("O_DIRECT does not work in %s: %s"
                        % (os.path.dirname(folder), error.strerror))
    try:
        aio = ctypes.CDLL("libaio.so.1")
    except OSError:
        return  # under another name: the op found it
    context = ctypes.c_void_p()
    failed = aio.io_setup(8, ctypes.byref(context))
    if failed:
        raise CannotRun("asynchronous I/O does not work here: io_setup: %s" % os.strerror(-failed))
    aio.io_destroy(context)


def try_async_io(torch, op, folder):
    make = functions(op, "aio_handle")[0]
    require_locked_memory()
    require_direct_io(folder)
    handle = make(16384, 8, False, False, 1)
    allocate, free, write, read = functions(handle, "new_cpu_locked_tensor",
                                            "free_cpu_locked_tensor", "sync_pwrite", "sync_pread")
    size = 65536
    data = bytes((at * 7 + at // 256) % 256 for at in range(size))
    buffer = allocate(size, torch.empty(0, dtype=torch.uint8))
    try:
        buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        written = os.path.join(folder, "written")
        write(buffer, written)
        with open(written, "rb") as file:
            if file.read() != data:
                raise Wrong("a file that it wrote has other bytes")
        with open(os.path.join(folder, "other"), "wb") as file:
            file.write(data[::-1])
        read(buffer, file.name)
        if bytes(buffer.tolist()) != data[::-1]:
            raise Wrong("it read other bytes than a file has")
    finally:
        free(buffer)
    return "a file written and one read"


CALLS = {"cpu_adam": try_adam, "cpu_adagrad": try_adagrad, "cpu_lion": try_lion,
         "utils": try_utils, "pin_memory": try_pin_memory, "async_io": try_async_io}


class DeepSpeedOps:
    """`request`: {"release", "ops": [{"name", "builder", "module"}], "gpus": number of them that the
    host has}. Made before anything of torch is imported."""

    def __init__(self, request):
        self.release, self.ops, self.gpus = request["release"], request["ops"], request["gpus"]
        self.folder = tempfile.mkdtemp(prefix="ds-deploy-confirm.")
        self.record = None
        self.builders = None
        self.note = ""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        nowhere = os.path.join(self.folder, "no-compiler")
        # Old builders ask nvcc for its version when they are imported, and it compiles nothing
        # without a host compiler.
        nvcc = shutil.which("nvcc")
        if nvcc and not (os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")):
            os.environ["CUDA_HOME"] = os.path.dirname(os.path.dirname(nvcc))
        os.environ.update(PATH=nowhere, CC=nowhere, CXX=nowhere, NVCC_CCBIN=nowhere,
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
            self.note = ", with DS_ACCELERATOR=cuda, as this host has no GPU"
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
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == module:
                raise
            raise Wrong("import %s: there is no module %s; what DeepSpeed requires has to be in "
                        "this environment, as a release brings DeepSpeed alone"
                        % (module, error.name))

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
        if os.path.basename(os.path.dirname(self.package)) != self.release:
            raise Wrong("deepspeed comes from %s, not from release %s: something on sys.path "
                        "(PYTHONPATH, another virtual environment) hides it"
                        % (self.package, self.release[:12]))
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
            return CALLS[op["name"]](self.torch, module, self.folder)
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
            return "failed: %s: %s" % (type(error).__name__, error)

    def outcomes(self):
        """By op. async_io has what it needs loaded by its builder, so that the order is free."""
        return {op["name"]: self.outcome(op) for op in self.ops}


