# SPDX-License-Identifier: Apache-2.0
"""What a step of the optimizers on the CPU costs, beside the machine's memory and the peers.

    PY tests/bench/ops_cpu.py --ops PACKAGE [--deepspeed WHEEL] [--elements 67108864] [--rounds 15]

PY has PyTorch; PACKAGE is the folder with `ds_ops`, or its wheel; WHEEL, or its folder, has
DeepSpeed's own cpu_adam and cpu_adagrad, which `ds-deploy build --source` makes of its sdist.

All work in one process on the same memory, each once in every round, in turn. The STREAM triad
(a = b + s * c, float32, 12 bytes an element, non-temporal stores where the compiler knows them) is
compiled by this script with -O3 -march=native -fopenmp. A step's bytes are those that it must move:
each array read or written once.
"""
import argparse
import ctypes
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import time
import zipfile

from build import show, spread

TRIAD = """#include <cstdint>
#ifdef __AVX__
#include <immintrin.h>
#endif
extern "C" int triad(float* a, const float* b, const float* c, int64_t n, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t block = 0; block < n / 1024; ++block) {
    for (int64_t i = block * 1024; i < (block + 1) * 1024; i += 16) {
#ifdef __AVX512F__
      _mm512_stream_ps(a + i, _mm512_loadu_ps(b + i) + 3.0F * _mm512_loadu_ps(c + i));
#elif defined(__AVX__)
      _mm256_stream_ps(a + i, _mm256_loadu_ps(b + i) + 3.0F * _mm256_loadu_ps(c + i));
      _mm256_stream_ps(a + i + 8, _mm256_loadu_ps(b + i + 8) + 3.0F * _mm256_loadu_ps(c + i + 8));
#else
      for (int64_t k = i; k < i + 16; ++k) a[k] = b[k] + 3.0F * c[k];
#endif
    }
  }
#ifdef __AVX__
  _mm_sfence();
  return 1;
#else
  return 0;
#endif
}
"""


def unpacked(path, folder):
    """A folder, or what a wheel unpacks to."""
    if path.is_dir():
        return path
    zipfile.ZipFile(path).extractall(folder)
    return folder


def library(tree, op, kind):
    """DeepSpeed's extension module, without the package around it."""
    path, = tree.glob("deepspeed/ops/%s/%s_op*.so" % (kind, op))
    spec = importlib.util.spec_from_file_location("%s_op" % op, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Memory:
    """The arrays that all share."""

    def __init__(self, torch, elements):
        self.torch, self.n = torch, elements
        torch.manual_seed(1)
        # Allocated with room, so that each begins on a page.
        self.params, self.grads, self.m, self.v, self.a, self.b, self.c = (
            self.page(torch.randn(elements + 1024) * scale) for scale in (
                1, 0.1, 0.01, 0, 1, 1, 1))
        self.v.fill_(1e-2)

    def page(self, tensor):
        skip = -tensor.data_ptr() % 4096 // 4
        return tensor[skip:skip + self.n]


def of_torch(torch, kind, memory, states, **options):
    """A step of torch's optimizer on the shared memory."""
    param = torch.nn.Parameter(memory.params)
    param.grad = memory.grads
    optimizer = kind([param], **options)
    optimizer.state[param].update(step=torch.tensor(5.0), **states)
    return optimizer.step


def adam(torch, memory, deepspeed):
    """Name to a step; ours come first."""
    from ds_ops import cpu_adam, optim
    arrays = [memory.params], [memory.grads], [memory.m], [memory.v]
    states = {"exp_avg": memory.m, "exp_avg_sq": memory.v}
    found = {"ds_ops.cpu_adam": lambda: cpu_adam.step(*arrays, step=6)}
    for level in cpu_adam.cpu_levels()[:-1]:
        found["ds_ops.cpu_adam, " + level] = lambda level=level: cpu_adam.step(
            *arrays, step=6, cpu_level=level)
    found["ds_ops.optim.CPUAdam"] = of_torch(torch, optim.CPUAdam, memory, states)
    if deepspeed:
        op = library(deepspeed, "cpu_adam", "adam")
        op.create_adam(0, 1e-3, 0.9, 0.999, 1e-8, 0.0, True, False)
        found["DeepSpeed's cpu_adam"] = lambda: op.adam_update(
            0, 6, 1e-3, 0.9, 0.999, 1e-8, 0.0, True, *(each[0] for each in arrays))
    found["torch Adam(foreach=True)"] = of_torch(torch, torch.optim.Adam, memory, states,
                                                 foreach=True)
    try:
        found["torch Adam(fused=True)"] = of_torch(torch, torch.optim.Adam, memory, states,
                                                   fused=True)
    except (RuntimeError, TypeError) as error:
        print("no torch Adam(fused=True) on the CPU: %s" % error)
    return found, 28


def adagrad(torch, memory, deepspeed):
    from ds_ops import cpu_adagrad, optim
    arrays = [memory.params], [memory.grads], [memory.v]
    states = {"sum": memory.v}
    found = {"ds_ops.cpu_adagrad": lambda: cpu_adagrad.step(*arrays)}
    for level in cpu_adagrad.cpu_levels()[:-1]:
        found["ds_ops.cpu_adagrad, " + level] = lambda level=level: cpu_adagrad.step(
            *arrays, cpu_level=level)
    found["ds_ops.optim.CPUAdagrad"] = of_torch(torch, optim.CPUAdagrad, memory, states)
    if deepspeed:
        op = library(deepspeed, "cpu_adagrad", "adagrad")
        op.create_adagrad(0, 1e-2, 1e-10, 0.0, False)
        found["DeepSpeed's cpu_adagrad"] = lambda: op.adagrad_update(
            0, 6, 1e-2, 1e-10, 0.0, *(each[0] for each in arrays))
    found["torch Adagrad(foreach=True)"] = of_torch(torch, torch.optim.Adagrad, memory, states,
                                                    foreach=True)
    return found, 20


def halves(torch, memory, deepspeed):
    """AdamW of other types, each with its own bytes; the first is the one of the other table."""
    from ds_ops import cpu_adam
    n = memory.n
    p, g, copy = (torch.randn(n).to(torch.bfloat16) for _ in range(3))
    arrays = [p], [g], [memory.m], [memory.v]
    wide = [memory.params], [memory.grads], [memory.m], [memory.v]
    found = {"float32": (28, lambda: cpu_adam.step(*wide, step=6)),
             "float32, a copy in bfloat16": (30, lambda: cpu_adam.step(*wide, step=6,
                                                                       param_copy=[copy])),
             "float32, gradients in bfloat16": (26, lambda: cpu_adam.step(wide[0], [g], *wide[2:],
                                                                          step=6)),
             "bfloat16, states in float32": (22, lambda: cpu_adam.step(*arrays, step=6))}
    p16, g16 = [p.to(torch.float16)], [g.to(torch.float16)]
    found["float16, states in float32"] = (22, lambda: cpu_adam.step(p16, g16, *wide[2:], step=6))
    if deepspeed:
        op = library(deepspeed, "cpu_adam", "adam")
        op.create_adam(1, 1e-3, 0.9, 0.999, 1e-8, 0.0, True, False)
        numbers = (1, 6, 1e-3, 0.9, 0.999, 1e-8, 0.0, True)
        found["DeepSpeed's, bfloat16, states in float32"] = (22, lambda: op.adam_update(
            *numbers, p, g, memory.m, memory.v))
        found["DeepSpeed's, float16, states in float32"] = (22, lambda: op.adam_update(
            *numbers, p16[0], g16[0], memory.m, memory.v))
    return found


def timed(call):
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def rounds(calls, number):
    """Seconds of each call in each round, after one that is not counted."""
    for call in calls.values():
        call()
    taken = {name: [] for name in calls}
    for _ in range(number):
        for name, call in calls.items():
            taken[name].append(timed(call))
    return taken


def table(title, calls, sizes, elements, number, triad):
    taken = rounds({"triad": triad, **calls}, number)
    speeds = {name: [sizes[name] * elements / 1e9 / each for each in seconds]
              for name, seconds in taken.items()}
    ours = next(iter(calls))
    show("%s, %d elements, %d interleaved rounds: min / median / max" % (title, elements, number),
         ["what", "ms", "GB/s that it must move", "its GB/s / the triad's of the round",
          "its time / ours of the round"],
         [(name, spread([1e3 * each for each in seconds], "%.1f"), spread(speeds[name], "%.1f"),
           spread([a / b for a, b in zip(speeds[name], speeds["triad"])]),
           spread([a / b for a, b in zip(seconds, taken[ours])]))
          for name, seconds in taken.items()])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ops", type=pathlib.Path, required=True)
    parser.add_argument("--deepspeed", type=pathlib.Path)
    parser.add_argument("--elements", type=int, default=64 << 20)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ds-deploy-bench.") as folder:
        folder = pathlib.Path(folder)
        sys.path.insert(0, str(unpacked(given.ops, folder / "ops").resolve()))
        deepspeed = given.deepspeed and unpacked(given.deepspeed, folder / "deepspeed").resolve()
        (folder / "triad.cc").write_text(TRIAD)
        subprocess.run(["g++", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-o",
                        folder / "triad.so", folder / "triad.cc"], check=True)
        import torch
        function = ctypes.CDLL(str(folder / "triad.so")).triad
        memory = Memory(torch, given.elements // 1024 * 1024)
        threads = torch.get_num_threads()

        def triad():
            return function(*(ctypes.c_void_p(each.data_ptr()) for each in (
                memory.a, memory.b, memory.c)), ctypes.c_int64(memory.n), threads)
        print("torch %s, %d threads; the triad has %s stores" % (
            torch.__version__, threads, "non-temporal" if triad() else "plain"))
        for title, peers in (("Adam", adam), ("Adagrad", adagrad)):
            calls, size = peers(torch, memory, deepspeed)
            table(title, calls, {**dict.fromkeys(calls, size), "triad": 12}, memory.n,
                  given.rounds, triad)
        calls = halves(torch, memory, deepspeed)
        table("AdamW of other types", {name: call for name, (_, call) in calls.items()},
              {**{name: size for name, (size, _) in calls.items()}, "triad": 12}, memory.n,
              given.rounds, triad)


if __name__ == "__main__":
    main()
