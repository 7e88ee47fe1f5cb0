# SPDX-License-Identifier: Apache-2.0
"""Every byte of what is read and written, whatever the sizes, offsets, addresses and options."""
import asyncio
import concurrent.futures
import itertools
import os
import random
import unittest

from ds_ops.async_io import aio_handle, aio_read, aio_write
from support import ENGINES, Folder, Memory, content_of, has_direct, pattern

BORDERS = (0, 1, 511, 512, 513, 4095, 4096, 4097, 8192, 12287, 65536, 65537)


class Borders(Folder):
    """Offsets and sizes on both sides of sectors, blocks and buffers; the file is the witness."""

    def check_write(self, handle, path, size, offset, shift):
        old = pattern(200000, size)
        self.path(content=old)
        memory = Memory(size, shift, pattern(size, offset + 1))
        self.assertEqual(handle.sync_pwrite(memory.view, path, offset), 1)
        expected = bytearray(old)
        expected[offset:offset + size] = memory.view
        self.assertEqual(content_of(path), expected, f"wrote {size} at {offset}, shift {shift}")

    def check_read(self, handle, path, content, size, offset, shift):
        memory = Memory(size, shift)
        self.assertEqual(handle.sync_pread(memory.view, path, offset), 1)
        self.assertEqual(memory.view, content[offset:offset + size],
                         f"read {size} at {offset}, shift {shift}")
        self.assertTrue(memory.is_whole(), f"read {size} at {offset}, shift {shift}: too much")

    def test_reads(self):
        content = pattern(140000)
        path = self.path(content=content)
        for engine in ENGINES:
            with aio_handle(4096, 8, engine=engine) as handle:
                for size, offset, shift in itertools.product(BORDERS, BORDERS, (0, 1, 64, 512)):
                    self.check_read(handle, path, content, size, offset, shift)
                self.assertEqual(handle.report()["failed"], 0)

    def test_writes(self):
        for engine in ENGINES:
            with aio_handle(8192, 8, overlap_events=True, engine=engine) as handle:
                for size, offset in itertools.product(BORDERS, BORDERS):
                    self.check_write(handle, self.path(), size, offset, (size + offset) % 3 * 100)
                self.assertEqual(handle.report()["failed"], 0)

    def test_new_files_are_as_long_as_what_is_written(self):
        for engine, size in itertools.product(ENGINES, BORDERS):
            path = self.path(f"{engine}{size}")
            with aio_handle(4096, 8, intra_op_parallelism=3, engine=engine) as handle:
                handle.sync_pwrite(Memory(size, 0, pattern(size)).view, path, 100)
            self.assertEqual(content_of(path), (bytes(100) if size else b"") + pattern(size))

    def test_random(self):
        """Seeded: all options, many ranges of one file in flight that do not overlap."""
        rng = random.Random(11)
        for round_number in range(24):
            options = (rng.choice((4096, 8192, 65536, 1 << 20)), rng.choice((1, 2, 7, 64)),
                       rng.random() < 0.5, rng.random() < 0.5, rng.randint(1, 4))
            engine = rng.choice(ENGINES)
            with self.subTest(round=round_number, options=options, engine=engine), \
                    aio_handle(*options, engine=engine) as handle:
                self.write_and_read(rng, handle)

    def write_and_read(self, rng, handle):
        length = rng.randint(1, 3 << 20)
        cuts = sorted({0, length, *(rng.randrange(length) for _ in range(rng.randint(0, 30))),
                       *(rng.randrange(0, length, 4096) for _ in range(5))})
        old = pattern(length, rng.random())
        path, expected = self.path(content=old), bytearray(old)
        for first, last in zip(cuts, cuts[1:]):
            if rng.random() < 0.8:
                memory = Memory(last - first, rng.choice((0, 1, 64, 512, 2048)),
                                pattern(last - first, rng.random()))
                expected[first:last] = memory.view
                self.assertEqual(handle.async_pwrite(memory.view, path, first), 0)
        handle.wait()
        self.assertEqual(content_of(path), expected)
        parts = [(first, Memory(last - first, rng.choice((0, 1, 64, 512))))
                 for first, last in zip(cuts, cuts[1:])]
        for first, memory in parts:
            handle.async_pread(memory.view, path, first)
        self.assertEqual(handle.wait(), len(parts))
        for first, memory in parts:
            self.assertEqual(memory.view, expected[first:first + len(memory.view)])
            self.assertTrue(memory.is_whole())


class Neighbours(Folder):
    def test_parts_of_one_block_by_many(self):
        """Handles and threads write parts of the same blocks at one time; none is lost."""
        size, width = 64 * 4096, 1000
        content = pattern(size)
        path = self.path(content=bytes(size))
        handles = [aio_handle(4096, 8, False, True, 2, engine=engine)
                   for engine in ENGINES for _ in range(2)]
        for number, first in enumerate(range(0, size, width)):
            handles[number % len(handles)].async_pwrite(content[first:first + width], path, first)
        self.assertEqual(sum(handle.wait() for handle in handles), -(-size // width))
        for handle in handles:
            handle.close()
        self.assertEqual(content_of(path), content)


class Routes(Folder):
    """The way that bytes take is the one that is told."""

    def setUp(self):
        super().setUp()
        if not has_direct(self.folder.name):
            self.skipTest("no folder at hand has O_DIRECT")

    def totals(self, call):
        with aio_handle(1 << 16, 4) as handle:
            call(handle)
            report = handle.report()
            return [report[name + "_bytes"] for name in ("direct", "bounced", "buffered")]

    def test_told(self):
        path = self.path(content=pattern(1 << 20))
        size = 100 << 12
        aligned, odd = Memory(size), Memory(size, 1)
        self.assertEqual(self.totals(lambda h: h.sync_pread(aligned.view, path)), [size, 0, 0])
        self.assertEqual(self.totals(lambda h: h.sync_pread(odd.view, path)), [0, size, 0])
        self.assertEqual(self.totals(lambda h: h.sync_pwrite(odd.view, path)), [0, size, 0])
        self.assertEqual(self.totals(lambda h: h.sync_pwrite(aligned.view, path, 1)),
                         [0, size - 4096, 4096])
        self.assertEqual(self.totals(lambda h: h.sync_pread(aligned.view[:5000], path)),
                         [4096, 904, 0])
        self.assertEqual(self.totals(lambda h: h.sync_pwrite(aligned.view[:5000], path)),
                         [4096, 0, 904])

    def test_descriptors_are_used_as_they_are(self):
        memory = Memory(1 << 20)
        for flags, expected in ((0, [0, 0, 1 << 20]), (os.O_DIRECT, [1 << 20, 0, 0])):
            path = self.path(content=pattern(1 << 20))
            file = os.open(path, os.O_RDWR | flags)
            self.assertEqual(self.totals(lambda h: h.sync_pread(memory.view, file)), expected)
            self.assertEqual(memory.view, pattern(1 << 20))
            self.totals(lambda h: h.sync_pwrite(b"odd", file, 4095))
            os.close(file)
            self.assertEqual(content_of(path)[4095:4098], b"odd")

    def test_without_o_direct(self):
        if not os.path.isdir("/dev/shm"):
            self.skipTest("there is no /dev/shm")
        path = f"/dev/shm/ds_ops-{os.getpid()}"
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        content = pattern(300001)
        for engine in ENGINES:
            with aio_handle(1 << 16, 4, engine=engine) as handle:
                handle.sync_pwrite(content, path)
                back = bytearray(len(content))
                handle.sync_pread(back, path)
                self.assertEqual(back, content)
                report = handle.report()
            self.assertEqual(report["not_direct"], 2)
            self.assertEqual(report["buffered_bytes"], 2 * len(content))
            self.assertEqual((report["requests"], report["failed"], report["engine"]),
                             (2, 0, engine))


class Many(Folder):
    def test_ten_thousand_small(self):
        """More than there are descriptors, by path and by descriptor, as futures and without."""
        count, width = 10000, 24
        content = pattern(count * width)
        for engine in ENGINES:
            path = self.path(content=bytes(count * width))
            with aio_handle(4096, 64, False, True, 2, engine=engine) as handle:
                with open(path, "r+b") as file:
                    futures = [handle.write_future(content[at:at + width], file.fileno(), at)
                               for at in range(0, count * width, width)]
                self.assertEqual({future.result() for future in futures}, {width})
                self.assertEqual(content_of(path), content)
                back = [bytearray(width) for _ in range(count)]
                for number, part in enumerate(back):
                    handle.async_pread(part, path, number * width)
                self.assertEqual(handle.wait(), count)
                self.assertEqual(b"".join(back), content)

    def test_huge(self):
        """One request beyond 2 GiB, more than one system call may move; the file is sparse."""
        size = (2 << 30) + (64 << 10) + 12345
        path = self.path()
        with open(path, "wb") as file:
            file.truncate(size)
            marks = {0: b"first", (1 << 31) - 3: b"border", size - 4: b"last"}
            for at, mark in marks.items():
                os.pwrite(file.fileno(), mark, at)
        try:
            memory = bytearray(size)
        except MemoryError:
            self.skipTest("there is no memory for 2 GiB")
        with aio_handle(1 << 24, 8, False, True, 2) as handle:
            handle.sync_pread(memory, path)
        for at, mark in marks.items():
            self.assertEqual(memory[at:at + len(mark)], mark)
            memory[at:at + len(mark)] = bytes(len(mark))
        self.assertEqual(memory.count(0), size)

    def test_futures(self):
        path = self.path(content=pattern(100000))
        back = [bytearray(50000), bytearray(50000)]
        with aio_handle(4096, 4) as handle:
            futures = [handle.read_future(part, path, 50000 * i) for i, part in enumerate(back)]
            done, _ = concurrent.futures.wait(futures)
            self.assertEqual([future.result() for future in done], [50000, 50000])
            self.assertFalse(futures[0].cancel())
            self.assertEqual(b"".join(back), pattern(100000))

            async def one():
                return await asyncio.wrap_future(handle.write_future(b"abc", path))
            self.assertEqual(asyncio.run(one()), 3)
            with self.assertRaises(FileNotFoundError) as caught:
                handle.read_future(back[0], self.path("none")).result()
            self.assertEqual(caught.exception.filename, self.path("none"))

    def test_one_call(self):
        path, back = self.path(), bytearray(70000)
        self.assertEqual(aio_write(pattern(70000), path, 4096, 2, True, True, True), 0)
        self.assertEqual(aio_read(back, path, 4096, 2, True, False, True), 0)
        self.assertEqual(back, pattern(70000))


if __name__ == "__main__":
    unittest.main()
