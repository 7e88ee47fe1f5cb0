# SPDX-License-Identifier: Apache-2.0
"""What lives behind a handle: the native one, the threads that work for it, what is in flight."""
from __future__ import annotations

import atexit
import concurrent.futures
import ctypes
import os
import threading
import weakref
from typing import Any, Dict, NamedTuple, Optional

from ds_ops._arrays import View
from ds_ops.async_io import _native
from ds_ops.async_io._native import lib

# So often a wait looks whether a signal has come: Python's handlers run between two of them.
_SLICE_MS = 200
_alive: "weakref.WeakSet[State]" = weakref.WeakSet()


class Running(NamedTuple):
    """A request on its way; keeps the memory alive."""

    view: View
    file: Any
    validate: bool
    future: Optional[concurrent.futures.Future]
    offset: int


def start_thread(function: Any, *arguments: Any) -> threading.Thread:
    """A daemon: what it does at the end of the process is ended by ``_close_all``."""
    thread = threading.Thread(target=function, args=arguments, daemon=True, name="ds_ops.async_io")
    thread.start()
    return thread


class State:
    """The threads hold no reference to the handle, so that one that nobody uses is closed."""

    def __init__(self, options: _native.Options) -> None:
        self.native = ctypes.c_void_p()
        self.process = os.getpid()
        _native.check("ds_ops_async_io_open", lib.ds_ops_async_io_open(
            ctypes.byref(options), ctypes.byref(self.native)))
        self.lock = threading.Lock()
        self.held: Dict[int, Running] = {}  # all that is in flight
        self.futures: Dict[int, Running] = {}
        self.collector: Optional[threading.Thread] = None
        self.workers = []
        self.closed = False
        _alive.add(self)
        try:
            for _ in range(options.threads):
                self.workers.append(start_thread(lib.ds_ops_async_io_work, self.native))
        except BaseException:
            self.close()
            raise

    def submit(self, running: Running, operation: int) -> int:
        """The id of the new request."""
        if os.getpid() != self.process:
            raise _native.error("ds_ops_async_io_submit", _native.FORKED)
        path = None if isinstance(running.file, int) else running.file
        request = _native.Request(
            running.view.pointer, running.view.nbytes, running.offset, path,
            -1 if path is not None else running.file, operation, running.future is not None)
        number = ctypes.c_int64()
        # First of all: should a signal handler raise an exception now, the memory stays.
        self.held[id(running)] = running
        with self.lock:
            code = lib.ds_ops_async_io_submit(self.native, ctypes.byref(request),
                                              ctypes.byref(number))
            if code != _native.OK:
                del self.held[id(running)]
                raise _native.error("ds_ops_async_io_submit", code, running.file)
            if running.future is not None:
                self.futures[number.value] = running
                if self.collector is None:
                    self.collector = start_thread(self._collect)
        return number.value

    def wait(self, number: int, running: Running) -> _native.Result:
        """The result of a request without a future.

        An exception of a signal handler, such as KeyboardInterrupt, is raised when the request has
        ended: before that the kernel may still write to the memory.
        """
        interrupted = None
        while True:
            try:
                result = _native.Result()
                code = lib.ds_ops_async_io_wait(self.native, number, _SLICE_MS,
                                                ctypes.byref(result))
            except BaseException as exception:  # pylint: disable=broad-except
                interrupted = exception
                continue
            if code != _native.PENDING:
                break
        self.held.pop(id(running), None)
        if interrupted is not None:
            raise interrupted
        _native.check("ds_ops_async_io_wait", code)
        return result

    def _collect(self) -> None:
        """Sets the futures, until the handle is closed."""
        result = _native.Result()
        while True:
            code = lib.ds_ops_async_io_wait(self.native, 0, -1, ctypes.byref(result))
            if code != _native.OK:
                break
            with self.lock:
                running = self.futures.pop(result.id, None)
            if running is None:
                continue
            del self.held[id(running)]
            if result.code == _native.OK:
                running.future.set_result(result.bytes)
            else:
                running.future.set_exception(_native.error("ds_ops_async_io_wait", result.code,
                                                           running.file))
            del running

    def close(self) -> None:
        """Ends what is in flight, then the threads. Again, or in a child of fork: nothing."""
        if os.getpid() != self.process:
            return
        self.closed = True
        lib.ds_ops_async_io_close(self.native)
        for thread in self.workers + [self.collector]:
            # A future's callback may drop the last reference to the handle.
            if thread is not None and thread is not threading.current_thread():
                thread.join()

    def __del__(self) -> None:
        if self.native.value and os.getpid() == self.process:
            self.close()
            lib.ds_ops_async_io_free(self.native)


def _close_all() -> None:
    for state in list(_alive):
        state.close()


# Before the interpreter goes, and with it the memory that the kernel writes to.
atexit.register(_close_all)
