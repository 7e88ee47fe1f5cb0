# SPDX-License-Identifier: Apache-2.0
"""Where an array lies and what it is, for arrays of any library, without a copy.

Understood, in this order: PyTorch tensors (by their methods), ``__cuda_array_interface__``,
``__array_interface__``, the buffer protocol, DLPack. No array library is imported.
"""
from __future__ import annotations

import ctypes
from typing import Any, Optional, Sequence, Tuple

from ds_ops import _dlpack

ITEM_SIZES = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "float16": 2, "bfloat16": 2,
    "uint32": 4, "int32": 4, "float32": 4, "uint64": 8, "int64": 8, "float64": 8,
    "complex64": 8, "complex128": 16,
}
_BUFFER_KINDS = {"?": "bool", "c": "uint", "B": "uint", "H": "uint", "I": "uint", "L": "uint",
                 "Q": "uint", "N": "uint", "b": "int", "h": "int", "i": "int", "l": "int",
                 "q": "int", "n": "int", "e": "float", "f": "float", "d": "float"}
_TYPESTR_KINDS = {"b": "bool", "u": "uint", "i": "int", "f": "float", "c": "complex"}


class View:
    """One array: address, element type, shape and place. Keeps the array alive.

    ``device`` is "cpu" or "cuda"; ``index`` is the GPU's ordinal, or None where the array does not
    tell. ``stream`` is the CUDA stream that the array says its data is ready on, or None.
    """

    __slots__ = ("name", "owner", "pointer", "dtype", "shape", "readonly", "device", "index",
                 "stream", "size", "nbytes")

    def __init__(self, name: str, owner: Any, pointer: int, dtype: str, shape: Sequence[int],
                 readonly: bool = False, device: str = "cpu", index: Optional[int] = None,
                 stream: Optional[int] = None) -> None:
        self.name, self.owner, self.pointer, self.dtype = name, owner, pointer, dtype
        self.shape = tuple(int(n) for n in shape)
        self.readonly, self.device, self.index, self.stream = readonly, device, index, stream
        self.size = 1
        for n in self.shape:
            self.size *= n
        self.nbytes = self.size * item_size(name, dtype)


def item_size(name: str, dtype: str) -> int:
    """Bytes of one element; TypeError for a type that is not known."""
    try:
        return ITEM_SIZES[dtype]
    except KeyError:
        raise TypeError(f"{name}: the element type {dtype} is not supported") from None


def is_tensor(array: Any) -> bool:
    """Whether it has the methods of a PyTorch tensor that are needed here."""
    return all(callable(getattr(array, method, None))
               for method in ("data_ptr", "element_size", "is_contiguous"))


def library_of(array: Any) -> Any:
    """The top-level module that the array's class comes from (torch, for a tensor)."""
    import sys
    return sys.modules[type(array).__module__.partition(".")[0]]


def view(name: str, array: Any, *, dtype: Optional[str] = None, writable: bool = False,
         device: Optional[str] = "cpu") -> View:
    """Describes ``array``, which messages call ``name``.

    ``dtype`` says what the elements are: it must be the array's own type, except that uint16 may
    be called "float16" or "bfloat16". TypeError: no array, or a wrong type. ValueError: it is not
    contiguous, not aligned, read-only though ``writable`` is asked for, or not on ``device``
    ("cpu", "cuda", None: anywhere).
    """
    found = _find(name, array, writable)
    if dtype is not None and dtype != found.dtype:
        if found.dtype != "uint16" or dtype not in ("float16", "bfloat16"):
            raise TypeError(f"{name}: has elements of type {found.dtype}, not {dtype}")
        found.dtype = dtype
    if device is not None and found.device != device:
        where = {"cpu": "the CPU", "cuda": "a CUDA GPU"}
        raise ValueError(f"{name}: must be in the memory of {where[device]}, is on "
                         f"{where.get(found.device, found.device)}")
    if writable and found.readonly:
        raise ValueError(f"{name}: is read-only, and would be written to")
    if found.size > 0 and found.pointer % item_size(name, found.dtype):
        raise ValueError(f"{name}: is not aligned to its element type")
    if found.size > 0 and not found.pointer:
        raise ValueError(f"{name}: has no memory (a null pointer)")
    return found


def check_overlap(views: Sequence[View], outputs: Sequence[View]) -> None:
    """ValueError if one of ``outputs`` shares memory with another of ``outputs`` or ``views``."""
    spans = [(v.pointer, v.pointer + v.nbytes, written, v.name)
             for group, written in ((views, False), (outputs, True)) for v in group if v.nbytes]
    spans.sort()
    last_any = last_written = (0, "")
    for start, end, written, name in spans:
        reach, other = last_any if written else last_written
        if start < reach:
            raise ValueError(f"{name}: shares memory with {other}")
        last_any = max(last_any, (end, name))
        if written:
            last_written = max(last_written, (end, name))


def as_list(name: str, arrays: Any) -> list:
    """``arrays`` as (name, array) pairs: a list or tuple one by one, anything else as one array."""
    if isinstance(arrays, (list, tuple)):
        return [(f"{name}[{i}]", array) for i, array in enumerate(arrays)]
    return [(name, arrays)]


_ARRAY_CODES = {"int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "float16": "H",
                "bfloat16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
                "float32": "f", "float64": "d"}


def new_like(array: Any, shape: Any, dtype: Optional[str] = None) -> Any:
    """A new array of the library and on the device of ``array``, of undefined content.

    ``shape``: an int or a tuple. ``dtype``: its element type, that of ``array`` by default; where a
    library has no bfloat16 it is uint16. For buffers it is an array.array, or a memoryview for
    types or shapes that array.array lacks. TypeError: the library cannot make one.
    """
    if is_tensor(array):
        if dtype is None:
            return array.detach().new_empty(shape)
        return array.detach().new_empty(shape, dtype=getattr(library_of(array), dtype))
    if hasattr(array, "__array_interface__") or hasattr(array, "__cuda_array_interface__"):
        empty = getattr(library_of(array), "empty", None)
        if empty is None:
            kind = type(array).__name__
            raise TypeError(f"a new array like a {kind} cannot be made; give one to write to")
        if dtype is None:
            return empty(shape, dtype=array.dtype)
        return empty(shape, dtype="uint16" if dtype == "bfloat16" else dtype)
    return _new_buffer(memoryview(array), shape if isinstance(shape, tuple) else (shape,), dtype)


def _new_buffer(like: memoryview, shape: Tuple[int, ...], dtype: Optional[str]) -> Any:
    import array
    code = like.format if dtype is None else _ARRAY_CODES[dtype]
    size = 1
    for n in shape:
        size *= n
    zeros = bytes(size * (like.itemsize if dtype is None else ITEM_SIZES[dtype]))
    if len(shape) == 1 and code in array.typecodes:
        return array.array(code, zeros)
    # memoryview cannot shape an array without elements.
    line = memoryview(bytearray(zeros))
    return line.cast(code, shape) if size and len(shape) > 1 else line.cast(code)


def _find(name: str, array: Any, writable: bool) -> View:
    if is_tensor(array):
        return _from_tensor(name, array)
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is not None:
        return _from_interface(name, array, interface, "cuda")
    interface = getattr(array, "__array_interface__", None)
    if interface is not None:
        return _from_interface(name, array, interface, "cpu")
    try:
        buffer = memoryview(array)
    except TypeError:
        if hasattr(array, "__dlpack__"):
            return _from_dlpack(name, array, writable)
        kind = type(array).__name__
        raise TypeError(f"{name}: a {kind} is no array that is known here") from None
    return _from_buffer(name, buffer)


def _from_tensor(name: str, tensor: Any) -> View:
    kind = str(getattr(tensor.device, "type", tensor.device))
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"{name}: is on the device {kind}, must be in memory of the CPU or of "
                         "CUDA")
    for lazy in ("is_conj", "is_neg"):
        if getattr(tensor, lazy, bool)():
            raise ValueError(f"{name}: is a lazy view ({lazy}() is true); resolve it first")
    # A sparse tensor raises here by itself.
    if not tensor.is_contiguous():
        raise ValueError(f"{name}: is not contiguous")
    dtype = str(tensor.dtype).rpartition(".")[2]
    if item_size(name, dtype) != tensor.element_size():
        raise TypeError(f"{name}: the element type {dtype} is not supported")
    index = getattr(tensor.device, "index", None) if kind == "cuda" else None
    return View(name, tensor, tensor.data_ptr(), dtype, tensor.shape, device=kind, index=index)


def _from_interface(name: str, array: Any, interface: dict, device: str) -> View:
    dtype = _typestr(name, array, interface["typestr"])
    shape = interface["shape"]
    strides = interface.get("strides")
    if strides is not None and not is_contiguous(shape, strides, item_size(name, dtype)):
        raise ValueError(f"{name}: is not contiguous (row-major)")
    if interface.get("mask") is not None:
        raise ValueError(f"{name}: is a masked array")
    data = interface.get("data")
    if data is None:
        return _from_buffer(name, memoryview(array))
    return View(name, array, int(data[0] or 0), dtype, shape, readonly=bool(data[1]), device=device,
                stream=interface.get("stream"))


def _typestr(name: str, array: Any, typestr: str) -> str:
    order, kind, size = typestr[0], typestr[1], typestr[2:]
    if order == ">":
        raise TypeError(f"{name}: is big-endian")
    if kind in _TYPESTR_KINDS and size.isdigit():
        return _type_name(_TYPESTR_KINDS[kind], int(size))
    # Types that NumPy does not know itself, such as the bfloat16 of ml_dtypes, are V with a name.
    dtype = str(getattr(getattr(array, "dtype", None), "name", typestr))
    item_size(name, dtype)
    return dtype


def _type_name(kind: str, size: int) -> str:
    return kind if kind == "bool" else f"{kind}{8 * size}"


def _from_buffer(name: str, buffer: memoryview) -> View:
    code = buffer.format.lstrip("@=<") if buffer.format else "B"
    if code not in _BUFFER_KINDS:
        raise TypeError(f"{name}: elements of the buffer format {buffer.format!r} are not "
                        "supported")
    if not buffer.c_contiguous:
        raise ValueError(f"{name}: is not contiguous (row-major)")
    dtype = _type_name(_BUFFER_KINDS[code], buffer.itemsize)
    return View(name, buffer, _buffer_address(buffer), dtype, buffer.shape or (),
                readonly=buffer.readonly)


class _PyBuffer(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", ctypes.c_ssize_t),
                ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int),
                ("ndim", ctypes.c_int), ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p),
                ("strides", ctypes.c_void_p), ("suboffsets", ctypes.c_void_p),
                ("internal", ctypes.c_void_p)]


_get_buffer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(_PyBuffer),
                                ctypes.c_int)(("PyObject_GetBuffer", ctypes.pythonapi))
_release_buffer = ctypes.PYFUNCTYPE(None, ctypes.POINTER(_PyBuffer))(
    ("PyBuffer_Release", ctypes.pythonapi))


def _buffer_address(buffer: memoryview) -> int:
    # ctypes' from_buffer would do, but not for read-only memory. The memoryview itself keeps the
    # memory where it is after the release.
    description = _PyBuffer()
    _get_buffer(buffer, ctypes.byref(description), 0)
    address = description.buf or 0
    _release_buffer(ctypes.byref(description))
    return address


def _from_dlpack(name: str, array: Any, writable: bool) -> View:
    tensor = _dlpack.read(name, array)
    if writable and tensor.readonly is None:
        raise ValueError(f"{name}: its DLPack export (older than 1.0) does not say whether it may "
                         "be written to")
    dtype = _type_name(tensor.kind, tensor.bits // 8)
    if tensor.strides is not None and not is_contiguous(tensor.shape, tensor.strides, 1):
        raise ValueError(f"{name}: is not contiguous (row-major)")
    return View(name, tensor.capsule, tensor.pointer, dtype, tensor.shape,
                readonly=bool(tensor.readonly), device=tensor.device, index=tensor.index)


def is_contiguous(shape: Sequence[int], strides: Sequence[int], unit: int) -> bool:
    """Row-major without gaps; ``unit`` is the stride of neighbours."""
    if 0 in shape:
        return True
    for n, stride in zip(reversed(tuple(shape)), reversed(tuple(strides))):
        if n != 1 and stride != unit:
            return False
        unit *= n
    return True
