# SPDX-License-Identifier: Apache-2.0
"""Arrays in whole pages that stay in memory."""
from __future__ import annotations

import mmap
import sys
import weakref
from typing import Any, Tuple

from ds_ops import _arrays
from ds_ops.async_io._native import OK, lib

_HUGE = 1 << 21


class Pages:
    """Where an array lies. The memory belongs to the array."""

    def __init__(self, memory: mmap.mmap, address: int, locked: bool) -> None:
        self.address, self.nbytes, self.locked = address, len(memory), locked
        self._memory = weakref.ref(memory)

    def are_there(self) -> bool:
        """Whether anybody refers to the array."""
        return self._memory() is not None

    def holds(self, view: _arrays.View) -> bool:
        """Whether all of the array is in these pages, and they are locked."""
        return (self.locked and self.are_there() and self.address <= view.pointer
                and view.pointer + view.nbytes <= self.address + self.nbytes)


def new(count: int, example: Any) -> Tuple[Any, Pages]:
    """A flat array of ``count`` elements like those of ``example``, and its pages."""
    kind = _arrays.view("example_tensor", example, device=None)
    width = _arrays.item_size("example_tensor", kind.dtype)
    length = max(count * width, 1)
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if length >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a kernel without them
    address = _arrays.view("memory", memory).pointer
    # What the kernel does not lock is still good for I/O.
    locked = lib.ds_ops_async_io_lock(address, length) == OK
    return _array(memory, count, width, example), Pages(memory, address, locked)


def _array(memory: mmap.mmap, count: int, width: int, example: Any) -> Any:
    if _arrays.is_tensor(example):
        return _arrays.library_of(example).frombuffer(memory, dtype=example.dtype, count=count) \
            if count else example.detach().new_empty(0, device="cpu")
    if hasattr(example, "__array_interface__"):
        return _arrays.library_of(example).frombuffer(memory, dtype=example.dtype, count=count)
    code = memoryview(example).format
    return memoryview(memory)[:count * width].cast("B").cast(code)


def is_pinned_by_torch(array: Any) -> bool:
    """PyTorch's answer for its tensors, where it has CUDA; False for all else."""
    torch = sys.modules.get("torch")
    if torch is None or not _arrays.is_tensor(array) or not torch.cuda.is_available():
        return False
    return bool(array.is_pinned())
