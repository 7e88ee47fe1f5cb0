# SPDX-License-Identifier: Apache-2.0
"""What the CUDA ops share: the GPU and the stream of a call, and memory for self-tests."""
from __future__ import annotations

import ctypes
from typing import Any, Iterable, List, Optional, Sequence, Tuple

from ds_ops import _arrays
from ds_ops._library import CannotRun, check, load

_NO_DRIVER, _NO_DEVICE = 1035, 1100  # DS_OPS_CUDA + cudaErrorInsufficientDriver, ...NoDevice
_void, _i32, _u64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint64


def load_cuda(op_file: str) -> ctypes.CDLL:
    """``_library.load`` for an op with the functions of ds_ops/cuda_helpers.h."""
    library = load(op_file)
    library.ds_ops_cuda_device_count.argtypes = [ctypes.POINTER(_i32)]
    library.ds_ops_cuda_malloc.argtypes = [_i32, _u64, ctypes.POINTER(_void)]
    library.ds_ops_cuda_free.argtypes = [_i32, _void]
    library.ds_ops_cuda_copy.argtypes = [_i32, _void, _void, _u64]
    library.ds_ops_cuda_synchronize.argtypes = [_i32, _void]
    library.ds_ops_cuda_pointer_device.argtypes = [_void, ctypes.POINTER(_i32)]
    return library


def pointers(views: Iterable[_arrays.View]) -> Any:
    """The addresses of ``views`` as a C array of void*."""
    addresses = [v.pointer for v in views]
    return (_void * len(addresses))(*addresses)


def scalar(name: str, array: Any, *dtypes: str) -> _arrays.View:
    """A view of one element of one of these types on a GPU."""
    found = _arrays.view(name, array, device="cuda")
    if found.dtype not in dtypes:
        raise TypeError(f"{name}: has elements of type {found.dtype}, not {' or '.join(dtypes)}")
    if found.size != 1:
        raise ValueError(f"{name}: must have one element, has {found.size}")
    return found


def device_of(views: Sequence[_arrays.View]) -> int:
    """The GPU that the arrays name, or -1: the library asks the driver. ValueError: two GPUs."""
    known = [v for v in views if v.index is not None]
    for v in known:
        if v.index != known[0].index:
            raise ValueError(f"{v.name}: is on GPU {v.index}, {known[0].name} is on GPU "
                             f"{known[0].index}")
    return known[0].index if known and len(known) == len(views) else -1


def torch_of(views: Sequence[_arrays.View]) -> Optional[Tuple[Any, Any]]:
    """PyTorch and the device of the first tensor among ``views``; None: there is no tensor."""
    return next(((_arrays.library_of(v.owner), v.owner.device) for v in views
                 if _arrays.is_tensor(v.owner)), None)


def streams_of(views: Sequence[_arrays.View]) -> List[int]:
    """The streams that the arrays name."""
    return [v.stream for v in views if v.stream is not None]


def choose_stream(library: ctypes.CDLL, torch: Optional[Tuple[Any, Any]], named: Sequence[int],
                  device: int) -> Optional[int]:
    """The stream to work on: PyTorch's current one where ``torch`` is given, else the first that is
    named, else the default. Waits for those that are named and are another one."""
    if torch is not None:
        module, place = torch
        chosen = module.cuda.current_stream(place).cuda_stream
    else:
        chosen = named[0] if named else None
    for other in set(named) - {chosen}:
        check(library, "ds_ops_cuda_synchronize",
              library.ds_ops_cuda_synchronize(max(device, 0), other))
    return chosen


def stream_of(library: ctypes.CDLL, views: Sequence[_arrays.View], device: int) -> Optional[int]:
    """``choose_stream`` for these arrays."""
    return choose_stream(library, torch_of(views), streams_of(views), device)


def need_gpu(library: ctypes.CDLL) -> None:
    """CannotRun unless there is a GPU that this library's CUDA can use."""
    count = _i32()
    code = library.ds_ops_cuda_device_count(ctypes.byref(count))
    if code == _NO_DRIVER:
        raise CannotRun("there is no NVIDIA driver, or it is too old for this library's CUDA")
    if code == _NO_DEVICE or (code == 0 and count.value == 0):
        raise CannotRun("there is no CUDA GPU")
    check(library, "ds_ops_cuda_device_count", code)


_TYPES = {"float32": (ctypes.c_float, "<f4"), "int32": (ctypes.c_int32, "<i4"),
          "int64": (ctypes.c_int64, "<i8"),
          "uint16": (ctypes.c_uint16, "<u2"), "int8": (ctypes.c_int8, "|i1"),
          "uint8": (ctypes.c_uint8, "|u1")}


class Memory:
    """An array on a GPU, filled from ``values``, for self-tests and tests; freed by ``free``."""

    def __init__(self, library: ctypes.CDLL, values: Sequence[Any], dtype: str = "float32",
                 device: int = 0) -> None:
        self.library, self.device, self.count = library, device, len(values)
        self.type, self.typestr = _TYPES[dtype]
        self.bytes = self.count * ctypes.sizeof(self.type)
        self.pointer = _void()
        self._run("ds_ops_cuda_malloc", self.bytes, ctypes.byref(self.pointer))
        self._run("ds_ops_cuda_copy", self.pointer, (self.type * self.count)(*values), self.bytes)

    def _run(self, function: str, *arguments: Any) -> None:
        check(self.library, function, getattr(self.library, function)(self.device, *arguments))

    @property
    def __cuda_array_interface__(self) -> dict:
        return {"shape": (self.count,), "typestr": self.typestr,
                "data": (self.pointer.value, False), "version": 3, "strides": None, "stream": None}

    def read(self) -> List[Any]:
        """The values, once all work is done."""
        host = (self.type * self.count)()
        self._run("ds_ops_cuda_synchronize", None)
        self._run("ds_ops_cuda_copy", host, self.pointer, self.bytes)
        return list(host)

    def free(self) -> None:
        """Gives the memory back."""
        self._run("ds_ops_cuda_free", self.pointer)


class Shaped:
    """The array ``memory`` with another shape, for self-tests and tests."""

    def __init__(self, memory: Memory, shape: Sequence[int]) -> None:
        self.__cuda_array_interface__ = {**memory.__cuda_array_interface__, "shape": tuple(shape)}
