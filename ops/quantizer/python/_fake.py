# SPDX-License-Identifier: Apache-2.0
"""Fake quantization: values become what their codes would stand for, in place."""
from __future__ import annotations

import math
from typing import Any, Optional

from ds_ops.quantizer import _calls


def fake_quantize(values: Any, groups: int, bits: int, *, symmetric: bool = True,
                  rounding: str = "nearest", seed: Optional[int] = None,
                  offset: Optional[int] = None, eps: float = 1e-5, dtype: Optional[str] = None,
                  stream: Optional[int] = None) -> Any:
    """Moves each element onto the grid of its group, in place; returns ``values``.

    With b bits, 4 or 8:

        symmetric    step = (2 * max(|max|, |min|) + eps) / 2^b
                     x = clamp(round(x / step), -2^(b-1), 2^(b-1) - 1) * step
        asymmetric   step = (max - min + eps) / 2^b
                     x = clamp(round((x - min) / step), 0, 2^b - 1) * step + min

    The ``eps`` of DeepSpeed's kernels is 1e-5; it makes groups whose range is not far above it
    coarse. 0 is right for all. The other arguments are those of ``quantize``.
    """
    view = _calls.value_view("values", values, dtype, writable=True)
    size = _calls.split(view, view.size, groups)
    if bits not in (4, 8):
        raise ValueError(f"bits: must be 4 or 8, is {bits!r}")
    if not (math.isfinite(eps) and 0 <= eps <= 1e30):
        raise ValueError(f"eps: must be from 0 to 1e30, is {eps!r}")
    settings = _calls.options(groups, size, bits, 0 if symmetric else 1,
                              _calls.Rounding(rounding, seed, offset))
    _calls.run("fake", [view.pointer, _calls.DTYPES[view.dtype], settings, eps], [], [view],
               settings, stream)
    return values


def ds_quantizer(input: Any, groups: int = 1, bit_num: int = 8, sr: bool = False,
                 asym: bool = False) -> Any:
    """``fake_quantize`` with the name and arguments of deepspeed.ops.quantizer."""
    return fake_quantize(input, groups, bit_num, symmetric=not asym,
                         rounding="stochastic" if sr else "nearest")


def _named(name: str, dtype: str, symmetric: bool, rounding: str) -> Any:
    def function(vals: Any, groups: int, bits: int, seed: Optional[int] = None,
                 offset: Optional[int] = None, stream: Optional[int] = None) -> Any:
        view = _calls.value_view("vals", vals)
        if view.dtype != dtype:
            raise TypeError(f"vals: has elements of type {view.dtype}, not {dtype}")
        return fake_quantize(vals, groups, bits, symmetric=symmetric, rounding=rounding, seed=seed,
                             offset=offset, stream=stream)
    function.__name__ = function.__qualname__ = name
    kind = "symmetric" if symmetric else "asymmetric"
    function.__doc__ = (f"``fake_quantize`` of {dtype}, {kind}, {rounding} rounding, with "
                        "DeepSpeed's name and arguments.")
    return function


ds_quantize_fp32 = _named("ds_quantize_fp32", "float32", True, "nearest")
ds_quantize_fp16 = _named("ds_quantize_fp16", "float16", True, "nearest")
ds_quantize_bf16 = _named("ds_quantize_bf16", "bfloat16", True, "nearest")
ds_quantize_asym_fp32 = _named("ds_quantize_asym_fp32", "float32", False, "nearest")
ds_quantize_asym_fp16 = _named("ds_quantize_asym_fp16", "float16", False, "nearest")
ds_quantize_asym_bf16 = _named("ds_quantize_asym_bf16", "bfloat16", False, "nearest")
ds_sr_quantize_fp32 = _named("ds_sr_quantize_fp32", "float32", True, "stochastic")
ds_sr_quantize_fp16 = _named("ds_sr_quantize_fp16", "float16", True, "stochastic")
ds_sr_quantize_bf16 = _named("ds_sr_quantize_bf16", "bfloat16", True, "stochastic")
ds_sr_quantize_asym_fp32 = _named("ds_sr_quantize_asym_fp32", "float32", False, "stochastic")
ds_sr_quantize_asym_fp16 = _named("ds_sr_quantize_asym_fp16", "float16", False, "stochastic")
ds_sr_quantize_asym_bf16 = _named("ds_sr_quantize_asym_bf16", "bfloat16", False, "stochastic")
