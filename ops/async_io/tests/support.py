# SPDX-License-Identifier: Apache-2.0
"""What the tests of async_io share."""
import contextlib
import ctypes
import os
import random
import subprocess
import tempfile
import unittest

from ds_ops import async_io

ENGINES = [engine for engine, refused in async_io.engines().items() if refused is None]


def pattern(size, seed=0):
    """Bytes that differ from those of another seed or another place."""
    return random.Random(seed).randbytes(size)


class Memory:
    """`size` bytes at an address that is `shift` more than a multiple of 4096."""

    def __init__(self, size, shift=0, content=None):
        self.whole = bytearray(size + 3 * 4096)
        at = -ctypes.addressof(ctypes.c_char.from_buffer(self.whole)) % 4096 + 4096 + shift
        self.view = memoryview(self.whole)[at:at + size]
        self.guard = b"\xa5" * 64
        self.before = memoryview(self.whole)[at - 64:at]
        self.after = memoryview(self.whole)[at + size:at + size + 64]
        self.before[:], self.after[:] = self.guard, self.guard
        if content is not None:
            self.view[:] = content

    def is_whole(self):
        """Nothing was written beside it."""
        return self.before == self.guard and self.after == self.guard


class Folder(unittest.TestCase):
    """`self.path(name)`: in a folder on a disk if the system has one that takes O_DIRECT."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ds_ops-", dir=scratch())
        self.addCleanup(self.folder.cleanup)

    def path(self, name="file", content=None):
        path = os.path.join(self.folder.name, name)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        return path


def content_of(path):
    with open(path, "rb") as file:
        return file.read()


def scratch():
    """A folder whose file system has O_DIRECT, else that of temporary files."""
    for folder in (tempfile.gettempdir(), "/var/tmp", os.getcwd()):
        if has_direct(folder):
            return folder
    return None


def has_direct(folder):
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file, \
                async_io.aio_handle(queue_depth=1) as handle:
            handle.sync_pwrite(b"a", file.name)
            return handle.report()["not_direct"] == 0
    except OSError:
        return False


@contextlib.contextmanager
def mounted_tmpfs(case, size):
    """A folder that is a tmpfs of `size`; skips the test where that is not allowed."""
    with tempfile.TemporaryDirectory(prefix="ds_ops-") as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                              stderr=subprocess.PIPE, text=True, check=False) \
            if os.getuid() == 0 else None
        if done is None or done.returncode:
            why = done.stderr.strip() if done else "not root"
            case.skipTest(f"a tmpfs cannot be mounted: {why}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
