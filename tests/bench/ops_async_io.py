# SPDX-License-Identifier: Apache-2.0
"""How fast async_io moves bytes, beside fio, in one run.

    PYTHONPATH=PACKAGE python3 tests/bench/ops_async_io.py [--folder DIR] [--size MIB] [--rounds N]
        [--deepspeed PY]

PACKAGE: an unpacked wheel of the op library. One file of --size MiB on DIR, read and written as a
whole past the page cache, by io_uring and by Linux native AIO, with blocks of 1 MiB and 128 KiB and
a depth of 32, one thread each. In every round each tool runs once on the same file, the first one
another time first. fio runs as it is, which hands in one I/O at a time, and with batches of the
depth. Its memory is the depth times the block, in pages of 4 KiB that are new in every run; ours is
that too (requests of that size, one after the other in the queue, whose bytes overwrite each
other's), and, by itself, the whole file in memory of new_cpu_locked_tensor (huge pages), as it is
used. On virtual disks the memory matters: where the host copies, it has more than one speed.
DeepSpeed's aio_handle (native AIO alone, overlap_events on) joins in if --deepspeed's interpreter
has it built.

The other columns are MB/s and the ratio to fio's of the same round: min / median / max.
"""
import argparse
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time

from build import show, spread

from ds_ops.async_io import aio_handle, engines

DEPTH = 32
BLOCKS = (1 << 20, 128 << 10)
FIO_ENGINES = {"io_uring": "io_uring", "linux_aio": "libaio"}
OURS, WHOLE = "async_io, memory as fio's", "async_io, the whole file"
FIO, BATCHED, DEEPSPEED = "fio", "fio, batches", "DeepSpeed aio_handle"
IN_DEEPSPEED = """
import sys, time, torch
from deepspeed.ops.op_builder import AsyncIOBuilder
path, size, block, depth, what = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
handle = AsyncIOBuilder().load(verbose=False).aio_handle(block, depth, False, True, 1)
tensor = handle.new_cpu_locked_tensor(size, torch.empty(0, dtype=torch.uint8))
tensor.fill_(1)
begin = time.perf_counter()
(handle.sync_pread if what == "read" else handle.sync_pwrite)(tensor, path)
print(time.perf_counter() - begin, file=sys.stderr)
"""


class Bench:
    def __init__(self, options, path):
        self.options, self.path, self.size = options, path, options.size << 20
        self.handle = aio_handle()
        self.memory = self.handle.new_cpu_locked_tensor(self.size, bytearray(1))
        # Every page is there, as those of fio are.
        self.handle.sync_pwrite(self.memory, path)
        self.handle.sync_pread(self.memory, path)
        if self.handle.report()["not_direct"]:
            raise SystemExit("the file system of %s refuses O_DIRECT; name another --folder" % path)
        self.handle.fsync(path)

    def whole(self, engine, block, what):
        return self.ours(engine, block, what, self.memory)

    def like_fio(self, engine, block, what):
        with mmap.mmap(-1, DEPTH * block) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            memory.write(b"a" * len(memory))
            return self.ours(engine, block, what, memory)

    def ours(self, engine, block, what, memory):
        with aio_handle(block, DEPTH, False, True, 1, engine=engine) as handle:
            move = handle.async_pread if what == "read" else handle.async_pwrite
            begin = time.perf_counter()
            for at in range(0, self.size, len(memory)):
                move(memory, self.path, at)
            handle.wait()
            return self.size / (time.perf_counter() - begin)

    def fio(self, engine, block, what, *more):
        done = subprocess.run(
            ["fio", "--name=job", "--filename=" + self.path, "--rw=" + what, "--bs=%d" % block,
             "--size=%d" % self.size, "--iodepth=%d" % DEPTH, "--direct=1", "--output-format=json",
             "--ioengine=" + FIO_ENGINES[engine], *more], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)["jobs"][0][what]["bw_bytes"]

    def batched(self, engine, block, what):
        return self.fio(engine, block, what, "--iodepth_batch_submit=%d" % DEPTH,
                        "--iodepth_batch_complete_max=%d" % DEPTH)

    def deepspeed(self, _, block, what):
        done = subprocess.run(
            [self.options.deepspeed, "-c", IN_DEEPSPEED, self.path, str(self.size), str(block),
             str(DEPTH), what], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            check=True)
        return self.size / float(done.stderr.split()[-1])

    def tools(self, engine):
        tools = {FIO: self.fio, BATCHED: self.batched, OURS: self.like_fio,
                 WHOLE: self.whole}
        if engine == "linux_aio" and self.options.deepspeed:
            tools[DEEPSPEED] = self.deepspeed
        return tools

    def table(self, engine):
        rows = []
        for block in BLOCKS:
            for what in ("read", "write"):
                tools = self.tools(engine)
                rates = {name: [] for name in tools}
                for number in range(self.options.rounds):
                    names = list(tools)
                    for name in names[number % len(names):] + names[:number % len(names)]:
                        rates[name].append(tools[name](engine, block, what) / 1e6)
                rows += [("%s, %d KiB" % (what, block >> 10), name, spread(found, "%.0f"),
                          spread([own / other for own, other in zip(found, rates[FIO])]))
                         for name, found in rates.items()]
        show("%s, %d MiB, depth %d, %d rounds in turns: min / median / max" % (
            engine, self.options.size, DEPTH, self.options.rounds),
             ["what", "tool", "MB/s", "ratio to fio's of the round"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--deepspeed", metavar="PY")
    options = parser.parse_args()
    if not shutil.which("fio"):
        raise SystemExit("fio is not installed")
    if options.deepspeed:
        asked = subprocess.run([options.deepspeed, "-c", "from deepspeed.ops.op_builder import "
                                "AsyncIOBuilder; AsyncIOBuilder().load(verbose=False)"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               check=False)
        if asked.returncode:
            print("DeepSpeed is left out: %s" % asked.stderr.strip().split("\n")[-1],
                  file=sys.stderr)
            options.deepspeed = None
    with tempfile.TemporaryDirectory(prefix="ds_ops-", dir=options.folder) as folder:
        bench = Bench(options, os.path.join(folder, "file"))
        for engine, refused in engines().items():
            if refused:
                print("%s is left out: %s" % (engine, refused), file=sys.stderr)
            else:
                bench.table(engine)


if __name__ == "__main__":
    main()
