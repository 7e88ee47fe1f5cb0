# SPDX-License-Identifier: Apache-2.0
"""What the wheel of a DeepSpeed tree costs, beside the tree's own build, in one run.

    python3 tests/bench/source.py --build build-bench --sdist FILE --python PY [--only some]

Same tree, ops and architectures (8.0;9.0), the same number of jobs. Upstream's own build runs
twice in every round: as it is, one compiler after the other, and with DS_ENABLE_NINJA=1. Everything
is built from nothing, ds-deploy's precompiled headers too; its wall is that of the whole command,
which reads the sdist, plans, compiles and packs. Upstream's begins in the unpacked tree.

Tables: the twelve ops once by each, then ours with nothing changed, then these durations on more
slots (--only all, half an hour with two cores); four ops in interleaved rounds (--only some, ten
minutes a round). --ops UTILS,AIO chooses others for all of them.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

from build import Run, show, spread

ALL = ("UTILS", "CPU_ADAM", "CPU_ADAGRAD", "FUSED_ADAM", "FUSED_LAMB", "QUANTIZER", "RANDOM_LTD",
       "SPATIAL_INFERENCE", "AIO", "TRANSFORMER", "STOCHASTIC_TRANSFORMER", "TRANSFORMER_INFERENCE")
SOME = ("UTILS", "CPU_ADAM", "FUSED_ADAM", "QUANTIZER")
OURS, SERIAL, NINJA = "ds-deploy build", "upstream", "upstream, DS_ENABLE_NINJA=1"
WARM_ROUNDS = 5


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.program = pathlib.Path(options.build).resolve() / "ds-deploy"
        self.numbers = iter(range(1000000))
        nvcc = shutil.which("nvcc")
        self.toolkit = pathlib.Path(os.environ.get("CUDA_HOME") or (
            pathlib.Path(nvcc).resolve().parent.parent if nvcc else "/usr/local/cuda"))

    def environment(self, ops, **more):
        """Both find the same toolkit, and the driver's stub where the driver is not."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(
            ("DS_", "TORCH_", "MAKE", "MAX_JOBS", "CFLAGS", "CXXFLAGS", "LIBRARY_PATH"))}
        kept.update({"DS_BUILD_" + op: "1" for op in ops}, DS_BUILD_OPS="0",
                    TORCH_CUDA_ARCH_LIST="8.0;9.0", DS_SKIP_CUDA_CHECK="1",
                    CUDA_HOME=str(self.toolkit),
                    LIBRARY_PATH=":".join(map(str, self.toolkit.glob("lib*/stubs"))), **more)
        return kept

    def fresh(self):
        path = self.folder / ("run%d" % next(self.numbers))
        path.mkdir()
        return path

    def words(self, path):
        return [self.program, "build", "-l", "--source", self.options.sdist, "--python",
                self.options.python, "--build-dir", path / "build", "--cache-dir", path / "cache",
                "--output", path / "dist", "--trace", path / "trace", "-j", self.options.jobs]

    def ours(self, path, ops):
        run = Run(self.words(path), env=self.environment(ops))
        run.trace = json.loads((path / "trace").read_text())["traceEvents"]
        return self.with_wheel(run, path / "dist")

    def theirs(self, path, ops, **more):
        tree = path / "tree"
        if not tree.exists():
            with tarfile.open(self.options.sdist) as archive:
                archive.extractall(path / "unpacked")
            next((path / "unpacked").iterdir()).rename(tree)
        # torch looks for ninja in PATH.
        beside = "%s:%s" % (pathlib.Path(self.options.python).parent, os.environ["PATH"])
        run = Run([self.options.python, "setup.py", "bdist_wheel"], cwd=tree,
                  env=self.environment(ops, DS_ACCELERATOR="cuda", PATH=beside,
                                       MAX_JOBS=str(self.options.jobs), **more))
        logs = list(tree.glob("build/temp*/.ninja_log"))
        run.ninja = logs[0].read_text() if logs else ""
        return self.with_wheel(run, tree / "dist")

    @staticmethod
    def with_wheel(run, folder):
        run.wheel, = (path.stat().st_size for path in folder.glob("*.whl"))
        return run

    def tools(self):
        return {OURS: self.ours, SERIAL: self.theirs,
                NINJA: lambda path, ops: self.theirs(path, ops, DS_ENABLE_NINJA="1")}

    def once(self, ops):
        """Each tool once, in folders that stay for what is warm."""
        self.runs, self.places = {}, {}
        for name, tool in self.tools().items():
            self.places[name] = self.fresh()
            self.runs[name] = tool(self.places[name], ops)
            print("%s: %.0f s" % (name, self.runs[name].wall), file=sys.stderr, flush=True)
        own = self.runs[OURS]
        show("%d ops, once by each, %d jobs at one time" % (len(ops), self.options.jobs),
             ["tool", "wall s", "CPU s", "its wall, ratio to ds-deploy's", "wheel MB",
              "its wheel, ratio to ds-deploy's"],
             [(name, "%.1f" % run.wall, "%.1f" % run.cpu, "%.2f" % (run.wall / own.wall),
               "%.2f" % (run.wheel / 1e6), "%.1f" % (run.wheel / own.wheel))
              for name, run in self.runs.items()])

    def rounds(self, ops):
        runs = {name: [] for name in self.tools()}
        for number in range(self.options.rounds):
            for name, tool in self.tools().items():
                path = self.fresh()
                runs[name].append(tool(path, ops))
                shutil.rmtree(path)
                print("round %d, %s: %.0f s" % (number + 1, name, runs[name][-1].wall),
                      file=sys.stderr, flush=True)
        show("%s, %d interleaved rounds: min / median / max" % (
            ", ".join(op.lower() for op in ops), self.options.rounds),
             ["tool", "wall s", "CPU s", "its wall, ratio to ds-deploy's of the round"],
             [(name, spread([run.wall for run in done], "%.1f"),
               spread([run.cpu for run in done], "%.1f"),
               spread([run.wall / own.wall for run, own in zip(done, runs[OURS])]))
              for name, done in runs.items()])

    def warm(self, ops):
        """Ours of `once` again. Theirs would be another hour: setup.py compiles most of it anew."""
        times = [self.ours(self.places[OURS], ops).wall for _ in range(WARM_ROUNDS)]
        show("Nothing changed, %d rounds: min / median / max" % WARM_ROUNDS,
             ["tool", "wall s", "times faster than its cold build"],
             [(OURS, spread(times), "%.0f" % (
                 self.runs[OURS].wall / sorted(times)[WARM_ROUNDS // 2]))])

    def plan(self, ops):
        done = subprocess.run([str(word) for word in self.words(self.fresh())] +
                              ["--dry-run", "--json"], env=self.environment(ops), check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return json.loads(done.stdout)["jobs"]

    def model(self, ops):
        """On other numbers of slots: ours by its own scheduler, theirs by a bound in its favour."""
        run, ninja = self.runs[OURS], self.runs[NINJA]
        jobs = self.plan(ops)
        took = {}
        for event in run.trace:
            if event["ph"] == "X":
                took.setdefault(event["name"], []).append(event["dur"] / 1e6)
        order = [{"seconds": took[job["name"]].pop(0), "needs": job["needs"]} for job in jobs]
        rest = run.wall - max(event["ts"] + event["dur"] for event in run.trace
                              if event["ph"] == "X") / 1e6
        groups = ninja_groups(ninja.ninja)
        outside = ninja.wall - sum(max(end for _, end in group) for group in groups)
        rows = []
        for slots in (2, 8, 16, 32):
            said = json.loads(subprocess.run(
                [self.program.parent / "tests" / "build-bench"], text=True, check=True,
                input=json.dumps({"slots": slots, "jobs": order}), stdout=subprocess.PIPE).stdout)
            ours = rest + said["seconds"]
            theirs = outside + sum(max(max(end - begin for begin, end in group),
                                       sum(end - begin for begin, end in group) / slots)
                                   for group in groups)
            rows.append((slots, "%.1f" % ours, "%.1f" % said["critical_path"], "%.1f" % theirs,
                         "%.2f" % (theirs / ours), "%.2f" % (self.runs[SERIAL].wall / ours)))
        show("Modelled from the durations above",
             ["slots", "ds-deploy, s", "its critical path, s", NINJA + ", s", "ratio",
              "upstream as measured, ratio to ds-deploy"], rows)


def ninja_groups(log):
    """(begin, end) in seconds of every unit, by run of ninja: one for each op, in turn.

    In the log each run begins at 0, and a line is written when its unit ends: an end before that of
    the line above is the next run's. Units that were overwritten by another op's are in it too.
    """
    groups, last = [], None
    for line in log.splitlines():
        fields = line.split("\t")
        if len(fields) < 4:
            continue
        begin, end = int(fields[0]) / 1000, int(fields[1]) / 1000
        if last is None or end < last:
            groups.append([])
        groups[-1].append((begin, end))
        last = end
    return groups


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="a Release build with tests (build)")
    parser.add_argument("--sdist", required=True, help="of DeepSpeed")
    parser.add_argument("--python", required=True, help="with torch, setuptools, wheel and ninja")
    parser.add_argument("--ops", help="build variables less DS_BUILD_; for all tables")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=("all", "some"),
                        help="all: with warm and model; some: the rounds")
    options = parser.parse_args()
    options.sdist = pathlib.Path(options.sdist).resolve()
    options.python = os.path.abspath(options.python)
    chosen = tuple(options.ops.split(",")) if options.ops else None
    with tempfile.TemporaryDirectory(prefix="ds-deploy-bench.") as name:
        bench = Bench(options, pathlib.Path(name))
        if options.only in (None, "all"):
            bench.once(chosen or ALL)
            bench.warm(chosen or ALL)
            bench.model(chosen or ALL)
        if options.only in (None, "some"):
            bench.rounds(chosen or SOME)


if __name__ == "__main__":
    main()
