# SPDX-License-Identifier: Apache-2.0
"""``aio_handle``: DeepSpeed's handle by name and meaning, and futures."""
from __future__ import annotations

import concurrent.futures
import ctypes
import operator
import os
import threading
from typing import Any, Dict, List, Tuple, Union

from ds_ops import _arrays
from ds_ops._library import OpError
from ds_ops.async_io import _native, _pinned
from ds_ops.async_io._native import READ, WRITE, lib
from ds_ops.async_io._state import Running, State

File = Union[str, bytes, os.PathLike, int]
_CHUNK = 1 << 22


class aio_handle:  # pylint: disable=invalid-name
    """Reads and writes of arrays, many at one time, in threads of its own.

    ``block_size``: bytes of one I/O, a multiple of 4096 up to 1 GiB. ``queue_depth``: I/Os in
    flight in each thread, 1 to 4096. ``single_submit``: a system call for each I/O instead of one
    for all that are ready. ``overlap_events``: a new I/O starts as soon as one ends; without it a
    thread starts new ones when all of its I/Os have ended, as DeepSpeed's does.
    ``intra_op_parallelism``: threads, 1 to 64, among which the blocks of every request are shared.
    ``engine``: "io_uring", "linux_aio", or "any": io_uring unless the kernel refuses it.

    In all methods ``buffer`` is a contiguous array in CPU memory (tensor, NumPy array, bytearray,
    memoryview, ...) and ``file`` is a path, or a descriptor (an int) of a file that is open for
    it; the file's bytes from ``file_offset`` on are read to it or written from it. Size, offset and
    address need no alignment. A path is opened with O_DIRECT where the file system has that; a
    descriptor is used as it was opened. A file that is written is created if need be, never cut.

    Until a request has ended its array must not be resized, and is not freed. What requests that
    overlap leave in memory or in a file is not defined. Errors: OSError with the system's errno
    and the file; EOFError: the file has fewer bytes than the array, or lost them meanwhile;
    TypeError and ValueError name the argument. After an error a part may have been read or written.

    What is written can be read by everybody when the request has ended. That it survives a crash
    is known when ``fsync`` has come back; only that one tells of errors of the device for bytes
    that went through the page cache (parts of blocks, file systems without O_DIRECT).

    Threads may share a handle. A child of fork() must make its own. Files of FUSE keep a thread
    busy one I/O at a time with io_uring, and most of the time with native AIO: take more threads.
    """

    def __init__(self, block_size: int = 1 << 20, queue_depth: int = 128,
                 single_submit: bool = False, overlap_events: bool = False,
                 intra_op_parallelism: int = 1, *, engine: str = "any") -> None:
        if engine not in _native.ENGINES:
            raise ValueError(f"engine: must be one of {', '.join(_native.ENGINES)}, is {engine!r}")
        block_size = _whole("block_size", block_size, 4096, 1 << 30)
        if block_size % 4096:
            raise ValueError(f"block_size: must be a multiple of 4096, is {block_size}")
        options = _native.Options(
            block_size, _whole("queue_depth", queue_depth, 1, 4096),
            _whole("intra_op_parallelism", intra_op_parallelism, 1, 64), bool(single_submit),
            bool(overlap_events), _native.ENGINES[engine])
        self._options = options
        self._state = State(options)
        self._pending: List[Tuple[int, Running]] = []
        self._lock = threading.Lock()
        self._locked: Dict[int, _pinned.Pages] = {}

    def get_block_size(self) -> int:
        """As given."""
        return self._options.block_size

    def get_queue_depth(self) -> int:
        """As given."""
        return self._options.queue_depth

    def get_single_submit(self) -> bool:
        """As given."""
        return bool(self._options.single_submit)

    def get_overlap_events(self) -> bool:
        """As given."""
        return bool(self._options.overlap_events)

    def get_intra_op_parallelism(self) -> int:
        """As given."""
        return self._options.threads

    def get_alignment(self) -> int:
        """Addresses, offsets and sizes that are multiples of it go without a copy: 4096."""
        return 4096

    def read(self, buffer: Any, filename: File, validate: bool = False,
             file_offset: int = 0) -> int:
        """Reads and returns 0. ``validate``: then compares with what an ordinary read gives."""
        self._finish(*self._start(READ, buffer, filename, file_offset, validate))
        return 0

    def write(self, buffer: Any, filename: File, validate: bool = False,
              file_offset: int = 0) -> int:
        """Writes and returns 0. ``validate``: then compares with what an ordinary read gives."""
        self._finish(*self._start(WRITE, buffer, filename, file_offset, validate))
        return 0

    def pread(self, buffer: Any, filename: File, validate: bool, asynchronous: bool,
              file_offset: int = 0) -> int:
        """Reads and returns 1; ``asynchronous``: returns 0 at once, see ``wait``."""
        return self._run(READ, buffer, filename, file_offset, validate, asynchronous)

    def pwrite(self, buffer: Any, filename: File, validate: bool, asynchronous: bool,
               file_offset: int = 0) -> int:
        """Writes and returns 1; ``asynchronous``: returns 0 at once, see ``wait``."""
        return self._run(WRITE, buffer, filename, file_offset, validate, asynchronous)

    def sync_pread(self, buffer: Any, filename: File, file_offset: int = 0) -> int:
        """Reads and returns 1."""
        return self._run(READ, buffer, filename, file_offset, False, False)

    def sync_pwrite(self, buffer: Any, filename: File, file_offset: int = 0) -> int:
        """Writes and returns 1."""
        return self._run(WRITE, buffer, filename, file_offset, False, False)

    def async_pread(self, buffer: Any, filename: File, file_offset: int = 0) -> int:
        """Begins to read and returns 0; see ``wait``."""
        return self._run(READ, buffer, filename, file_offset, False, True)

    def async_pwrite(self, buffer: Any, filename: File, file_offset: int = 0) -> int:
        """Begins to write and returns 0; see ``wait``."""
        return self._run(WRITE, buffer, filename, file_offset, False, True)

    def wait(self) -> int:
        """Waits for all that ``async_...`` began since the last call; how many that were.

        If some failed it raises the first failure, when all have ended.
        """
        with self._lock:
            pending, self._pending = self._pending, []
        failure = None
        for number, running in pending:
            try:
                self._finish(number, running)
            except BaseException as error:  # pylint: disable=broad-except
                failure = failure or error
        if failure is not None:
            raise failure
        return len(pending)

    def read_future(self, buffer: Any, file: File,
                    file_offset: int = 0) -> "concurrent.futures.Future[int]":
        """Begins to read; the future's result is the number of bytes, its exception the error.

        ``await asyncio.wrap_future(handle.read_future(...))`` works. It cannot be cancelled.
        """
        return self._future(READ, buffer, file, file_offset)

    def write_future(self, buffer: Any, file: File,
                     file_offset: int = 0) -> "concurrent.futures.Future[int]":
        """Begins to write; the rest as ``read_future``."""
        return self._future(WRITE, buffer, file, file_offset)

    def fsync(self, file: File) -> None:
        """Makes all that was written to the file survive a crash; OSError if a part is lost.

        It does not wait for requests that are still in flight.
        """
        name = _name_of(file)
        if isinstance(name, int):
            os.fsync(name)
            return
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def new_cpu_locked_tensor(self, num_elem: int, example_tensor: Any) -> Any:
        """A flat array of ``num_elem`` zeros of the type and library of ``example_tensor``.

        It begins at a page and is locked in memory as far as RLIMIT_MEMLOCK allows; ``is_pinned``
        tells. Its memory goes with its last reference.
        """
        array, pages = _pinned.new(_whole("num_elem", num_elem, 0, 1 << 62), example_tensor)
        with self._lock:
            self._locked = {at: old for at, old in self._locked.items() if old.are_there()}
            self._locked[pages.address] = pages
        return array

    def free_cpu_locked_tensor(self, tensor: Any) -> bool:
        """Forgets an array of ``new_cpu_locked_tensor``; False if it is none of this handle."""
        with self._lock:
            return self._locked.pop(_arrays.view("tensor", tensor).pointer, None) is not None

    def is_pinned(self, buffer: Any) -> bool:
        """Whether it lies in locked memory of this handle, or PyTorch has pinned it for CUDA."""
        view = _arrays.view("buffer", buffer)
        with self._lock:
            known = list(self._locked.values())
        return any(pages.holds(view) for pages in known) or _pinned.is_pinned_by_torch(buffer)

    def report(self) -> dict:
        """What the handle has done and how.

        ``engine``, and ``io_uring_refused``: why it is not io_uring, or None. ``requests`` that
        ended, ``failed`` ones. ``direct_bytes`` by O_DIRECT, ``bounced_bytes`` by O_DIRECT and a
        copy because something was not aligned, ``buffered_bytes`` through the page cache.
        ``not_direct``: requests by path for which the file system refused O_DIRECT.
        """
        totals = _native.Totals()
        _native.check("ds_ops_async_io_report",
                      lib.ds_ops_async_io_report(self._state.native, ctypes.byref(totals)))
        report = {name: getattr(totals, name) for name, _ in totals._fields_[:6]}
        engines = {number: name for name, number in _native.ENGINES.items()}
        report["engine"] = engines[totals.engine]
        report["io_uring_refused"] = os.strerror(totals.refused) if totals.refused else None
        return report

    def close(self) -> None:
        """Waits for all requests in flight, also those of futures, and ends the threads."""
        self._state.close()

    def __enter__(self) -> "aio_handle":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self._state.close()

    def _start(self, operation: int, buffer: Any, file: File, offset: int, validate: bool,
               future: Any = None) -> Tuple[int, Running]:
        view = _arrays.view("buffer", buffer, writable=operation == READ)
        offset = _whole("file_offset", offset, 0, (1 << 63) - (1 << 20) - 1 - view.nbytes)
        running = Running(view, _name_of(file), bool(validate), future, offset)
        return self._state.submit(running, operation), running

    def _future(self, operation: int, buffer: Any, file: File, offset: int) -> Any:
        future: Any = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        self._start(operation, buffer, file, offset, False, future)
        return future

    def _run(self, operation: int, buffer: Any, file: File, offset: int, validate: bool,
             asynchronous: bool) -> int:
        number, running = self._start(operation, buffer, file, offset, validate)
        if not asynchronous:
            self._finish(number, running)
            return 1
        with self._lock:
            self._pending.append((number, running))
        return 0

    def _finish(self, number: int, running: Running) -> None:
        result = self._state.wait(number, running)
        _native.check("ds_ops_async_io_wait", result.code, running.file)
        if running.validate:
            _validate(running)


def _whole(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: must be a whole number, is a {type(value).__name__}") from None
    if not least <= number <= most:
        raise ValueError(f"{name}: must be {least} to {most}, is {number}")
    return number


def _name_of(file: File) -> Union[bytes, int]:
    """A descriptor, or the path from the root: it is looked up later, maybe in another folder."""
    if hasattr(file, "__index__") and not isinstance(file, bool):
        return _whole("file", file, 0, (1 << 31) - 1)
    try:
        path = os.fsencode(file)
    except TypeError:
        raise TypeError(f"file: must be a path or a descriptor, is a {type(file).__name__}"
                        ) from None
    if not path or b"\0" in path:
        raise ValueError("file: is an empty path, or has a byte 0 in it")
    return os.path.join(os.getcwdb(), path)


def _validate(running: Running) -> None:
    memory = memoryview((ctypes.c_ubyte * running.view.nbytes).from_address(
        running.view.pointer or 0)) if running.view.nbytes else memoryview(b"")
    if isinstance(running.file, int):
        file = running.file
    else:
        file = os.open(running.file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        at = 0
        while at < len(memory):
            seen = os.pread(file, min(_CHUNK, len(memory) - at), running.offset + at)
            if not seen or seen != memory[at:at + len(seen)]:
                raise OpError("validate", _native.ERRNO, f"{running.file!r} holds other bytes "
                              f"than the array from byte {running.offset + at} on")
            at += len(seen)
    finally:
        if not isinstance(running.file, int):
            os.close(file)
