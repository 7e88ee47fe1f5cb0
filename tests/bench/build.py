# SPDX-License-Identifier: Apache-2.0
"""What a build costs, side by side with ninja and make in one run.

    python3 tests/bench/build.py --build build-bench [--ops 8] [--rounds 5] [--cub]

The tree is synthetic, of the shape of DeepSpeed's: 24 ops, 125 sources, 53 of them for nvcc. Cold
builds take N of its ops (--ops), spread evenly; what is replayed and what is warm is the whole.
Every tool runs the very commands of ds-deploy's plan, for two architectures, but for nvcc's
--jobserver, which ninja 1.11 and make 4.3 have nothing for. Rounds are interleaved: each tool once
in every round, in turn, from nothing. ds-deploy's time is that of the whole command: it asks the
machine what it is, plans, builds and packs the wheel as well.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# Sources of each op: for the C++ compiler, for nvcc.
SHAPE = tuple(zip((11, 12, 2, 2, 2, 2, 3, 3, 9, 9, 4, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0),
                  (0, 0, 0, 0, 0, 0, 1, 1, 8, 8, 9, 5, 4, 3, 2, 2, 2, 1, 1, 1, 1, 1, 2, 1)))
HEAVY = "".join("#include <%s>\n" % name for name in
                ("algorithm", "functional", "map", "memory", "random", "regex", "string", "vector"))
CC = """#include "heavy.h"
namespace {
template <int N> struct Step { static double run(std::map<std::string, std::vector<double>>& m) {
  double sum = 0;
  for (auto& [k, v] : m) { std::sort(v.begin(), v.end()); sum += v[N %% v.size()] * N; }
  return sum + Step<N - 1>::run(m); } };
template <> struct Step<0> { static double run(std::map<std::string, std::vector<double>>&) {
  return 0; } };
}
extern "C" double op%(op)d_cc%(number)d(int n) {
  std::map<std::string, std::vector<double>> m; m[std::to_string(n)].assign(n + 1, 1.5);
  std::function<double()> f = [&] { return Step<%(depth)d>::run(m); };
  return f(); }
"""
CU = """%(head)s
template <int N> __global__ void step(float* p, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float x = i < n ? p[i] : 0;
#pragma unroll
  for (int k = 0; k < 32; ++k) x = x * 1.0001f + sqrtf(fabsf(x) + k * N);
  if (i < n) p[i] = x; }
template <int N> void all(float* p, int n) {
  step<N><<<(n + 255) / 256, 256>>>(p, n);
  if constexpr (N > 0) all<N - 1>(p, n); }
extern "C" void op%(op)d_cu%(number)d(float* p, int n) { all<%(depth)d>(p, n); }
"""
ENVIRONMENT = {**{name: value for name, value in os.environ.items()
                  if not name.startswith("DS_BUILD") and name not in ("MAKEFLAGS", "CXX")},
               "TORCH_CUDA_ARCH_LIST": "8.0;9.0"}
NOOP = """#include <cstdio>
#include <cstring>
int main(int count, char** words) {
  for (int i = 1; i + 1 < count; ++i)
    if (!std::strcmp(words[i], "-o")) std::fclose(std::fopen(words[i + 1], "w"));
}
"""


def make_tree(root, shape, cub):
    """The ops; their number of sources, and of those for nvcc."""
    include = root / "common" / "include"
    include.mkdir(parents=True)
    (root / "VERSION").write_text("1.0\n")
    (include / "heavy.h").write_text("#pragma once\n" + HEAVY)
    head = "#include <cub/cub.cuh>" if cub else "#include <cmath>"
    for op, (plain, device) in enumerate(shape):
        folder = root / ("op%d" % op)
        (folder / "python").mkdir(parents=True)
        (folder / "python" / "__init__.py").write_text("def self_test():\n    pass\n")
        sources = []
        for ending, text, number in ((".cc", CC, plain), (".cu", CU, device)):
            for at in range(number):
                sources.append("s%d%s" % (at, ending))
                (folder / sources[-1]).write_text(text % {
                    "op": op, "number": at, "depth": 4 + (op * 7 + at * 5) % 24, "head": head})
        (folder / "op.yaml").write_text(
            "name: op%d\nsummary: synthetic\nkind: %s\nbuild_variable: DS_BUILD_OP%d\n"
            "sources: [%s]\ninclude: [../common/include]\nlinks_torch: false\n"
            "self_test: ds_ops.op%d:self_test\n"
            % (op, "cuda" if device else "cpu", op, ", ".join(sources), op))


class Run:
    """Wall seconds and CPU seconds of a command, children included."""

    def __init__(self, words, env=ENVIRONMENT, cwd=None):
        began = time.monotonic()
        with tempfile.TemporaryFile() as out:
            child = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                     stdout=out, stderr=subprocess.STDOUT, env=env, cwd=cwd)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.wall = time.monotonic() - began
            out.seek(0)
            self.output = out.read().decode(errors="replace")
        self.cpu = usage.ru_utime + usage.ru_stime
        if child.returncode != 0:
            sys.exit("%s ended with status %d:\n%s" % (words[0], child.returncode,
                                                       self.output[-2000:]))


class Bench:
    def __init__(self, options, folder, ops):
        """`ops`: how many of the synthetic ones; 0: our own."""
        self.options, self.folder = options, folder
        folder.mkdir()
        self.program = pathlib.Path(options.build).resolve() / "ds-deploy"
        if not ops:
            self.tree = pathlib.Path(__file__).resolve().parents[2] / "ops"
            print("\nour own ops; %d jobs at one time" % options.jobs)
            return
        self.tree = folder / "ops"
        wanted = [SHAPE[at * len(SHAPE) // ops] for at in range(ops)]
        if shutil.which("nvcc") is None:
            print("no nvcc: the sources for it are left out")
            wanted = [(plain, 0) for plain, _ in wanted if plain]
        self.sources = sum(map(sum, wanted))
        print("\n%d ops, %d sources, %d of them for nvcc; %d jobs at one time" % (
            len(wanted), self.sources, sum(device for _, device in wanted), options.jobs))
        make_tree(self.tree, wanted, options.cub)

    def words(self, *more, build, cache):
        ops = [] if "--ops" in more else ["--ops", self.tree]
        return [self.program, "build", "-l", *ops, "--build-dir", build,
                "--cache-dir", cache, "--output", build, "-j", self.options.jobs, *more]

    def plan(self):
        done = Run([*self.words(build=self.folder / "p", cache=self.folder / "p"), "--dry-run",
                    "--json", "-q"])
        return json.loads(done.output[done.output.index("{"):])["jobs"]

    def commands(self, jobs, folder):
        """For each job: name, shell line, output, outputs that it needs."""
        made = []
        for number, job in enumerate(jobs):
            output = folder / ("%d.%s" % (number, "so" if job["needs"] else "o"))
            words = []
            for word in job["command"]:
                word = word.replace("@OUT@", str(output)).replace("@DEP@", str(output) + ".d")
                word = word.replace("@KEEP@", str(output) + ".keep")
                words.append(word.replace("@FOLDER@", str(self.tree)))
            if "--jobserver" in words:
                del words[words.index("--jobserver"):words.index("--threads") + 2]
            # A link names its objects; they are ours here.
            objects = [made[need][2] for need in job["needs"]]
            if objects:
                words = [word for word in words if not word.startswith("obj/")]
                words[words.index("-o"):words.index("-o")] = map(str, objects)
            line = "cd %s && mkdir -p %s.keep && %s" % (self.tree, output, shlex.join(words))
            made.append((job["op"], line, output, objects))
        return made

    def ninja(self, folder, made, names=None):
        text = "rule run\n  command = $line\n"
        for op, line, output, objects in made:
            if names is None or op in names:
                text += "build %s: run %s\n  line = %s\n" % (
                    output, " ".join(map(str, objects)), line.replace("$", "$$"))
        (folder / "build.ninja").write_text(text)
        return ["ninja", "-C", folder, "-j", self.options.jobs]

    def make(self, folder, made):
        text = "all: %s\n" % " ".join(str(output) for _, _, output, _ in made)
        for _, line, output, objects in made:
            text += "%s: %s\n\t%s\n" % (output, " ".join(map(str, objects)),
                                       line.replace("$", "$$"))
        (folder / "Makefile").write_text(text)
        return ["make", "-s", "-C", folder, "-j%d" % self.options.jobs]

    def cold(self, jobs):
        fresh = iter(range(1000000))
        names = sorted({job["op"] for job in jobs})

        def folder():
            path = self.folder / ("run%d" % next(fresh))
            path.mkdir()
            return path

        def ours():
            path = folder()
            cache = self.folder / "learned"
            # What it learned of times stays; what it made does not.
            shutil.rmtree(cache / "outputs", ignore_errors=True)
            shutil.rmtree(cache / "results", ignore_errors=True)
            run = Run(self.words("--trace", path / "trace", build=path, cache=cache))
            events = json.loads((path / "trace").read_text())["traceEvents"]
            run.jobs = max(event["ts"] + event["dur"] for event in events
                           if event["ph"] == "X") / 1e6
            return run, path

        def one_ninja():
            path = folder()
            return Run(self.ninja(path, self.commands(jobs, path))), path

        def one_make():
            path = folder()
            return Run(self.make(path, self.commands(jobs, path))), path

        def ninja_each():
            path = folder()
            made = self.commands(jobs, path)
            wall, cpu = 0, 0
            for name in names:
                (path / name).mkdir()
                done = Run(self.ninja(path / name, made, {name}))
                wall, cpu = wall + done.wall, cpu + done.cpu
            done.wall, done.cpu = wall, cpu
            return done, path

        tools = {"ds-deploy build": ours, "ninja, one build.ninja": one_ninja, "make -j": one_make,
                 "one ninja per op, in turn": ninja_each}
        for name, program in (("ninja, one build.ninja", "ninja"), ("make -j", "make"),
                              ("one ninja per op, in turn", "ninja")):
            if shutil.which(program) is None:
                print("left out: %s is not installed" % program)
                del tools[name]
        runs = {name: [] for name in tools}
        ours()  # learns
        for _ in range(self.options.rounds):
            for name, tool in tools.items():
                run, path = tool()
                runs[name].append(run)
                shutil.rmtree(path)
        base = runs["ds-deploy build"]
        alone = [run.jobs for run in base]
        show("Cold, %d interleaved rounds: min / median / max" % self.options.rounds,
             ["tool", "wall s", "CPU s", "ds-deploy's wall, ratio to it", "its jobs alone"],
             [(name, spread([run.wall for run in done]), spread([run.cpu for run in done]),
               spread([own.wall / run.wall for run, own in zip(done, base)]),
               spread([own / run.wall for run, own in zip(done, alone)]))
              for name, done in runs.items()])

    def whole(self):
        """Builds all of it once: the seconds, and the timeline in self.trace."""
        build = self.folder / "warm"
        done = Run(self.words("--trace", self.folder / "trace", build=build,
                              cache=self.folder / "warm-cache"))
        self.trace = json.loads((self.folder / "trace").read_text())
        print("\nThe whole, once, cold: %.1f s, %.1f s of CPU" % (done.wall, done.cpu))
        return done.wall

    def replay(self, jobs):
        """The scheduler with these durations on other numbers of slots."""
        took = {event["name"]: event["dur"] / 1e6 for event in self.trace["traceEvents"]
                if event["ph"] == "X"}
        rows = []

        def scheduled(slots, chosen):
            number = {at: new for new, at in enumerate(chosen)}
            order = {"slots": slots, "jobs": [
                {"seconds": took[jobs[at]["name"]],
                 "needs": [number[need] for need in jobs[at]["needs"]]} for at in chosen]}
            return json.loads(subprocess.run(
                [self.program.parent / "tests" / "build-bench"], input=json.dumps(order), text=True,
                stdout=subprocess.PIPE, check=True).stdout)

        for slots in (2, 8, 16, 32):
            said = scheduled(slots, range(len(jobs)))
            bound = max(said["critical_path"], said["work_by_slots"])
            in_turn = sum(scheduled(slots, [at for at, job in enumerate(jobs) if job["op"] == op])
                          ["seconds"] for op in {job["op"] for job in jobs})
            rows.append((slots, "%.2f" % said["seconds"], "%.2f" % said["critical_path"],
                         "%.2f" % said["work_by_slots"], "%.3f" % (said["seconds"] / bound),
                         "%.2f" % (in_turn / said["seconds"])))
        show("The scheduler, replayed with the durations of the last run", [
            "slots", "seconds", "critical path", "work by slots", "ratio to the larger",
            "one op after the other, ratio to it"], rows)

    def warm(self, cold):
        build, cache = self.folder / "warm", self.folder / "warm-cache"
        time.sleep(2.5)  # so that the outputs are older than file clocks are coarse
        Run(self.words(build=build, cache=cache))
        rows = []

        def row(what, before=lambda: None):
            runs = []
            for _ in range(self.options.rounds):
                before()
                runs.append(Run(self.words("-v", build=build, cache=cache)))
            ran = [line for line in runs[-1].output.splitlines() if line.startswith("build: ")]
            rows.append((what, spread([run.wall * 1000 for run in runs], "%.0f"),
                         "%.0f" % (cold / statistics.median(run.wall for run in runs)),
                         ran[-1][len("build: "):] if ran else ""))

        header = self.tree / "common" / "include" / "heavy.h"
        source = self.tree / "op0" / "s0.cc"
        text = source.read_text()
        number = iter(range(1000000))
        row("nothing changed")
        row("a header touched, not changed", header.touch)
        row("one source changed", lambda: source.write_text(text + "// %d\n" % next(number)))
        row("another build folder", lambda: shutil.rmtree(build))
        show("Warm, %d rounds: min / median / max" % self.options.rounds,
             ["what", "wall ms", "times faster than cold", "the last run"], rows)

    def inner(self):
        """One source with CUB for several architectures, and nothing beside it."""
        if shutil.which("nvcc") is None:
            print("left out: no nvcc")
            return
        tree = self.folder / "inner-ops"
        make_tree(tree, [(0, 1)], True)
        rows = []
        for archs in ("8.0", "8.0;9.0", "8.0;8.6;9.0;10.0"):
            env = {**ENVIRONMENT, "TORCH_CUDA_ARCH_LIST": archs}
            numbers = [arch.replace(".", "") for arch in archs.split(";")]
            nvcc = ["nvcc", "-std=c++17", "-O3", "-I", tree / "common" / "include", "-c", "-o",
                    self.folder / "inner.o", tree / "op0" / "s0.cu", *(
                        "-gencode=arch=compute_%s,code=sm_%s" % (arch, arch) for arch in numbers)]
            walls = {"plain": [], "threads": [], "ours": []}
            for _ in range(self.options.rounds):
                walls["plain"].append(Run(nvcc).wall)
                walls["threads"].append(Run([*nvcc, "--threads", len(numbers)]).wall)
                build = self.folder / "inner"
                walls["ours"].append(Run(self.words("--ops", tree, build=build, cache=build),
                                         env=env).wall)
                shutil.rmtree(build)
            rows.append((len(numbers), *(spread(walls[name]) for name in walls)))
        show("One source, several architectures, %d slots: wall s" % self.options.jobs,
             ["architectures", "nvcc", "nvcc --threads N", "ds-deploy build"], rows)

    def overhead(self):
        number = self.options.noops
        root = self.folder / "noop-ops"
        make_tree(root, [(number // 10 - 1, 0)] * 10, False)  # each with its link
        (self.folder / "noop.cc").write_text(NOOP)
        noop = self.folder / "noop"
        subprocess.run(["g++", "-O2", "-static", "-o", noop, self.folder / "noop.cc"], check=True)
        words = [self.program, "build", "-l", "--ops", root, "-j", self.options.jobs, "-v", "-k", 1]
        build = self.folder / "noop-build"
        done = subprocess.run(
            [str(word) for word in words] + ["--build-dir", str(build), "--cache-dir",
                                             str(build / "cache"), "--output", str(build)],
            env={**ENVIRONMENT, "CXX": str(noop)}, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.STDOUT, check=False)
        said = [line for line in done.stdout.splitlines() if line.startswith("build: ")]
        if not said:
            sys.exit("the no-op jobs did not run: " + done.stdout[-2000:])
        print("\n%d no-op jobs: %s" % (number, said[-1]))


def spread(values, form="%.2f"):
    return " / ".join(form % value for value in
                      (min(values), statistics.median(values), max(values)))


def show(title, columns, rows):
    print("\n%s\n\n| %s |\n|%s" % (title, " | ".join(columns), "---|" * len(columns)))
    for row in rows:
        print("| %s |" % " | ".join(map(str, row)))
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build folder with tests (build)")
    parser.add_argument("--ops", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--noops", type=int, default=10000)
    parser.add_argument("--cub", action="store_true", help="heavy headers for nvcc too: minutes")
    parser.add_argument("--only", choices=("cold", "own", "whole", "inner", "overhead"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ds-deploy-bench.") as name:
        folder = pathlib.Path(name)
        if options.only in (None, "cold"):
            some = Bench(options, folder / "some", options.ops)
            some.cold(some.plan())
        if options.only in (None, "own"):
            own = Bench(options, folder / "own", 0)
            own.cold(own.plan())
        bench = Bench(options, folder / "all", len(SHAPE))
        if options.only in (None, "whole"):
            cold = bench.whole()
            bench.replay(bench.plan())
            bench.warm(cold)
        if options.only in (None, "inner"):
            bench.inner()
        if options.only in (None, "overhead"):
            bench.overhead()


if __name__ == "__main__":
    main()
