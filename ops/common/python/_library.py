# SPDX-License-Identifier: Apache-2.0
"""Loads an op's shared library and turns its error codes into exceptions."""
from __future__ import annotations

import ctypes
import os


class CannotRun(RuntimeError):
    """This host cannot run the op, and nothing is wrong with the op: no GPU, no driver."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OpError(RuntimeError):
    """A library call failed; ``code`` is its code (see ds_ops/abi.h)."""

    def __init__(self, function: str, code: int, text: str) -> None:
        super().__init__(f"{function}: {text} (code {code})")
        self.code = code


def load(op_file: str) -> ctypes.CDLL:
    """The library ``lib<op>.so`` beside ``op_file``, the ``__file__`` of the op's package."""
    folder = os.path.dirname(os.path.abspath(op_file))
    path = os.path.join(folder, f"lib{os.path.basename(folder)}.so")
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"cannot load {path}: {error}", path=path) from error
    library.ds_ops_error_text.restype = ctypes.c_char_p
    library.ds_ops_error_text.argtypes = [ctypes.c_int]
    return library


def check(library: ctypes.CDLL, function: str, code: int) -> None:
    """OpError if ``code`` is not 0."""
    if code != 0:
        raise OpError(function, code, library.ds_ops_error_text(code).decode())
