# SPDX-License-Identifier: Apache-2.0
"""What goes wrong below: every byte is right, or the error is clear."""
import contextlib
import errno
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from ds_ops.async_io import aio_handle
from support import ENGINES, Folder, Memory, content_of, mounted_tmpfs, pattern

SIZE, FAULT = 1 << 20, 300000
PROGRAM = pathlib.Path(__file__).with_name("faulty_fs.c")


def contents(first, last):
    period = bytes(i * 7 % 251 for i in range(251))
    return (period * (last // 251 + 1))[first:last]


def touch(path):
    with open(path, "w", encoding="ascii"):
        pass


@contextlib.contextmanager
def faulty(mode):
    """Mounts faulty_fs.c: its folder, and the file that lets `slow` answer."""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=False, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) \
        if shutil.which("pkg-config") else None
    if flags is None or flags.returncode or not shutil.which("cc"):
        raise unittest.SkipTest("libfuse3's headers or a C compiler are not there")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or not shutil.which("fusermount3"):
        raise unittest.SkipTest("FUSE cannot be used here")
    with tempfile.TemporaryDirectory(prefix="ds_ops-") as folder:
        program, place = os.path.join(folder, "faulty_fs"), os.path.join(folder, "mounted")
        subprocess.run(["cc", "-O1", "-o", program, PROGRAM, *flags.stdout.split()], check=True)
        os.mkdir(place)
        release = os.path.join(folder, "release")
        server = subprocess.Popen([program, "-f", "-o", "max_threads=10", place, release, mode],
                                  stderr=subprocess.PIPE, text=True)
        try:
            while not os.path.ismount(place) and server.poll() is None:
                time.sleep(0.01)
            if server.poll() is not None:
                raise unittest.SkipTest(f"FUSE cannot be used here: {server.stderr.read()}")
            yield place, release
        finally:
            touch(release)
            subprocess.run(["fusermount3", "-u", "-z", place], check=False)
            server.wait()
            server.stderr.close()


class OnFuse(unittest.TestCase):
    mode = "sync"

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.place, cls.release = stack.enter_context(faulty(cls.mode))


class FaultyFileSystem(OnFuse):
    def each(self, check):
        for engine in ENGINES:
            for block, overlap in ((4096, True), (1 << 16, False), (1 << 20, True)):
                with self.subTest(engine=engine, block=block), \
                        aio_handle(block, 4, False, overlap, 2, engine=engine) as handle:
                    check(handle)

    def there_and_back(self, handle, name, first, last):
        path = os.path.join(self.place, name)
        memory = Memory(last - first, first % 5)
        handle.sync_pread(memory.view, path, first)
        self.assertEqual(memory.view, contents(first, last))
        self.assertTrue(memory.is_whole())
        handle.sync_pwrite(memory.view, path, first)

    def test_what_does_not_fail(self):
        def check(handle):
            for first, last in ((0, SIZE), (1, SIZE - 1), (4096, 12288), (FAULT - 1, FAULT + 1)):
                self.there_and_back(handle, "good", first, last)
        self.each(check)

    def test_short_reads_and_writes(self):
        def check(handle):
            for first, last in ((0, 65536), (100, 20000), (4095, 4097), (SIZE - 5000, SIZE)):
                self.there_and_back(handle, "short", first, last)
        self.each(check)

    def test_again_and_interrupted(self):
        def check(handle):
            self.there_and_back(handle, "again", 77, 100000)
        self.each(check)

    def test_direct_io_refused_late(self):
        def check(handle):
            self.there_and_back(handle, "no-direct", 0, SIZE)
            report = handle.report()
            self.assertEqual((report["direct_bytes"], report["not_direct"]), (0, 2))
        self.each(check)

    def test_input_output_error(self):
        path = os.path.join(self.place, "eio")
        def check(handle):
            self.there_and_back(handle, "eio", 0, FAULT)
            for call in (handle.sync_pread, handle.sync_pwrite):
                for first in (0, FAULT, FAULT + 4096):
                    with self.assertRaises(OSError) as caught:
                        call(bytearray(contents(first, SIZE)), path, first)
                    self.assertEqual((caught.exception.errno, caught.exception.filename),
                                     (errno.EIO, path))
            # The handle goes on.
            self.there_and_back(handle, "eio", 0, FAULT)
        self.each(check)

    def test_no_space(self):
        path = os.path.join(self.place, "enospc")
        def check(handle):
            with self.assertRaises(OSError) as caught:
                handle.sync_pwrite(contents(0, SIZE), path)
            self.assertEqual(caught.exception.errno, errno.ENOSPC)
            self.there_and_back(handle, "enospc", 0, FAULT)
        self.each(check)

    def test_end_that_was_not_foretold(self):
        path = os.path.join(self.place, "ends")
        def check(handle):
            for first, last in ((0, SIZE), (FAULT - 1, FAULT + 1), (FAULT, SIZE)):
                with self.assertRaisesRegex(EOFError, "the file ends before the bytes"):
                    handle.sync_pread(bytearray(last - first), path, first)
            back = bytearray(FAULT)
            handle.sync_pread(back, path)
            self.assertEqual(back, contents(0, FAULT))
        self.each(check)

class Slow(OnFuse):
    mode = "async"

    def tearDown(self):
        # A test that failed must not leave an I/O that waits.
        touch(self.release)
        time.sleep(0.02)
        os.unlink(self.release)

    def test_one_that_waits_holds_up_no_other(self):
        for engine in ENGINES:
            with open(os.path.join(self.place, "..", "other"), "wb") as file:
                file.write(pattern(10000))
            back, slow = bytearray(10000), bytearray(SIZE)
            with aio_handle(1 << 20, 4, False, True, 2, engine=engine) as handle, \
                    contextlib.ExitStack() as at_last:
                at_last.callback(touch, self.release)
                waits = handle.read_future(slow, os.path.join(self.place, "slow"))
                time.sleep(0.05)
                # FUSE keeps a thread; the handle has two.
                handle.read_future(back, file.name).result(timeout=30)
                self.assertEqual(back, pattern(10000))
                self.assertFalse(waits.done())
                touch(self.release)
                self.assertEqual(waits.result(timeout=30), SIZE)
            os.unlink(self.release)
            self.assertEqual(slow, contents(0, SIZE))

    def test_interrupt_comes_when_memory_is_free(self):
        """A handler's exception waits for the kernel to let go of the array."""
        class Stop(Exception):
            pass

        def stop(*_):
            raise Stop
        before = signal.signal(signal.SIGUSR1, stop)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

        def interrupt():
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.4)
            touch(self.release)
        slow = bytearray(SIZE)
        with aio_handle() as handle:
            thread = threading.Thread(target=interrupt)
            thread.start()
            with self.assertRaises(Stop):
                handle.sync_pread(slow, os.path.join(self.place, "slow"))
            thread.join()
        self.assertEqual(slow, contents(0, SIZE))


class NoSpace(Folder):
    def test_full_tmpfs(self):
        with mounted_tmpfs(self, "1m") as place:
            for engine in ENGINES:
                path = os.path.join(place, "file")
                with aio_handle(65536, 4, engine=engine) as handle:
                    with self.assertRaises(OSError) as caught:
                        handle.sync_pwrite(pattern(3 << 20), path)
                    self.assertEqual((caught.exception.errno, caught.exception.filename),
                                     (errno.ENOSPC, path))
                    os.unlink(path)
                    handle.sync_pwrite(pattern(500000), path)
                    self.assertEqual(content_of(path), pattern(500000))
                    os.unlink(path)

    def test_size_limit_of_the_process(self):
        """RLIMIT_FSIZE: an error, and SIGXFSZ ends nobody."""
        code = """if True:
            import resource, signal, sys
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            from ds_ops.async_io import aio_handle
            for size in (1 << 20, 3 << 20, (1 << 20) + 1):
                try:
                    aio_handle(65536, 4, engine=sys.argv[2]).sync_pwrite(bytes(size), sys.argv[1])
                    print("wrote", end=" ")
                except OSError as error:
                    print(error.errno, end=" ")
            """
        for engine in ENGINES:
            done = subprocess.run([sys.executable, "-c", code, self.path(), engine], check=True,
                                  stdout=subprocess.PIPE, text=True)
            self.assertEqual(done.stdout.split(), ["wrote", str(errno.EFBIG), str(errno.EFBIG)])


class Truncated(Folder):
    def test_before(self):
        for engine in ENGINES:
            path = self.path(content=pattern(50000))
            with aio_handle(4096, 4, engine=engine) as handle:
                for size, offset in ((50001, 0), (1, 50000), (10, 49995), (1, 1 << 40)):
                    memory = Memory(size, 0, b"\x11" * size)
                    with self.assertRaisesRegex(EOFError, f"^{path}: the file ends"):
                        handle.sync_pread(memory.view, path, offset)
                    self.assertEqual(memory.view, b"\x11" * size)
                handle.sync_pread(memory.view[:0], path, 1 << 40)

    def test_meanwhile(self):
        """A file that is cut while it is read: all of its bytes, or the error."""
        size, ends = 8 << 20, {"right": 0, "error": 0}
        content = pattern(size)
        for number in range(30):
            path = self.path(content=content)
            back = bytearray(size)
            with aio_handle(65536, 4, False, True, 1 + number % 2,
                            engine=ENGINES[number % len(ENGINES)]) as handle:
                future = handle.read_future(back, path)
                time.sleep(number * 2e-4)
                os.truncate(path, size - 12345 if number % 3 else 1)
                try:
                    self.assertEqual(future.result(), size)
                    self.assertEqual(back, content)
                    ends["right"] += 1
                except EOFError:
                    ends["error"] += 1
        self.assertEqual(sum(ends.values()), 30)


class Interrupted(Folder):
    def hammer(self, restart):
        hits = []
        before = signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
        signal.siginterrupt(signal.SIGALRM, not restart)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        content = pattern(3 << 20)
        signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
        try:
            for engine in ENGINES:
                for number in range(5):
                    path, back = self.path(f"{restart}{engine}{number}"), bytearray(len(content))
                    with aio_handle(65536, 4, number % 2, number % 3, 2, engine=engine) as handle:
                        handle.sync_pwrite(content, path, 100)
                        handle.sync_pread(back, path, 100)
                        handle.read_future(back, path, 100).result()
                    self.assertEqual(back, content)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertTrue(hits)

    def test_signals(self):
        self.hammer(restart=True)
        self.hammer(restart=False)


class FewDescriptors(Folder):
    def test_none_left(self):
        path = self.path(content=pattern(1000))
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        with aio_handle(4096, 4) as handle:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
            try:
                with self.assertRaises(OSError) as caught:
                    handle.sync_pread(bytearray(1000), path)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            self.assertEqual(caught.exception.errno, errno.EMFILE)
            back = bytearray(1000)
            handle.sync_pread(back, path)
            self.assertEqual(back, pattern(1000))


if __name__ == "__main__":
    unittest.main()
