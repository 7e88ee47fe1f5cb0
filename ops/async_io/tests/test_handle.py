# SPDX-License-Identifier: Apache-2.0
"""The handle: arguments, lives, forks, engines and pinned memory."""
import array
import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
import unittest

import ds_ops
from ds_ops import async_io
from ds_ops.async_io import aio_handle, deepspeed_memcpy
from support import ENGINES, Folder, content_of, pattern

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None

# Makes io_uring_setup (425), or all of both engines, fail with EPERM from here on.
REFUSE = """if True:
    import ctypes, platform, struct, sys
    libc = ctypes.CDLL(None, use_errno=True)
    calls = [425] + ([206 if platform.machine() == "x86_64" else 0] if sys.argv[1] == "all" else [])
    code = struct.pack("HBBI", 0x20, 0, 0, 0)
    for call in calls:
        code += struct.pack("HBBI", 0x15, 0, 1, call) + struct.pack("HBBI", 0x06, 0, 0, 0x50001)
    code += struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000)
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
    program = Program(len(code) // 8, code)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        sys.exit(77)
    """


def run(code, *words, refuse=None, **more):
    """What a Python prints that runs `code`."""
    words = ([refuse] if refuse else []) + list(words)
    done = subprocess.run([sys.executable, "-c", (REFUSE if refuse else "if True:\n    ") + code,
                           *words], stdout=subprocess.PIPE, text=True, timeout=60, check=False,
                          **more)
    if refuse and done.returncode == 77:
        raise unittest.SkipTest("seccomp is not there")
    if done.returncode:
        raise AssertionError(f"exit status {done.returncode}: {done.stdout}")
    return done.stdout


class Arguments(Folder):
    def test_options(self):
        for options, error, text in (
                ((0,), ValueError, "^block_size: must be 4096 to 1073741824, is 0"),
                ((5000,), ValueError, "^block_size: must be a multiple of 4096, is 5000"),
                ((4096, 0), ValueError, "^queue_depth: must be 1 to 4096, is 0"),
                ((4096, 1.5), TypeError, "^queue_depth: must be a whole number, is a float"),
                ((4096, 1, False, False, 65), ValueError, "^intra_op_parallelism: must be 1 to")):
            with self.assertRaisesRegex(error, text):
                aio_handle(*options)
        with self.assertRaisesRegex(ValueError, "^engine: must be one of any, io_uring, linux_aio"):
            aio_handle(engine="mmap")
        with aio_handle(8192, 3, True, False, 2) as handle:
            self.assertEqual((handle.get_block_size(), handle.get_queue_depth(),
                              handle.get_single_submit(), handle.get_overlap_events(),
                              handle.get_intra_op_parallelism(), handle.get_alignment()),
                             (8192, 3, True, False, 2, 4096))

    def test_requests(self):
        path = self.path(content=b"0123456789")
        appends = os.open(path, os.O_WRONLY | os.O_APPEND)
        reads = os.open(path, os.O_RDONLY)
        pipe = os.pipe()
        back = bytearray(5)
        for call, error, text in (
                (lambda h: h.sync_pread(b"abc", path), ValueError, "^buffer: is read-only"),
                (lambda h: h.sync_pread(memoryview(back)[::2], path), ValueError,
                 "^buffer: is not contiguous"),
                (lambda h: h.sync_pread("abc", path), TypeError, "^buffer: a str is no array"),
                (lambda h: h.sync_pread(back, path, -1), ValueError, "^file_offset: must be 0 to"),
                (lambda h: h.sync_pread(back, path, 1 << 63), ValueError, "^file_offset"),
                (lambda h: h.sync_pread(back, 1.5), TypeError, "^file: must be a path or a descr"),
                (lambda h: h.sync_pread(back, ""), ValueError, "^file: is an empty path"),
                (lambda h: h.sync_pread(back, "a\0b"), ValueError, "^file: .*byte 0"),
                (lambda h: h.sync_pread(back, -1), ValueError, "^file: must be 0 to"),
                (lambda h: h.sync_pread(back, 99999), OSError, "Bad file descriptor"),
                (lambda h: h.sync_pread(back, self.path("none")), FileNotFoundError, "none"),
                (lambda h: h.sync_pread(back, self.folder.name), ValueError, "neither a regular"),
                (lambda h: h.sync_pread(back, pipe[0]), ValueError, "neither a regular"),
                (lambda h: h.sync_pread(back, "/dev/zero"), ValueError, "neither a regular"),
                (lambda h: h.sync_pwrite(back, reads), OSError, "Bad file descriptor"),
                (lambda h: h.sync_pread(back, appends), OSError, "Bad file descriptor"),
                (lambda h: h.sync_pwrite(back, appends), ValueError, "O_APPEND, which ignores"),
                (lambda h: h.sync_pwrite(back, path, 1 << 62), OSError, "File too large|Invalid"),
                (lambda h: h.sync_pwrite(back, path + "/x"), NotADirectoryError, "file/x"),
                (lambda h: h.fsync(self.path("none")), FileNotFoundError, "none")):
            with aio_handle(4096, 2) as handle, self.assertRaisesRegex(error, text):
                call(handle)
        self.assertEqual((back, content_of(path)), (bytes(5), b"0123456789"))
        self.assertFalse(os.path.exists(self.path("none")))
        for file in (appends, reads, *pipe):
            os.close(file)

    def test_a_fifo_is_not_waited_for(self):
        os.mkfifo(self.path("fifo"))
        with aio_handle() as handle, self.assertRaisesRegex(ValueError, "neither a regular"):
            handle.sync_pwrite(b"abc", self.path("fifo"))

    def test_paths(self):
        """str, bytes, Path; from the folder of the call."""
        import pathlib
        before = os.getcwd()
        os.chdir(self.folder.name)
        with aio_handle() as handle:
            handle.async_pwrite(b"a", "one")
            handle.async_pwrite(b"b", b"two")
            handle.async_pwrite(b"c", pathlib.Path("three"))
            os.chdir(before)
            self.assertEqual(handle.wait(), 3)
        for name, content in (("one", b"a"), ("two", b"b"), ("three", b"c")):
            self.assertEqual(content_of(self.path(name)), content)

    def test_a_descriptor_may_be_closed_after_the_call(self):
        content = pattern(1 << 20)
        with aio_handle(4096, 2) as handle:
            for number in range(20):
                file = os.open(self.path(str(number)), os.O_RDWR | os.O_CREAT)
                handle.async_pwrite(content, file)
                os.close(file)
            self.assertEqual(handle.wait(), 20)
        for number in range(20):
            self.assertEqual(content_of(self.path(str(number))), content)

    def test_what_calls_give_back(self):
        path, back = self.path(content=b"abcdef"), bytearray(3)
        with aio_handle() as handle:
            self.assertEqual(handle.wait(), 0)
            self.assertEqual(handle.write(b"ABC", path, True), 0)
            self.assertEqual(handle.read(back, path, True, 1), 0)
            self.assertEqual(back, b"BCd")
            self.assertEqual(handle.pread(back, path, True, False), 1)
            self.assertEqual(handle.pread(back, path, False, True, 2), 0)
            self.assertEqual(handle.pwrite(b"xyz", self.path("new"), True, True), 0)
            self.assertEqual(handle.wait(), 2)
            self.assertEqual(handle.sync_pread(bytearray(), path), 1)
            handle.fsync(path)
            handle.async_pread(bytearray(7), path)
            handle.async_pread(back, path)
            with self.assertRaises(EOFError):
                handle.wait()
            self.assertEqual(handle.wait(), 0)


class Lives(Folder):
    def test_close_ends_what_is_in_flight(self):
        content = pattern(8 << 20)
        for engine in ENGINES:
            handle = aio_handle(65536, 4, engine=engine)
            futures = [handle.write_future(content, self.path(str(i))) for i in range(4)]
            handle.async_pwrite(content, self.path("4"))
            handle.close()
            handle.close()
            self.assertEqual([f.done() and f.result() for f in futures], [len(content)] * 4)
            self.assertEqual(handle.wait(), 1)
            for i in range(5):
                self.assertEqual(content_of(self.path(str(i))), content)
            with self.assertRaisesRegex(ds_ops.OpError, "the handle is closed"):
                handle.sync_pwrite(b"a", self.path())
            with self.assertRaisesRegex(ds_ops.OpError, "the handle is closed"):
                handle.read_future(bytearray(1), self.path("0"))

    def test_a_handle_nobody_holds(self):
        future = aio_handle(4096, 2).write_future(pattern(1 << 20), self.path())
        gc.collect()
        self.assertEqual(future.result(timeout=30), 1 << 20)
        self.assertEqual(content_of(self.path()), pattern(1 << 20))

    def test_a_callback_that_drops_the_handle(self):
        kept = [aio_handle(4096, 2)]
        future = kept[0].write_future(b"abc", self.path())
        future.add_done_callback(lambda _: kept.clear())
        self.assertEqual(future.result(timeout=30), 3)
        for _ in range(1000):
            if not kept:
                break
            time.sleep(0.01)
        self.assertEqual(kept, [])

    def test_descriptors_and_threads_go(self):
        def count():
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        gc.collect()
        before = count()
        for number in range(20):
            with aio_handle(4096, 4, intra_op_parallelism=3,
                            engine=ENGINES[number % len(ENGINES)]) as handle:
                handle.write_future(pattern(10001), self.path()).result()
            del handle
        gc.collect()
        self.assertEqual(count(), before)

    def test_end_of_the_process(self):
        code = """
    import sys
    from ds_ops.async_io import aio_handle
    handle = aio_handle(4096, 2)
    kept = handle.write_future(bytes(8 << 20), sys.argv[1])
    handle.async_pwrite(bytes(8 << 20), sys.argv[1] + "2")
    """
        run(code, self.path())
        self.assertEqual(os.path.getsize(self.path()), 8 << 20)
        self.assertEqual(os.path.getsize(self.path("file2")), 8 << 20)

    def test_fork(self):
        """The child is told, and can use a handle of its own; the parent's goes on."""
        content = pattern(4 << 20)
        handle = aio_handle(65536, 4, False, True, 2)
        future = handle.write_future(content, self.path())
        handle.async_pwrite(content, self.path("second"))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(30)
                for call in (lambda: handle.sync_pread(bytearray(1), self.path()), handle.wait,
                             handle.report):
                    try:
                        call()
                    except ds_ops.OpError as error:
                        assert "forked" in str(error), error
                    else:
                        raise AssertionError("the child used its parent's handle")
                handle.close()
                with aio_handle(4096, 2) as own:
                    own.sync_pwrite(b"child", self.path("third"))
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual((future.result(), handle.wait()), (len(content), 1))
        handle.close()
        self.assertEqual(content_of(self.path()), content)
        self.assertEqual(content_of(self.path("second")), content)
        self.assertEqual(content_of(self.path("third")), b"child")

    def test_many_threads_of_the_caller(self):
        from concurrent.futures import ThreadPoolExecutor
        content = pattern(8 * 50001)
        with aio_handle(4096, 8, False, True, 2) as handle, ThreadPoolExecutor(8) as pool:
            def there_and_back(number):
                part, back = content[number * 50001:(number + 1) * 50001], bytearray(50001)
                for _ in range(10):
                    handle.sync_pwrite(part, self.path(), number * 50001)
                    handle.sync_pread(back, self.path(), number * 50001)
                    if back != part:
                        return False
                return True
            self.path(content=bytes(len(content)))
            self.assertEqual(list(pool.map(there_and_back, range(8))), [True] * 8)
        self.assertEqual(content_of(self.path()), content)


class Engines(Folder):
    def test_kernel_without_io_uring(self):
        printed = run("""
    from ds_ops.async_io import aio_handle, engines, self_test
    with aio_handle() as handle:
        handle.sync_pwrite(b"abc", sys.argv[2])
        report = handle.report()
    self_test()
    print(report["engine"], report["io_uring_refused"], engines(), sep="; ")
    """, self.path(), refuse="io_uring")
        self.assertEqual(printed.strip(), "linux_aio; Operation not permitted; {'io_uring': "
                         "'Operation not permitted', 'linux_aio': None}")
        self.assertEqual(content_of(self.path()), b"abc")

    def test_kernel_without_both(self):
        printed = run("""
    import ds_ops, ds_ops.async_io
    try:
        ds_ops.self_test("async_io")
    except ds_ops.CannotRun as error:
        print(error)
    try:
        ds_ops.async_io.aio_handle()
    except PermissionError as error:
        print("refused")
    """, refuse="all")
        self.assertEqual(printed, "the kernel refuses io_uring (Operation not permitted) and "
                         "linux_aio (Operation not permitted)\nrefused\n")

    def test_self_test(self):
        async_io.self_test()


class Pinned(Folder):
    def test_buffers(self):
        with aio_handle() as handle:
            page = handle.new_cpu_locked_tensor(1000, array.array("d"))
            self.assertEqual((len(page), page.format, page.tolist()), (1000, "d", [0.0] * 1000))
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            self.assertEqual(address % 4096, 0)
            self.assertEqual(handle.is_pinned(page), handle.is_pinned(page[10:20]))
            self.assertFalse(handle.is_pinned(bytearray(8)))
            handle.sync_pwrite(array.array("d", range(1000)), self.path())
            handle.sync_pread(page, self.path())
            self.assertEqual(page.tolist(), list(range(1000)))
            self.assertTrue(handle.free_cpu_locked_tensor(page))
            self.assertFalse(handle.free_cpu_locked_tensor(page))
            self.assertFalse(handle.is_pinned(page))
            # What was forgotten may be used until it is dropped.
            self.assertEqual(page[7], 7.0)
            self.assertEqual(len(handle.new_cpu_locked_tensor(0, page)), 0)
            with self.assertRaisesRegex(ValueError, "^num_elem: must be 0 to"):
                handle.new_cpu_locked_tensor(-1, page)
            with self.assertRaises((OSError, OverflowError, ValueError)):
                handle.new_cpu_locked_tensor(1 << 60, page)

    @unittest.skipUnless(numpy, "NumPy is not installed")
    def test_numpy(self):
        with aio_handle() as handle:
            page = handle.new_cpu_locked_tensor(5000, numpy.empty(0, numpy.float16))
            self.assertEqual((page.dtype, page.shape), (numpy.float16, (5000,)))
            sent = numpy.arange(5000, dtype=numpy.float16)
            handle.sync_pwrite(sent, self.path(), 2)
            handle.sync_pread(page, self.path(), 2)
            self.assertTrue((page == sent).all())

    @unittest.skipUnless(torch, "PyTorch is not installed")
    def test_torch(self):
        with aio_handle() as handle:
            sent = torch.randn(300, 77).to(torch.bfloat16)
            page = handle.new_cpu_locked_tensor(sent.numel(), sent)
            handle.async_pwrite(sent, self.path())
            self.assertEqual(handle.wait(), 1)
            handle.sync_pread(page, self.path())
            self.assertTrue(torch.equal(page.view(300, 77), sent))
            self.assertTrue(handle.free_cpu_locked_tensor(page))
            with self.assertRaisesRegex(ValueError, "^buffer: is not contiguous"):
                handle.sync_pwrite(sent.t(), self.path())

    def test_memcpy(self):
        to = bytearray(5)
        self.assertEqual(deepspeed_memcpy(to, b"abcde"), 0)
        self.assertEqual(to, b"abcde")
        for source, text in ((b"abc", "^dest: has 5 bytes, src has 3"), (to, "shares memory")):
            with self.assertRaisesRegex(ValueError, text):
                deepspeed_memcpy(to, source)


if __name__ == "__main__":
    unittest.main()
