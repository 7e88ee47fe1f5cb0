# SPDX-License-Identifier: Apache-2.0
"""Wheels of the newest DeepSpeed, compiled; one build serves every class that asks for it.

Objects come from the tests' store, so that what was compiled once is not compiled again.
"""
import contextlib
import ctypes
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from support.deploy_case import BUILD_FOLDER, PROGRAM, clean_environment
from support.find_nvcc import find_nvcc
from support.real_parts import MODULES, newest, site_packages

# By their build variables; those that are loaded first come by themselves.
FEW = ("UTILS", "CPU_ADAM", "FUSED_ADAM")
ALL = ("UTILS", "CPU_ADAM", "CPU_ADAGRAD", "FUSED_ADAM", "FUSED_LAMB", "QUANTIZER", "RANDOM_LTD",
       "SPATIAL_INFERENCE", "AIO", "TRANSFORMER", "STOCHASTIC_TRANSFORMER", "TRANSFORMER_INFERENCE")
NAMES = {FEW: {"utils", "cpu_adam", "fused_adam"},
         ALL: {"utils", "cpu_adam", "cpu_adagrad", "fused_adam", "fused_lamb", "quantizer",
               "random_ltd", "spatial_inference", "async_io", "pin_memory", "transformer",
               "stochastic_transformer", "transformer_inference"}}
DEVICE_CODE = NAMES[ALL] - {"utils", "cpu_adam", "cpu_adagrad", "async_io", "pin_memory"}
CPU_LEVEL = 3


def chosen(ops, **more):
    """The environment that builds these ops and no other."""
    return clean_environment(DS_BUILD_OPS="0", TORCH_CUDA_ARCH_LIST="8.0;9.0",
                             **{"DS_BUILD_" + op: "1" for op in ops}, **more)


def words(python):
    return [PROGRAM, "build", "-l", "--source", newest(), "--python", python, "--cpu-level",
            CPU_LEVEL]


def folder(ops, python):
    """Where the build of these ops for this interpreter lies; kept from run to run."""
    return BUILD_FOLDER / "test-source" / ("%d-%s" % (
        len(ops), pathlib.Path(python).parent.parent.name))


@functools.lru_cache(maxsize=None)
def build(ops, python):
    """The wheel, by one command."""
    home = folder(ops, python)
    shutil.rmtree(home / "dist", ignore_errors=True)
    done = subprocess.run([str(word) for word in words(python)] + [
        "--build-dir", str(home / "build"), "--output", str(home / "dist")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        errors="replace", env=chosen(ops), check=False, timeout=5400)
    if done.returncode:
        raise AssertionError("the build ended with status %d:\n%s" % (
            done.returncode, done.stderr[-6000:]))
    wheel, = (home / "dist").glob("*.whl")
    return wheel


@contextlib.contextmanager
def installed(wheel, torch):
    """An interpreter that sees that torch, what DeepSpeed requires, and the wheel."""
    prefix = tempfile.mkdtemp(prefix="ds-deploy-test.")
    try:
        subprocess.run([torch, "-m", "venv", prefix], check=True, env=clean_environment(),
                       stdout=subprocess.DEVNULL)
        python = os.path.join(prefix, "bin", "python")
        (site_packages(python) / "torch.pth").write_text("%s\n%s\n" % (
            site_packages(torch), MODULES))
        # The wheel requires what the path file shows, so pip is not asked about it.
        done = subprocess.run([python, "-m", "pip", "install", "--no-deps", "--no-index", wheel],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=clean_environment(), check=False)
        if done.returncode:
            raise AssertionError(done.stdout)
        yield pathlib.Path(python)
    finally:
        shutil.rmtree(prefix, ignore_errors=True)


def driver(place):
    """For LD_LIBRARY_PATH: where the driver's libcuda.so.1 is, for ops that link it.

    A machine without a GPU has no driver. The toolkit has a stub to link with, whose functions all
    fail; under the driver's name, in a folder of the test's own, it lets such an op be loaded. What
    the op does with a GPU is not tried by that. None where there is neither.
    """
    try:
        ctypes.CDLL("libcuda.so.1")
        return ""
    except OSError:
        pass
    nvcc = find_nvcc()
    for stub in pathlib.Path(nvcc).resolve().parent.parent.glob("lib*/stubs/libcuda.so") if nvcc \
            else ():
        (place / "libcuda.so.1").symlink_to(stub)
        return str(place)
    return None


def says(python, *words, out_of_reach, **variables):
    """What the interpreter prints, as a job without compilers would be started.

    An op that is compiled all the same fails, or leaves the folder `out_of_reach`.
    """
    environment = clean_environment(
        DS_ACCELERATOR="cuda", PATH=str(pathlib.Path(python).parent), CC="/nowhere/cc",
        CXX="/nowhere/c++", CUDA_HOME="/nowhere/cuda", TORCH_EXTENSIONS_DIR=str(out_of_reach))
    done = subprocess.run([str(python), *map(str, words)], stdin=subprocess.DEVNULL, cwd="/",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          timeout=900, env={**environment, **variables})
    if done.returncode:
        raise AssertionError("status %d:\n%s%s" % (done.returncode, done.stdout, done.stderr))
    return done.stdout


def places_of_the_build(torch):
    """Folders of the build machine that nothing of a library may name."""
    prefix = pathlib.Path(torch).parent.parent
    toolkit = pathlib.Path(find_nvcc() or "/usr/local/cuda/bin/nvcc").parent.parent
    places = {str(place) for place in (
        prefix, prefix.resolve(), pathlib.Path(torch).resolve().parent.parent, sys.base_prefix,
        "/usr/local/cuda", toolkit, toolkit.resolve(), os.path.expanduser("~") + "/",
        tempfile.gettempdir() + "/", BUILD_FOLDER, BUILD_FOLDER.parent)}
    # Debian's own Python and nvcc are where the system's libraries are, on every machine.
    return places - {"/usr", "/usr/local"}
