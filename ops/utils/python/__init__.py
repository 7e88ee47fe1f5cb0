# SPDX-License-Identifier: Apache-2.0
"""Flatten arrays into one, split one into views, see arrays as bytes.

Arrays of NumPy, PyTorch (CPU) and the standard library (array.array, bytearray, memoryview, ctypes
arrays) work, contiguous ones only. The names are those of DeepSpeed's ``utils`` op.

Errors: TypeError (no array, wrong element type) and ValueError (not contiguous, wrong size, on a
GPU, read-only, overlapping) name the argument.
"""
from __future__ import annotations

import ctypes
import math
from typing import Any, List, Optional, Sequence

from ds_ops import _arrays
from ds_ops._library import OpError, check, load

__all__ = ["as_bytes", "cast_to_byte_tensor", "flatten", "self_test", "unflatten"]

_lib = load(__file__)
_table = [ctypes.c_void_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_void_p),
          ctypes.POINTER(ctypes.c_uint64), ctypes.c_int64]
_lib.ds_ops_utils_flatten.argtypes = _table
_lib.ds_ops_utils_unflatten.argtypes = _table


def flatten(arrays: Sequence[Any], out: Optional[Any] = None) -> Any:
    """Copies all elements, in order, to one flat array and returns it.

    ``arrays``: any shapes, all of one element type, in CPU memory. ``out``: where to, of the same
    type, with exactly as many elements, sharing no memory with ``arrays``. Without it a new array
    of the first one's library is made (for buffers: array.array, or a memoryview where it lacks
    the type); then ``arrays`` must not be empty.
    """
    parts = [_arrays.view(*pair) for pair in _arrays.as_list("arrays", list(arrays))]
    for part in parts[1:]:
        if part.dtype != parts[0].dtype:
            raise TypeError(f"{part.name}: has elements of type {part.dtype}, arrays[0] has "
                            f"{parts[0].dtype}")
    total = sum(part.size for part in parts)
    if out is None:
        if not parts:
            raise ValueError("arrays: is empty, so the element type of the result is not known")
        out = _arrays.new_like(arrays[0], total)
    flat = _arrays.view("out", out, dtype=parts[0].dtype if parts else None, writable=True)
    if flat.size != total:
        raise ValueError(f"out: has {flat.size} elements, arrays have {total}")
    _arrays.check_overlap(parts, [flat])
    _call("ds_ops_utils_flatten", flat, parts)
    return out


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


def _call(function: str, flat: _arrays.View, parts: List[_arrays.View]) -> None:
    pointers = (ctypes.c_void_p * len(parts))(*(part.pointer for part in parts))
    sizes = (ctypes.c_uint64 * len(parts))(*(part.nbytes for part in parts))
    code = getattr(_lib, function)(flat.pointer, flat.nbytes, pointers, sizes, len(parts))
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
    whole = _arrays.view("flat", flat)
    try:
        _call("ds_ops_utils_flatten", whole, [_arrays.view("part", parts[0])])
    except OpError:
        return
    raise AssertionError("a flat buffer of the wrong size was accepted")
