# SPDX-License-Identifier: Apache-2.0
"""The C functions of the op, and their errors as exceptions."""
from __future__ import annotations

import ctypes
import os
from typing import Any

from ds_ops._library import OpError, load

ENGINES = {"any": 0, "io_uring": 1, "linux_aio": 2}
READ, WRITE = 0, 1
OK, BAD_FILE, APPENDS, END_OF_FILE, PENDING, FORKED = 0, 56, 57, 58, 60, 62
ERRNO = 3000


class Options(ctypes.Structure):
    """``ds_ops_async_io_options``."""

    _fields_ = [("block_size", ctypes.c_int64), ("queue_depth", ctypes.c_int32),
                ("threads", ctypes.c_int32), ("single_submit", ctypes.c_int32),
                ("overlap_events", ctypes.c_int32), ("engine", ctypes.c_int32)]


class Request(ctypes.Structure):
    """``ds_ops_async_io_request``."""

    _fields_ = [("memory", ctypes.c_void_p), ("bytes", ctypes.c_int64), ("offset", ctypes.c_int64),
                ("path", ctypes.c_char_p), ("fd", ctypes.c_int32), ("operation", ctypes.c_int32),
                ("collected", ctypes.c_int32)]


class Result(ctypes.Structure):
    """``ds_ops_async_io_result``."""

    _fields_ = [("id", ctypes.c_int64), ("bytes", ctypes.c_int64), ("code", ctypes.c_int32)]


class Totals(ctypes.Structure):
    """``ds_ops_async_io_totals``."""

    _fields_ = [("requests", ctypes.c_int64), ("failed", ctypes.c_int64),
                ("direct_bytes", ctypes.c_int64), ("bounced_bytes", ctypes.c_int64),
                ("buffered_bytes", ctypes.c_int64), ("not_direct", ctypes.c_int64),
                ("engine", ctypes.c_int32), ("refused", ctypes.c_int32)]


lib = load(__file__)
_handle, _i64 = ctypes.c_void_p, ctypes.c_int64
lib.ds_ops_async_io_open.argtypes = [ctypes.POINTER(Options), ctypes.POINTER(_handle)]
lib.ds_ops_async_io_work.argtypes = [_handle]
lib.ds_ops_async_io_submit.argtypes = [_handle, ctypes.POINTER(Request), ctypes.POINTER(_i64)]
lib.ds_ops_async_io_wait.argtypes = [_handle, _i64, _i64, ctypes.POINTER(Result)]
lib.ds_ops_async_io_report.argtypes = [_handle, ctypes.POINTER(Totals)]
lib.ds_ops_async_io_close.argtypes = [_handle]
lib.ds_ops_async_io_free.argtypes = [_handle]
lib.ds_ops_async_io_lock.argtypes = [ctypes.c_void_p, _i64]


def error(function: str, code: int, file: Any = None) -> Exception:
    """The exception for a code: OSError, EOFError, ValueError or OpError."""
    if isinstance(file, bytes):
        file = os.fsdecode(file)
    if code > ERRNO:
        number = code - ERRNO
        return OSError(number, os.strerror(number), *(() if file is None else (file,)))
    text = lib.ds_ops_error_text(code).decode()
    if code == END_OF_FILE:
        return EOFError(f"{file}: {text}")
    if code in (BAD_FILE, APPENDS):
        return ValueError(f"file: {file!r}: {text}")
    return OpError(function, code, text)


def check(function: str, code: int, file: Any = None) -> None:
    """Raises ``error`` unless the code is 0."""
    if code != OK:
        raise error(function, code, file)
