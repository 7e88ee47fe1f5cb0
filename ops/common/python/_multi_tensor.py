# SPDX-License-Identifier: Apache-2.0
"""What the multi-tensor optimizer ops share: checked lists of arrays, and values on the GPU."""
from __future__ import annotations

import bisect
import ctypes
from typing import Any, Callable, List, Optional, Sequence, Tuple

from ds_ops import _arrays, _cuda

_void, _i32, _i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
LIST, SIZES = ctypes.POINTER(_void), ctypes.POINTER(_i64)
GRADS = 1  # the column of a row that is only read


class DeviceValues(ctypes.Structure):
    """``ds_ops_device_values`` of ds_ops/device_values.h."""

    _fields_ = [("steps", LIST), ("lr", _void), ("inv_scale", _void), ("noop_flag", _void),
                ("step_type", _i32)]


class Lists:
    """The arrays of a step as the C border takes them: checked, and no longer held.

    Each row is (params, grads, exp_avg, exp_avg_sq, ...) of one parameter; ``columns`` has a C
    array of addresses for each of these.
    """

    def __init__(self, rows: Sequence[Tuple[_arrays.View, ...]], library: ctypes.CDLL) -> None:
        views = [v for row in rows for v in row]
        self.count = len(rows)
        self.sizes = (_i64 * self.count)(*(row[0].size for row in rows))
        self.columns = [_cuda.pointers(column) for column in zip(*rows)]
        self.dtypes = [column[0].dtype for column in zip(*rows)]
        self.device = _cuda.device_of(views)
        # What is written: where it begins, its name, where it ends.
        self.outputs = sorted((v.pointer, v.name, v.pointer + v.nbytes) for row in rows
                              for i, v in enumerate(row) if i != GRADS and v.nbytes)
        self._library = library
        # Not the tensor itself: a list that is kept must not keep a gradient.
        self._torch = _cuda.torch_of(views)
        self._streams = _cuda.streams_of(views)

    def stream(self, values: Sequence[_arrays.View]) -> Optional[int]:
        """The stream to work on, as ``_cuda.stream_of``; ``values`` are more arrays of the call."""
        return _cuda.choose_stream(self._library, self._torch,
                                   self._streams + _cuda.streams_of(values), self.device)


class Cache:
    """Remembers the tensors of the last call that it was given to: where none has moved since,
    they are not checked again. It holds none of them. One thread uses it at a time."""

    def __init__(self) -> None:
        self._key: Optional[List[Any]] = None
        self._lists: Optional[Lists] = None

    def lists(self, columns: Sequence[Any], make: Callable[[], Lists]) -> Lists:
        """The lists of a call, by ``make`` where they are not known."""
        key = self._key_of(columns)
        if key is None:
            return make()
        if self._lists is None or key != self._key:
            self._lists, self._key = make(), key
        return self._lists

    @staticmethod
    def _key_of(columns: Sequence[Any]) -> Optional[List[Any]]:
        """What identifies the tensors of a call; None: it cannot be told."""
        key: List[Any] = [len(columns)]
        for column in columns:
            if not isinstance(column, (list, tuple)):
                return None
            for array in column:
                if not _arrays.is_tensor(array):
                    return None
                key.append((array.data_ptr(), array.shape, array.dtype, array.is_contiguous()))
        return key


def lists_of(columns: Sequence[Any], make: Callable[[], Lists],
             cache: Optional[Cache]) -> Lists:
    """``cache.lists``, where there is a cache."""
    return make() if cache is None else cache.lists(columns, make)


def same_dtype(name: str, column: Sequence[_arrays.View], among: Sequence[str]) -> None:
    """TypeError unless all views have one element type, and it is one of ``among``."""
    for v in column:
        if v.dtype not in among:
            raise TypeError(f"{v.name}: must have elements of type {', '.join(among)}, has "
                            f"{v.dtype}")
        if v.dtype != column[0].dtype:
            raise TypeError(f"{v.name}: has elements of type {v.dtype}, {name} has "
                            f"{column[0].dtype}")


def held(name: str, column: Any, dtype: Optional[str]) -> Optional[str]:
    """``dtype`` for a column of uint16 arrays, which may hold another type; None for others."""
    arrays = _arrays.as_list(name, column)
    if dtype is None or not arrays or _arrays.view(*arrays[0], device=None).dtype != "uint16":
        return None
    return dtype


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array and not a number."""
    return _arrays.is_tensor(value) or any(
        hasattr(value, name) for name in ("__cuda_array_interface__", "__dlpack__"))


def device_values(count: int, step: Any, lr: Any, inv_scale: Any,
                  noop_flag: Any) -> Tuple[DeviceValues, int, float, List[_arrays.View]]:
    """The values of a call: those on the GPU, the step and lr for the options, the views.

    ``step``: a number, or an array with one element, or ``count`` of these in a list.
    """
    found: List[_arrays.View] = []

    def scalar(name: str, array: Any, *dtypes: str) -> Optional[int]:
        if array is None:
            return None
        found.append(_cuda.scalar(name, array, *dtypes))
        return found[-1].pointer

    values = DeviceValues(inv_scale=scalar("inv_scale", inv_scale, "float32"),
                          noop_flag=scalar("noop_flag", noop_flag, "int32", "float32"))
    if is_array(lr):
        values.lr, lr = scalar("lr", lr, "float32"), 0.0
    if isinstance(step, (list, tuple)) or is_array(step):
        steps = step if isinstance(step, (list, tuple)) else [step]
        if isinstance(step, (list, tuple)) and len(steps) != count:
            raise ValueError(f"step: has {len(steps)} arrays, params has {count}")
        first = len(found)
        pointers = [scalar(f"step[{i}]" if steps is step else "step", array, "int64", "float32")
                    for i, array in enumerate(steps)]
        for view in found[first:]:
            if view.dtype != found[first].dtype:
                raise TypeError(f"{view.name}: has elements of type {view.dtype}, "
                                f"{found[first].name} has {found[first].dtype}")
        values.step_type = int(bool(found[first:]) and found[first].dtype == "float32")
        values.steps = (_void * count)(*(pointers if steps is step else pointers * count))
        step = 1
    return values, step, lr, found


def check_values(values: Sequence[_arrays.View], lists: Lists) -> None:
    """ValueError if a value on the GPU lies in an array that is written, or on another GPU."""
    for view in values:
        if view.index is not None and lists.device not in (-1, view.index):
            raise ValueError(f"{view.name}: is on GPU {view.index}, params is on GPU "
                             f"{lists.device}")
        # The arrays do not overlap each other: only the last that begins before its end can.
        before = bisect.bisect_left(lists.outputs, (view.pointer + view.nbytes, "", 0))
        if before and lists.outputs[before - 1][2] > view.pointer:
            raise ValueError(f"{view.name}: shares memory with {lists.outputs[before - 1][1]}")
