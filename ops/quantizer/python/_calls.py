# SPDX-License-Identifier: Apache-2.0
"""The C functions of the op, on the CPU or a GPU by where the arrays lie, and checked arguments."""
from __future__ import annotations

import ctypes
import threading
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ds_ops import _arrays, _cuda
from ds_ops._library import check

DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
_void, _i32, _i64, _u64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_uint64


class Options(ctypes.Structure):
    """``ds_ops_quantizer_options``."""

    _fields_ = [("groups", _i64), ("group_size", _i64), ("seed", _u64), ("offset", _u64),
                ("bits", _i32), ("type", _i32), ("rounding", _i32), ("reserved", _i32)]


class Swizzle(ctypes.Structure):
    """``ds_ops_quantizer_swizzle``."""

    _fields_ = [("pipeline", _i64), ("nodes", _i64), ("devices", _i64)]


class Feedback(ctypes.Structure):
    """``ds_ops_quantizer_feedback``."""

    _fields_ = [("error", _void), ("beta", ctypes.c_double)]


class Shards(ctypes.Structure):
    """``ds_ops_quantizer_shards``."""

    _fields_ = [("codes", _void), ("params", _void), ("count", _i64), ("groups", _i64),
                ("group_size", _i64)]


def _declare() -> ctypes.CDLL:
    library = _cuda.load_cuda(__file__)
    options = ctypes.POINTER(Options)
    library.ds_ops_quantizer_workspace.argtypes = [_i64, _i64]
    library.ds_ops_quantizer_workspace.restype = _i64
    arguments = {
        "fake": [_void, _i32, options, ctypes.c_double],
        "quantize": [_void, _i32, options, Swizzle, Feedback, _void, _void],
        "dequantize": [_void, _void, options, _void, _i32],
        "dequantize_unsigned": [_void, _void, _void, options, _void, _i32],
        "reduce": [Shards, options, Feedback, _i32, _void, _void],
    }
    for name, types in arguments.items():
        memory = [] if name.startswith("dequantize") else [_void]
        on_gpu = getattr(library, f"ds_ops_quantizer_{name}")
        on_gpu.argtypes = [_i32, *types, *memory, _void]
        getattr(library, f"ds_ops_quantizer_{name}_cpu").argtypes = [*types, _i32]
    return library


library = _declare()


class _Streams:
    """Which random numbers a call takes that was told none: those of no call before it."""

    def __init__(self) -> None:
        self._lock, self._seed, self._next = threading.Lock(), 0, 0

    def start(self, seed: int) -> None:
        with self._lock:
            self._seed, self._next = seed, 0

    def take(self) -> Tuple[int, int]:
        with self._lock:
            self._next += 1
            return self._seed, self._next - 1


streams = _Streams()


class Rounding(NamedTuple):
    """How codes are rounded, as the caller said it."""

    name: str = "nearest"
    seed: Optional[int] = None
    offset: Optional[int] = None


def whole(name: str, value: Any, least: int, below: int = 2**63) -> int:
    """``value`` if it is a whole number from ``least`` on; ValueError else."""
    if isinstance(value, bool) or int(value) != value or not least <= value < below:
        raise ValueError(f"{name}: must be a whole number from {least} on, is {value!r}")
    return int(value)


def split(array: _arrays.View, size: int, groups: int, name: str = "groups") -> int:
    """Elements of a group."""
    whole(name, groups, 1)
    if size % groups:
        raise ValueError(f"{name}: must divide the {size} elements of {array.name}, is {groups}")
    return size // groups


def options(groups: int, group_size: int, bits: int, quant_type: int,
            rounding: Rounding = Rounding()) -> Options:
    """Checked options; ValueError names the one that is wrong."""
    if bits not in (4, 8):
        raise ValueError(f"num_bits: must be 4 or 8, is {bits!r}")
    if quant_type not in (0, 1):
        raise ValueError("quant_type: must be QuantizationType.Symmetric or .Asymmetric, is "
                         f"{quant_type!r}")
    if rounding.name not in ("nearest", "stochastic"):
        raise ValueError(f'rounding: must be "nearest" or "stochastic", is {rounding.name!r}')
    seed = offset = 0
    if rounding.name == "stochastic":
        if rounding.seed is None and rounding.offset is None:
            seed, offset = streams.take()
        else:
            seed = whole("seed", rounding.seed or 0, 0, 2**64)
            offset = whole("offset", rounding.offset or 0, 0, 2**64)
    return Options(groups, group_size, seed, offset, bits, int(quant_type),
                   int(rounding.name == "stochastic"), 0)


def value_view(name: str, array: Any, dtype: Optional[str] = None,
               writable: bool = False) -> _arrays.View:
    """An array of float32, float16 or bfloat16, anywhere."""
    found = _arrays.view(name, array, dtype=dtype, writable=writable, device=None)
    if found.dtype not in DTYPES:
        raise TypeError(f"{name}: must have elements of type {', '.join(DTYPES)}, has "
                        f"{found.dtype}")
    return found


def code_view(name: str, array: Any, writable: bool = False) -> _arrays.View:
    """An array of int8 or uint8, anywhere."""
    found = _arrays.view(name, array, writable=writable, device=None)
    if found.dtype not in ("int8", "uint8"):
        raise TypeError(f"{name}: must have elements of type int8 or uint8, has {found.dtype}")
    return found


def float_view(name: str, array: Any, size: int, writable: bool = False) -> _arrays.View:
    """An array of ``size`` float32."""
    found = _arrays.view(name, array, dtype="float32", writable=writable, device=None)
    expect_size(found, size)
    return found


def expect_size(found: _arrays.View, size: int) -> None:
    """ValueError unless it has so many elements."""
    if found.size != size:
        raise ValueError(f"{found.name}: must have {size} elements, has {found.size}")


def row_bytes(group_size: int, bits: int) -> int:
    """Bytes of the codes of a group."""
    return group_size if bits == 8 else (group_size + 1) // 2


def code_shape(shape: Sequence[int], group_size: int, groups: int, bits: int) -> Tuple[int, ...]:
    """The shape of the codes of an array: its own with the last length halved for 4 bits; where
    that cannot be, (groups, bytes of a group)."""
    if bits == 8:
        return tuple(shape)
    if group_size % 2 == 0 and shape and shape[-1] % 2 == 0:
        return (*shape[:-1], shape[-1] // 2)
    return (groups, row_bytes(group_size, bits))


def new_codes(like: Any, shape: Tuple[int, ...], settings: Options,
              out: Optional[Sequence[Any]]) -> Tuple[Any, Any, List[_arrays.View]]:
    """Codes and params to write to, and views of both."""
    columns = 1 if settings.type == 0 else 2
    if out is None:
        out = (_arrays.new_like(like, shape, "int8"),
               _arrays.new_like(like, (settings.groups, columns), "float32"))
    codes, params = out
    views = [code_view("out[0]", codes, writable=True),
             float_view("out[1]", params, settings.groups * columns, writable=True)]
    expect_size(views[0], settings.groups * row_bytes(settings.group_size, settings.bits))
    return codes, params, views


def run(name: str, arguments: Sequence[Any], inputs: Sequence[_arrays.View],
        outputs: Sequence[_arrays.View], settings: Options, stream: Optional[int] = None) -> None:
    """Calls the function for the place where the arrays lie; they must lie in one."""
    _arrays.check_overlap(inputs, outputs)
    views = [*inputs, *outputs]
    for view in views[1:]:
        if view.device != views[0].device:
            raise ValueError(f"{view.name}: is on the {view.device}, {views[0].name} is on the "
                             f"{views[0].device}")
    function = f"ds_ops_quantizer_{name}"
    if views[0].device == "cpu":
        check(library, function, getattr(library, f"{function}_cpu")(*arguments, 0))
        return
    memory = []
    if not name.startswith("dequantize"):
        # Memory that is freed here is safe on the stream on which its library works, and no other.
        memory = [_workspace(views[0], settings) if stream is None else None]
    device = _cuda.device_of(views)
    queue = _cuda.stream_of(library, views, device) if stream is None else stream
    pointers = [None if m is None else m.pointer for m in memory]
    check(library, function, getattr(library, function)(device, *arguments, *pointers, queue))


def _workspace(like: _arrays.View, settings: Options) -> Optional[_arrays.View]:
    size = library.ds_ops_quantizer_workspace(settings.groups, settings.group_size) // 4
    if size == 0:
        return None
    try:
        return _arrays.view("workspace", _arrays.new_like(like.owner, size, "int32"), device=None)
    except TypeError:
        return None  # it works without, one block for a group
