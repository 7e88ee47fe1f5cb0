# SPDX-License-Identifier: Apache-2.0
"""Quantization to 4 and 8 bits and back, fake quantization, and what ZeRO++ sends, on CPU and GPU.

An array is cut into ``groups`` groups of neighbours, of any size. An element x of a group becomes
a code q with x ~ q * step + offset. With b bits, and max and min of the group:

    symmetric    step = 2 * max(|max|, |min|) / 2^b     offset = 0
    asymmetric   step = (max - min) / 2^b               offset = (max + min) / 2
    q = clamp(round((x - offset) / step), -2^(b-1), 2^(b-1) - 1)

(Jacob et al. 2018, arXiv:1712.05877, section 2.1, with the range of codes and the layout of
DeepSpeed's kernels.) Rounding is to nearest, ties to even, or stochastic: the fraction is the
probability of the neighbour away from zero, so that the mean is x (Gupta et al. 2015,
arXiv:1502.02551, section 3). Its random numbers are those of Philox4x32-10 (Salmon et al. 2011,
doi:10.1145/2063384.2063405): a function of ``seed``, ``offset`` and the element's index.

Codes are int8; with 4 bits two a byte, the element of even index in the high half. Params are
float32 of shape (groups, 1), the step, or (groups, 2), step and offset. ZeRO++ is Wang et al. 2023
(arXiv:2306.10209), the error feedback Xie et al. 2024 (LoCo, arXiv:2407.04480).

Values are float32, float16, bfloat16, in arrays of NumPy, PyTorch, the standard library, or what
has DLPack or ``__cuda_array_interface__``; ``dtype`` says what uint16 arrays hold. All arrays of a
call lie on the CPU or on one GPU; there the work is queued on ``stream`` (PyTorch's current one by
default). New arrays are made with the library of the first one; ``out`` gives some to write to.
Both places give the same bits, whatever the threads and blocks, NaN payloads apart; arithmetic is
float32. A group with a NaN or an infinity in it dequantizes to NaN.

The names and arguments are DeepSpeed's. What differs from its kernels:

  * groups of any size work; there, large ones are silently left as they were, others must be a
    multiple of 8. With 4 bits, a group of odd size ends with half a byte of 0.
  * float32 and bfloat16 work everywhere; there, true quantization takes float16 alone.
  * symmetric fake quantization of float32 is not rounded to whole numbers, asymmetric codes are
    clamped to 2^b of them, and stochastic asymmetric fake quantization is asymmetric.
  * the step is worked out directly, and is not the rounded reciprocal of a rounded scale: params
    may differ in the last bit. It does not overflow or vanish for any range.
  * a NaN is not lost; ties go to even everywhere.
  * the sum of shards is float32, not float16; random numbers are others.

TypeError and ValueError name the argument that is wrong; OpError is CUDA's.
"""
from __future__ import annotations

import enum
from typing import Any, List, Optional, Sequence, Tuple

from ds_ops import _arrays
from ds_ops.quantizer import _calls
from ds_ops.quantizer._fake import (
    ds_quantize_asym_bf16, ds_quantize_asym_fp16, ds_quantize_asym_fp32, ds_quantize_bf16,
    ds_quantize_fp16, ds_quantize_fp32, ds_quantizer, ds_sr_quantize_asym_bf16,
    ds_sr_quantize_asym_fp16, ds_sr_quantize_asym_fp32, ds_sr_quantize_bf16, ds_sr_quantize_fp16,
    ds_sr_quantize_fp32, fake_quantize)

__all__ = [
    "Asymmetric", "QuantizationType", "Symmetric", "dequantize", "dequantize_fp32",
    "dequantize_int4_to_half_experimental", "dequantize_int8_to_half_experimental",
    "ds_quantize_asym_bf16", "ds_quantize_asym_fp16", "ds_quantize_asym_fp32", "ds_quantize_bf16",
    "ds_quantize_fp16", "ds_quantize_fp32", "ds_quantizer", "ds_sr_quantize_asym_bf16",
    "ds_sr_quantize_asym_fp16", "ds_sr_quantize_asym_fp32", "ds_sr_quantize_bf16",
    "ds_sr_quantize_fp16", "ds_sr_quantize_fp32", "fake_quantize", "loco_quantized_reduction",
    "loco_swizzle_quant", "manual_seed", "quantize", "quantized_reduction", "self_test",
    "swizzle_quant"]


class QuantizationType(enum.IntEnum):
    """Without or with an offset for each group."""

    Symmetric = 0
    Asymmetric = 1


Symmetric, Asymmetric = QuantizationType


def manual_seed(seed: int) -> None:
    """Starts the random numbers of stochastic rounding anew, for calls without seed and offset.

    The n-th of them in this process takes (seed, n - 1); before any manual_seed the seed is 0.
    """
    _calls.streams.start(_calls.whole("seed", seed, 0, 2**64))


def quantize(values: Any, groups: int, num_bits: int,
             quant_type: int = QuantizationType.Symmetric, *, rounding: str = "nearest",
             seed: Optional[int] = None, offset: Optional[int] = None,
             out: Optional[Tuple[Any, Any]] = None, dtype: Optional[str] = None,
             stream: Optional[int] = None) -> List[Any]:
    """[codes, params] of ``values``.

    ``groups`` divides the number of elements; ``num_bits`` is 4 or 8. The codes have the shape of
    ``values``, with 4 bits the last length halved, or (groups, bytes of a group) where it or the
    group's size is odd. ``rounding``: "nearest" or "stochastic", with ``seed`` and ``offset`` or
    the numbers of ``manual_seed``. ``out``: (codes, params) of the right sizes, any shape.
    """
    view = _calls.value_view("values", values, dtype)
    size = _calls.split(view, view.size, groups)
    settings = _calls.options(groups, size, num_bits, quant_type,
                              _calls.Rounding(rounding, seed, offset))
    shape = _calls.code_shape(view.shape, size, groups, num_bits)
    return _quantize(view, values, settings, shape, (1, 1, 1), None, 0.0, out, stream)


def swizzle_quant(values: Any, groups: int, num_bits: int, quant_type: int, pipeline_size: int,
                  nodes: int, devices_per_node: int, *, rounding: str = "nearest",
                  seed: Optional[int] = None, offset: Optional[int] = None,
                  out: Optional[Tuple[Any, Any]] = None, dtype: Optional[str] = None,
                  stream: Optional[int] = None) -> List[Any]:
    """``quantize``, with the groups in the order in which ZeRO++ sends them; the codes are flat.

    The array is nodes * devices_per_node partitions, each of ``pipeline_size`` slices; their
    product divides ``groups``. Slice y of partition p becomes slice
    y * nodes * devices_per_node + (p % devices_per_node) * nodes + p // devices_per_node.
    """
    return loco_swizzle_quant(values, None, 0.0, groups, num_bits, quant_type, pipeline_size,
                              nodes, devices_per_node, rounding=rounding, seed=seed, offset=offset,
                              out=out, dtype=dtype, stream=stream)


def loco_swizzle_quant(values: Any, error_feedback: Any, err_beta: float, groups: int,
                       num_bits: int, quant_type: int, pipeline_size: int, nodes: int,
                       devices_per_node: int, *, rounding: str = "nearest",
                       seed: Optional[int] = None, offset: Optional[int] = None,
                       out: Optional[Tuple[Any, Any]] = None, dtype: Optional[str] = None,
                       stream: Optional[int] = None) -> List[Any]:
    """``swizzle_quant`` of values + error, where error is what was lost before.

    ``error_feedback`` has the elements and the type of ``values``, in the order of the result. It
    becomes err_beta * error + (1 - err_beta) * (value + error - what the code stands for); an
    element for which that is no finite number stays. ``err_beta`` is from 0 to 1.
    """
    view = _calls.value_view("values", values, dtype)
    size = _calls.split(view, view.size, groups)
    settings = _calls.options(groups, size, num_bits, quant_type,
                              _calls.Rounding(rounding, seed, offset))
    swizzle, left = (pipeline_size, nodes, devices_per_node), groups
    for name, factor in zip(("pipeline_size", "nodes", "devices_per_node"), swizzle):
        if left % _calls.whole(name, factor, 1):
            raise ValueError(f"{name}: pipeline_size * nodes * devices_per_node must divide the "
                             f"{groups} groups, is {factor}")
        left //= factor
    shape = (groups * _calls.row_bytes(size, num_bits),)
    return _quantize(view, values, settings, shape, swizzle, error_feedback, err_beta, out, stream)


def _quantize(view: _arrays.View, values: Any, settings: _calls.Options, shape: Tuple[int, ...],
              swizzle: Tuple[int, int, int], error: Any, beta: float,
              out: Optional[Sequence[Any]], stream: Optional[int]) -> List[Any]:
    codes, params, outputs = _calls.new_codes(values, shape, settings, out)
    feedback, errors = _feedback(error, beta, view.size, view.dtype, view.dtype)
    pointers = [v.pointer for v in outputs]
    _calls.run("quantize", [view.pointer, _calls.DTYPES[view.dtype], settings,
                            _calls.Swizzle(*swizzle), feedback, *pointers],
               [view], outputs + errors, settings, stream)
    return [codes, params]


def _feedback(error: Any, beta: float, size: int, held: Optional[str],
              dtype: Optional[str]) -> Tuple[_calls.Feedback, List[_arrays.View]]:
    """``held``: what uint16 arrays hold; ``dtype``: what it must be, if that is given."""
    if error is None:
        return _calls.Feedback(None, 0.0), []
    if not 0 <= beta <= 1:
        raise ValueError(f"err_beta: must be from 0 to 1, is {beta!r}")
    name = "error_feedback"
    found = _calls.value_view(name, error, held if _is_uint16(name, error) else None,
                              writable=True)
    if dtype is not None and found.dtype != dtype:
        raise TypeError(f"error_feedback: has elements of type {found.dtype}, values has {dtype}")
    _calls.expect_size(found, size)
    return _calls.Feedback(found.pointer, beta), [found]


def _is_uint16(name: str, array: Any) -> bool:
    return _arrays.view(name, array, device=None).dtype == "uint16"


def dequantize(codes: Any, params: Any, groups: int, num_bits: int,
               quant_type: int = QuantizationType.Symmetric, *, dtype: str = "float16",
               group_size: Optional[int] = None, out: Any = None,
               stream: Optional[int] = None) -> Any:
    """The values that ``codes`` stand for, of type ``dtype``, or of ``out``'s type (``dtype`` then
    says what uint16 holds).

    ``group_size`` is needed where it is odd and there are 4 bits; the result then has the shape
    (groups, group_size). Else it has the shape of ``codes``, with 4 bits its last length doubled.
    """
    view = _calls.code_view("codes", codes)
    size, shape = _values_of(view, groups, num_bits, group_size)
    settings = _calls.options(groups, size, num_bits, quant_type)
    scales = _calls.float_view("params", params, groups * (1 if quant_type == 0 else 2))
    if out is None:
        out = _arrays.new_like(codes, shape, dtype)
    target = _calls.value_view("out", out, dtype if _is_uint16("out", out) else None,
                               writable=True)
    _calls.expect_size(target, groups * size)
    _calls.run("dequantize", [view.pointer, scales.pointer, settings, target.pointer,
                              _calls.DTYPES[target.dtype]], [view, scales], [target], settings,
               stream)
    return out


def dequantize_fp32(codes: Any, params: Any, groups: int, num_bits: int,
                    quant_type: int = QuantizationType.Symmetric, **keywords: Any) -> Any:
    """``dequantize`` to float32."""
    return dequantize(codes, params, groups, num_bits, quant_type, dtype="float32", **keywords)


def _values_of(codes: _arrays.View, groups: int, bits: int,
               group_size: Optional[int]) -> Tuple[int, Tuple[int, ...]]:
    """Elements of a group, and the shape of what codes stand for."""
    row = _calls.split(codes, codes.size, groups)
    if bits != 4:
        usual, shape = row, codes.shape
    else:
        usual, shape = 2 * row, (*codes.shape[:-1], 2 * codes.shape[-1]) if codes.shape else (2,)
    if group_size is None or group_size == usual:
        return usual, shape
    if bits != 4 or group_size != usual - 1:
        raise ValueError(f"group_size: must be {usual}{f' or {usual - 1}' * (bits == 4)} for "
                         f"{codes.size} codes in {groups} groups, is {group_size!r}")
    return group_size, (groups, group_size)


def quantized_reduction(codes: Any, scales: Any, in_groups: int, out_groups: int, num_bits: int,
                        quant_type: int, devices_per_node: int, *, rounding: str = "nearest",
                        seed: Optional[int] = None, offset: Optional[int] = None,
                        out: Optional[Tuple[Any, Any]] = None,
                        stream: Optional[int] = None) -> List[Any]:
    """[codes, params] of the sum of ``devices_per_node`` shards that lie one behind the other.

    ``codes`` and ``scales`` are of all shards, with ``in_groups`` groups together; the result has
    ``out_groups``. The sum is 0 + shard 0 + shard 1 and so on, in float32. The codes have the shape
    of ``codes`` with the last length divided by devices_per_node, or are flat.
    """
    return loco_quantized_reduction(codes, scales, None, 0.0, in_groups, out_groups, num_bits,
                                    quant_type, devices_per_node, rounding=rounding, seed=seed,
                                    offset=offset, out=out, stream=stream)


def loco_quantized_reduction(codes: Any, scales: Any, error_feedback: Any, err_beta: float,
                             in_groups: int, out_groups: int, num_bits: int, quant_type: int,
                             devices_per_node: int, *, rounding: str = "nearest",
                             seed: Optional[int] = None, offset: Optional[int] = None,
                             out: Optional[Tuple[Any, Any]] = None, dtype: Optional[str] = None,
                             stream: Optional[int] = None) -> List[Any]:
    """``quantized_reduction`` of the sum + error; see ``loco_swizzle_quant``.

    ``error_feedback`` has the elements of the result, of any of the types; ``dtype``: what it holds
    if it is uint16.
    """
    view = _calls.code_view("codes", codes)
    shards = _calls.whole("devices_per_node", devices_per_node, 1)
    in_size, _ = _values_of(view, in_groups, num_bits, None)
    if in_groups % shards:
        raise ValueError(f"in_groups: must be a multiple of devices_per_node ({shards}), is "
                         f"{in_groups}")
    size = in_groups // shards * in_size
    settings = _calls.options(out_groups, _calls.split(view, size, out_groups, "out_groups"),
                              num_bits, quant_type, _calls.Rounding(rounding, seed, offset))
    params = _calls.float_view("scales", scales, in_groups * (1 if quant_type == 0 else 2))
    count = out_groups * _calls.row_bytes(settings.group_size, num_bits)
    shape: Tuple[int, ...] = (count,)
    if view.shape and view.shape[-1] % shards == 0 and count * shards == view.size:
        shape = (*view.shape[:-1], view.shape[-1] // shards)
    new, new_params, outputs = _calls.new_codes(codes, shape, settings, out)
    feedback, errors = _feedback(error_feedback, err_beta, size, dtype, None)
    error_dtype = _calls.DTYPES[errors[0].dtype] if errors else 0
    parts = _calls.Shards(view.pointer, params.pointer, shards, in_groups // shards, in_size)
    _calls.run("reduce", [parts, settings, feedback, error_dtype, *(v.pointer for v in outputs)],
               [view, params], outputs + errors, settings, stream)
    return [new, new_params]


def dequantize_int4_to_half_experimental(codes: Any, scales: Any, min_vals: Any, num_group: int,
                                         group_size: int, **keywords: Any) -> Any:
    """q / scale + min for codes of 4 bits without a sign: shape (num_group, group_size).

    ``scales`` and ``min_vals`` have one value for each group; their type is that of the result.
    ``keywords``: ``out``, ``dtype`` (what uint16 arrays hold), ``stream``.
    """
    return _dequantize_unsigned(codes, scales, min_vals, num_group, group_size, 4, **keywords)


def dequantize_int8_to_half_experimental(codes: Any, scales: Any, min_vals: Any, num_group: int,
                                         group_size: int, **keywords: Any) -> Any:
    """``dequantize_int4_to_half_experimental`` for codes of 8 bits."""
    return _dequantize_unsigned(codes, scales, min_vals, num_group, group_size, 8, **keywords)


def _dequantize_unsigned(codes: Any, scales: Any, min_vals: Any, num_group: int, group_size: int,
                         bits: int, out: Any = None, dtype: Optional[str] = None,
                         stream: Optional[int] = None) -> Any:
    view = _calls.code_view("codes", codes)
    groups = _calls.whole("num_group", num_group, 1)
    size = _calls.whole("group_size", group_size, 0)
    _calls.expect_size(view, groups * _calls.row_bytes(size, bits))
    columns = [_calls.value_view("scales", scales, dtype),
               _calls.value_view("min_vals", min_vals, dtype)]
    if out is None:
        out = _arrays.new_like(scales, (groups, size))
    target = _calls.value_view("out", out, dtype, writable=True)
    for column in columns:
        _calls.expect_size(column, groups)
        if column.dtype != target.dtype:
            raise TypeError(f"{column.name}: has elements of type {column.dtype}, out has "
                            f"{target.dtype}")
    _calls.expect_size(target, groups * size)
    settings = _calls.options(groups, size, bits, 0)
    _calls.run("dequantize_unsigned",
               [view.pointer, columns[0].pointer, columns[1].pointer, settings, target.pointer,
                _calls.DTYPES[target.dtype]], [view, *columns], [target], settings, stream)
    return out


def self_test() -> None:
    """Known results on the CPU, then the same bits on the first GPU; CannotRun without one."""
    from ds_ops.quantizer import _self_test
    _self_test.run()
