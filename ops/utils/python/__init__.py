# SPDX-License-Identifier: Apache-2.0
"""Flatten arrays into one, split one into views, see arrays as bytes, pad for ZeRO.

Arrays of NumPy, PyTorch (CPU) and the standard library (array.array, bytearray, memoryview, ctypes
arrays) work, contiguous ones only. The names are those of DeepSpeed's ``utils`` op.

ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054) keeps a group's tensors in one flat buffer whose
length is a multiple of the number of ranks, so that each rank owns an equal part of it: see
``alignment`` of flatten, ``padding`` and ``partition``.

Errors: TypeError (no array, wrong element type) and ValueError (not contiguous, wrong size, on a
GPU, read-only, overlapping) name the argument.
"""
from __future__ import annotations

import ctypes
import math
from typing import Any, List, Optional, Sequence

from ds_ops import _arrays
from ds_ops._library import OpError, check, load

__all__ = ["as_bytes", "cast_to_byte_tensor", "flatten", "padding", "partition", "self_test",
           "unflatten"]

_lib = load(__file__)
_table = [ctypes.c_void_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_void_p),
          ctypes.POINTER(ctypes.c_uint64), ctypes.c_int64]
_lib.ds_ops_utils_flatten.argtypes = _table + [ctypes.c_uint64]
_lib.ds_ops_utils_unflatten.argtypes = _table


def flatten(arrays: Sequence[Any], out: Optional[Any] = None, *, alignment: int = 1) -> Any:
    """Copies all elements, in order, to one flat array and returns it.

    ``arrays``: any shapes, all of one element type, in CPU memory. ``alignment``: the result is
    padded with zeros to a multiple of so many elements. ``out``: where to, of the same type, with
    exactly as many elements, padding included, sharing no memory with ``arrays``. Without it a new
    array of the first one's library is made (for buffers: array.array, or a memoryview where it
    lacks the type); then ``arrays`` must not be empty.
    """
    parts = [_arrays.view(*pair) for pair in _arrays.as_list("arrays", list(arrays))]
    for part in parts[1:]:
        if part.dtype != parts[0].dtype:
            raise TypeError(f"{part.name}: has elements of type {part.dtype}, arrays[0] has "
                            f"{parts[0].dtype}")
    total = sum(part.size for part in parts)
    more = padding(total, alignment)
    if out is None:
        if not parts:
            raise ValueError("arrays: is empty, so the element type of the result is not known")
        out = _arrays.new_like(arrays[0], total + more)
    flat = _arrays.view("out", out, dtype=parts[0].dtype if parts else None, writable=True)
    if flat.size != total + more:
        padded = f" and {more} of padding" if more else ""
        raise ValueError(f"out: has {flat.size} elements, arrays have {total}{padded}")
    _arrays.check_overlap(parts, [flat])
    _call("ds_ops_utils_flatten", flat, parts, more * _arrays.item_size("out", flat.dtype))
    return out


def padding(size: int, alignment: int) -> int:
    """How many elements ``size`` lacks to the next multiple of ``alignment``; 0 if it is one."""
    for name, value, least in (("size", size, 0), ("alignment", alignment, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}: must be a whole number from {least} on, is {value!r}")
    return -size % alignment


def partition(flat: Any, count: int) -> List[Any]:
    """``count`` views of ``flat``, one after the other, all of one length: each rank's part.

    ValueError if the number of elements is no multiple of ``count``: see ``flatten``.
    """
    whole = _arrays.view("flat", flat, device=None)
    lacks = padding(whole.size, count)
    if lacks:
        raise ValueError(f"flat: has {whole.size} elements, which is no multiple of {count}: "
                         f"it lacks {lacks}")
    return _cut(flat, whole, [(whole.size // count,)] * count)


def unflatten(flat: Any, likes: Sequence[Any], out: Optional[Sequence[Any]] = None) -> List[Any]:
    """Cuts ``flat`` into parts with the shapes of ``likes`` (arrays, tuples of int, or int).

    Without ``out`` the parts are views of ``flat``: nothing is copied, a write to one is a write
    to the other. They are NumPy arrays, tensors or memoryviews, as ``flat`` is. With ``out``,
    arrays of these shapes, the elements are copied there and ``out`` is returned. ``flat`` may be
    longer than the parts together (padding), not shorter.
    """
    whole = _arrays.view("flat", flat, device="cpu" if out is not None else None)
    shapes = [_shape_of(f"likes[{i}]", like) for i, like in enumerate(likes)]
    needed = sum(math.prod(shape) for shape in shapes)
    if needed > whole.size:
        raise ValueError(f"flat: has {whole.size} elements, likes need {needed}")
    if out is None:
        return _cut(flat, whole, shapes)
    parts = [_arrays.view(name, array, dtype=whole.dtype, writable=True)
             for name, array in _arrays.as_list("out", list(out))]
    if len(parts) != len(shapes):
        raise ValueError(f"out: has {len(parts)} arrays, likes has {len(shapes)}")
    for part, shape in zip(parts, shapes):
        if part.shape != shape:
            raise ValueError(f"{part.name}: has shape {part.shape}, must have {shape}")
    _arrays.check_overlap([whole], parts)
    _call("ds_ops_utils_unflatten", whole, parts)
    return list(out)


def as_bytes(array: Any) -> Any:
    """The array's memory as flat uint8, without a copy: same library, same device.

    A list or tuple gives a list. Buffers give a memoryview; what is read-only stays so.
    """
    if isinstance(array, (list, tuple)):
        return [as_bytes(one) for one in array]
    _arrays.view("array", array, device=None)
    if _arrays.is_tensor(array):
        # Detached: bytes have no gradient.
        return array.detach().reshape(-1).view(_arrays.library_of(array).uint8)
    if _has_interface(array):
        return array.reshape(-1).view("uint8")
    return _bytes_of(array)


cast_to_byte_tensor = as_bytes


def _has_interface(array: Any) -> bool:
    return hasattr(array, "__array_interface__") or hasattr(array, "__cuda_array_interface__")


def _bytes_of(array: Any) -> memoryview:
    buffer = memoryview(array)
    if 0 in (buffer.shape or ()):
        # memoryview refuses to cast an array without elements.
        return memoryview(b"") if buffer.readonly else memoryview(bytearray())
    return buffer.cast("B")


def _shape_of(name: str, like: Any) -> tuple:
    if isinstance(like, int):
        like = (like,)
    if not (isinstance(like, tuple) and all(isinstance(n, int) for n in like)):
        try:
            return tuple(like.shape if hasattr(like, "shape") else memoryview(like).shape)
        except TypeError:
            raise TypeError(f"{name}: a {type(like).__name__} is no array and no shape") from None
    if any(n < 0 for n in like):
        raise ValueError(f"{name}: the shape {tuple(like)} has a negative length")
    return tuple(like)


def _cut(flat: Any, whole: _arrays.View, shapes: List[tuple]) -> List[Any]:
    has_reshape = _arrays.is_tensor(flat) or _has_interface(flat)
    line = flat.reshape(-1) if has_reshape else _bytes_of(flat)
    unit = 1 if has_reshape else whole.nbytes // max(whole.size, 1)
    views, at = [], 0
    for shape in shapes:
        size = math.prod(shape)
        part = line[at * unit:(at + size) * unit]
        views.append(part.reshape(shape) if has_reshape else _cast(part, flat, shape))
        at += size
    return views


def _cast(part: memoryview, flat: Any, shape: tuple) -> memoryview:
    code = memoryview(flat).format
    # memoryview cannot shape an array without elements, nor one that has no axis.
    return part.cast(code, shape) if part.nbytes and shape else part.cast(code)


def _call(function: str, flat: _arrays.View, parts: List[_arrays.View], *more: int) -> None:
    pointers = (ctypes.c_void_p * len(parts))(*(part.pointer for part in parts))
    sizes = (ctypes.c_uint64 * len(parts))(*(part.nbytes for part in parts))
    code = getattr(_lib, function)(flat.pointer, flat.nbytes, pointers, sizes, len(parts), *more)
    check(_lib, function, code)


def self_test() -> None:
    """Goes there and back, and sees that a wrong size is refused."""
    import array
    parts = [array.array("f", [1, 2, 3]), array.array("f"), array.array("f", [4, 5])]
    flat = flatten(parts)
    assert list(flat) == [1, 2, 3, 4, 5], f"flatten gave {list(flat)}"
    back = unflatten(flat, parts, out=[array.array("f", bytes(4 * len(p))) for p in parts])
    assert back == parts, f"unflatten gave {back}"
    unflatten(flat, parts)[2][0] = 7
    assert flat[3] == 7, "unflatten gave a copy, not a view"
    assert as_bytes(flat).tobytes() == flat.tobytes(), "as_bytes gave other bytes"
    padded = flatten(parts, alignment=4)
    assert list(padded) == [1, 2, 3, 4, 5, 0, 0, 0], f"flatten gave {list(padded)}"
    whole = _arrays.view("flat", flat)
    try:
        _call("ds_ops_utils_flatten", whole, [_arrays.view("part", parts[0])], 0)
    except OpError:
        return
    raise AssertionError("a flat buffer of the wrong size was accepted")
