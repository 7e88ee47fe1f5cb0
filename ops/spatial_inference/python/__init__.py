# SPDX-License-Identifier: Apache-2.0
"""Bias additions for images whose channels lie next to each other (NHWC), on GPU and CPU.

With c the channel of an element:

    nhwc_bias_add           x + b[c]
    nhwc_bias_add_add       (x + b[c]) + o
    nhwc_bias_add_bias_add  (x + b[c]) + (o + ob[c])

The names and arguments are those of DeepSpeed's ``spatial_inference`` op. Elements are float32,
float16 or bfloat16, all of one type; any number of channels. Additions are float32, in the order of
the parentheses, and the result is rounded once, to nearest even: for float32 these are the bits of
the same expression in PyTorch or NumPy. DeepSpeed's op knows float16 only, rounds every addition to
it, and adds ``x + (b[c] + o)`` in the second; its ``nhwc_bias_add`` has the same bits as this one.
GPU and CPU give the same bits, but for the payload of a NaN.

Where the channels are:

* A PyTorch tensor with 4 axes is (N, C, H, W), as PyTorch has it, and must be in the memory format
  ``torch.channels_last``.
* Any other array has them in its last axis, [..., C], and is row-major. One with 4 axes that is not
  row-major may be (N, C, H, W) with channels last in memory, as the tensor is.

Arrays of PyTorch, NumPy, CuPy, the standard library, and whatever has DLPack or
``__cuda_array_interface__`` work, none is copied. Results have no gradient.
"""
from __future__ import annotations

import ctypes
from typing import Any, List, Optional, Tuple

from ds_ops import _arrays, _cuda
from ds_ops._library import check

__all__ = ["nhwc_bias_add", "nhwc_bias_add_add", "nhwc_bias_add_bias_add", "self_test"]

_DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
_CHANNELS_LAST = (0, 2, 3, 1)

_lib = _cuda.load_cuda(__file__)
_void, _i32, _i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_lib.ds_ops_spatial_inference_bias_add.argtypes = [_i32] + [_void] * 5 + [_i64, _i64, _i32, _void]
_lib.ds_ops_spatial_inference_bias_add_cpu.argtypes = [_void] * 5 + [_i64, _i64, _i32]


def nhwc_bias_add(activation: Any, bias: Any, *, out: Any = None, stream: Optional[int] = None,
                  dtype: Optional[str] = None) -> Any:
    """``activation + bias``; returns ``out``, or a new array of the library of ``activation``.

    ``bias``: C elements. ``out``: the shape and format of ``activation``; it may be ``activation``
    itself, else it shares no memory with the other arrays. ``stream``: the CUDA stream as a number;
    without it PyTorch's current stream for tensors, the stream that the arrays name, or the default
    stream. ``dtype``: what uint16 arrays hold ("float16", "bfloat16").

    TypeError and ValueError name the argument that is wrong; nothing has been written then. OpError
    is CUDA's. On a GPU it returns when the work is queued.
    """
    return _add(activation, bias, None, None, out, stream, dtype)


def nhwc_bias_add_add(activation: Any, bias: Any, other: Any, *, out: Any = None,
                      stream: Optional[int] = None, dtype: Optional[str] = None) -> Any:
    """``(activation + bias) + other``, as ``nhwc_bias_add``.

    ``other``: the shape and format of ``activation``; ``out`` may be ``other`` itself.
    """
    return _add(activation, bias, _given("other", other), None, out, stream, dtype)


def nhwc_bias_add_bias_add(activation: Any, bias: Any, other: Any, other_bias: Any, *,
                           out: Any = None, stream: Optional[int] = None,
                           dtype: Optional[str] = None) -> Any:
    """``(activation + bias) + (other + other_bias)``, as ``nhwc_bias_add_add``.

    ``other_bias``: C elements.
    """
    return _add(activation, bias, _given("other", other), _given("other_bias", other_bias), out,
                stream, dtype)


def _given(name: str, array: Any) -> Any:
    if array is None:
        raise TypeError(f"{name}: must be an array, is None")
    return array


def _add(activation: Any, bias: Any, other: Any, other_bias: Any, out: Any, stream: Optional[int],
         dtype: Optional[str]) -> Any:
    axes = _axes(activation, dtype)
    x = _map("activation", activation, axes, dtype)
    if x.dtype not in _DTYPES:
        raise TypeError(f"activation: must have elements of type {', '.join(_DTYPES)}, has "
                        f"{x.dtype}")
    if not x.shape:
        raise ValueError("activation: has no axis, so no channels")
    biases = [_bias(name, array, x, dtype)
              for name, array in (("bias", bias), ("other_bias", other_bias)) if array is not None]
    others = [] if other is None else [_same("other", other, x, axes, dtype)]
    result = _arrays.new_like(activation) if out is None else out
    to = _same("out", result, x, axes, dtype, writable=True)
    _arrays.check_overlap(biases + [v for v in [x] + others if v.pointer != to.pointer], [to])
    _call(to, x, biases, others, stream)
    return result


def _axes(activation: Any, dtype: Optional[str]) -> Optional[Tuple[int, ...]]:
    """The order of the axes of arrays with 4 that makes them [..., C]; None: as it is."""
    if len(getattr(activation, "shape", ())) != 4:
        return None
    if _arrays.is_tensor(activation):
        return _CHANNELS_LAST
    try:
        _arrays.view("activation", activation, dtype=dtype, device=None)
    except ValueError:
        return _CHANNELS_LAST if callable(getattr(activation, "transpose", None)) else None
    return None


def _map(name: str, array: Any, axes: Optional[Tuple[int, ...]], dtype: Optional[str],
         device: Optional[str] = None, writable: bool = False) -> _arrays.View:
    """An array as [..., C]."""
    if axes is not None and len(getattr(array, "shape", ())) == 4:
        is_tensor = _arrays.is_tensor(array)
        array = array.permute(*axes) if is_tensor else array.transpose(axes)
        if is_tensor and not array.is_contiguous():
            raise ValueError(f"{name}: is a tensor (N, C, H, W) and not in the memory format "
                             "channels_last; use .to(memory_format=torch.channels_last), or "
                             ".permute(0, 3, 1, 2) if its channels are the last axis")
    return _arrays.view(name, array, dtype=dtype, device=device, writable=writable)


def _same(name: str, array: Any, x: _arrays.View, axes: Optional[Tuple[int, ...]],
          dtype: Optional[str], writable: bool = False) -> _arrays.View:
    found = _map(name, array, axes, dtype, x.device, writable)
    _check_type(found, x)
    if found.shape != x.shape:
        raise ValueError(f"{name}: has shape {found.shape}, {x.name} has {x.shape} (channels last)")
    return found


def _bias(name: str, array: Any, x: _arrays.View, dtype: Optional[str]) -> _arrays.View:
    found = _arrays.view(name, array, dtype=dtype, device=x.device)
    _check_type(found, x)
    if found.size != x.shape[-1]:
        raise ValueError(f"{name}: has {found.size} elements, {x.name} has {x.shape[-1]} channels")
    return found


def _check_type(found: _arrays.View, x: _arrays.View) -> None:
    if found.dtype != x.dtype:
        raise TypeError(f"{found.name}: has elements of type {found.dtype}, {x.name} has {x.dtype}")


def _call(out: _arrays.View, x: _arrays.View, biases: List[_arrays.View],
          others: List[_arrays.View], stream: Optional[int]) -> None:
    views = [out, x, biases[0], *others, *biases[1:]]
    pointers = [v.pointer for v in views] + [None] * (5 - len(views))
    sizes = (x.size // max(x.shape[-1], 1), x.shape[-1], _DTYPES[x.dtype])
    if x.device == "cpu":
        function = "ds_ops_spatial_inference_bias_add_cpu"
        check(_lib, function, _lib.ds_ops_spatial_inference_bias_add_cpu(*pointers, *sizes))
        return
    device = _cuda.device_of(views)
    code = _lib.ds_ops_spatial_inference_bias_add(
        device, *pointers, *sizes,
        _cuda.stream_of(_lib, views, device) if stream is None else stream)
    check(_lib, "ds_ops_spatial_inference_bias_add", code)


def self_test() -> None:
    """Compares all three on the CPU, then on the first GPU, with sums that are known.

    CannotRun without a GPU.
    """
    import array
    rows, channels = 5, 7
    # Multiples of a quarter: every sum is exact.
    x = array.array("f", [i / 4 for i in range(rows * channels)])
    o = array.array("f", [100 - i / 2 for i in range(rows * channels)])
    b = array.array("f", [3 - c for c in range(channels)])
    ob = array.array("f", [c / 4 for c in range(channels)])
    cases = [(nhwc_bias_add, (x, b), lambda i, c: x[i] + b[c]),
             (nhwc_bias_add_add, (x, b, o), lambda i, c: x[i] + b[c] + o[i]),
             (nhwc_bias_add_bias_add, (x, b, o, ob), lambda i, c: x[i] + b[c] + o[i] + ob[c])]
    right = [[formula(i, i % channels) for i in range(rows * channels)] for _, _, formula in cases]

    def shaped(one: Any) -> Any:
        return memoryview(one).cast("B").cast("f", (len(one) // channels, channels))
    for (function, arrays, _), expected in zip(cases, right):
        found = [v for row in function(*map(shaped, arrays)).tolist() for v in row]
        assert found == expected, f"{function.__name__} gave {found}, should give {expected}"
    _cuda.need_gpu(_lib)
    for (function, arrays, _), expected in zip(cases, right):
        memory = [_cuda.Memory(_lib, values) for values in (*arrays, [0.0] * len(x))]
        try:
            on_gpu = [_cuda.Shaped(m, (m.count // channels, channels)) for m in memory]
            function(*on_gpu[:-1], out=on_gpu[-1])
            found = memory[-1].read()
        finally:
            for m in memory:
                m.free()
        assert found == expected, f"{function.__name__} gave {found}, should give {expected}"
