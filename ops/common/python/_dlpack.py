# SPDX-License-Identifier: Apache-2.0
"""Reads DLPack capsules (both layouts: before and since version 1.0) with ctypes."""
from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, Optional, Tuple

_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
# CPU, CUDA, pinned host memory of CUDA, managed memory of CUDA.
_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}
_READ_ONLY = 1


class _Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class _Versioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32),
                ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
                ("flags", ctypes.c_uint64), ("tensor", _Tensor)]


class Exported(NamedTuple):
    """What a capsule says. ``strides`` count elements; ``readonly`` is None if it is not told."""

    capsule: Any
    pointer: int
    kind: str
    bits: int
    shape: Tuple[int, ...]
    strides: Optional[Tuple[int, ...]]
    device: str
    index: Optional[int]
    readonly: Optional[bool]


_capsule_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi))
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi))


def read(name: str, array: Any) -> Exported:
    """Asks ``array`` (``name`` in messages) for its capsule and reads it.

    The capsule is not consumed, so it frees the export itself when the result is dropped.
    """
    try:
        capsule = array.__dlpack__(max_version=(1, 0))
    except TypeError:
        capsule = array.__dlpack__()
    readonly = None
    if _capsule_is_valid(capsule, b"dltensor_versioned"):
        versioned = _Versioned.from_address(_capsule_pointer(capsule, b"dltensor_versioned"))
        if versioned.major != 1:
            raise TypeError(f"{name}: exports DLPack version {versioned.major}, 1 is known here")
        readonly = bool(versioned.flags & _READ_ONLY)
        tensor = versioned.tensor
    elif _capsule_is_valid(capsule, b"dltensor"):
        tensor = _Tensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    else:
        raise TypeError(f"{name}: its __dlpack__ gives no DLPack capsule")
    if tensor.code not in _KINDS or tensor.lanes != 1 or tensor.bits % 8:
        raise TypeError(f"{name}: DLPack elements of code {tensor.code}, {tensor.bits} bits and "
                        f"{tensor.lanes} lanes are not supported")
    device = _DEVICES.get(tensor.device_type)
    if device is None:
        raise ValueError(f"{name}: is on DLPack device {tensor.device_type}, must be in memory of "
                         "the CPU or of CUDA")
    axes = range(tensor.ndim)
    return Exported(
        capsule, (tensor.data or 0) + tensor.byte_offset, _KINDS[tensor.code], tensor.bits,
        tuple(tensor.shape[i] for i in axes),
        tuple(tensor.strides[i] for i in axes) if tensor.strides else None, device,
        tensor.device_id if device == "cuda" else None, readonly)
