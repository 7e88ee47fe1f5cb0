# SPDX-License-Identifier: Apache-2.0
"""All figures of the op library, in one run.

    python3 tests/bench/ops.py --build build-bench --python PY [--deepspeed WHEEL]
        [--deepspeed-python PY] [--rounds 5]

What a cold build of the library costs and how large its wheel is; then ops_cpu.py, ops_async_io.py
and ops_gpu.py beside their peers. PY has torch; the library that is built here comes into its path.
WHEEL is DeepSpeed with its own cpu_adam and cpu_adagrad (see ops_cpu.py); the interpreter of
--deepspeed-python has DeepSpeed with its aio_handle (see ops_async_io.py).
"""
import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ARCHITECTURES = "8.0;9.0"


def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def library(program, folder, rounds):
    """Builds it cold so many times; the wheel."""
    walls, cpus = [], []
    for number in range(rounds):
        before, began = spent(), time.monotonic()
        cold = folder / ("cold%d" % number)
        subprocess.run([program, "build", "-l", "-q", "--output", folder / "dist", "--build-dir",
                        cold / "build", "--cache-dir", cold / "cache"],
                       check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "TORCH_CUDA_ARCH_LIST": ARCHITECTURES})
        walls.append(time.monotonic() - began)
        cpus.append(spent() - before)
    wheel = next((folder / "dist").glob("*.whl"))
    print("\n### The library, cold, for %s\n" % ARCHITECTURES)
    print("| what | median (min to max) |\n|---|---|")
    for what, values in (("CPU s", cpus), ("wall s", walls)):
        print("| %s | %.1f (%.1f to %.1f) |" % (what, statistics.median(values), min(values),
                                                max(values)))
    print("| wheel, MB | %.2f |" % (wheel.stat().st_size / 1e6), flush=True)
    return wheel


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--python", default=sys.executable, help="it has torch")
    parser.add_argument("--deepspeed", metavar="WHEEL")
    parser.add_argument("--deepspeed-python", metavar="PY")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ds-deploy-bench.") as name:
        folder = pathlib.Path(name)
        wheel = library(pathlib.Path(given.build).resolve() / "ds-deploy", folder, given.rounds)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "package")
        path = os.pathsep.join(filter(None, [str(folder / "package"),
                                             os.environ.get("PYTHONPATH")]))
        cpu = ["--ops", wheel, *(["--deepspeed", given.deepspeed] if given.deepspeed else [])]
        files = ["--deepspeed", given.deepspeed_python] if given.deepspeed_python else []
        status = 0
        for script, words in (("ops_cpu.py", cpu), ("ops_async_io.py", files), ("ops_gpu.py", [])):
            done = subprocess.run([given.python, HERE / script, "--rounds", str(given.rounds),
                                   *words], check=False, env={**os.environ, "PYTHONPATH": path})
            status = status or done.returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
