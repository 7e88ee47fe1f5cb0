# SPDX-License-Identifier: Apache-2.0
"""Adam and AdamW on the GPU, in place, for many tensors in one launch.

The formula is that of ``ds_ops.cpu_adam`` (arXiv:1412.6980, arXiv:1711.05101). All arrays of a
call have one element type: float32, float16, bfloat16 (arithmetic in float32) or float64 (in
double). float16 and bfloat16 are rounded to nearest even when they are stored.

Tensors of PyTorch and whatever has ``__cuda_array_interface__`` (CuPy, Numba) or DLPack work.
"""
from __future__ import annotations

import ctypes
from typing import Any, List, Optional, Tuple

from ds_ops import _adam, _arrays, _cuda, _multi_tensor
from ds_ops._library import check
from ds_ops._multi_tensor import Cache

__all__ = ["Cache", "multi_tensor_adam", "self_test", "step"]

_lib = _cuda.load_cuda(__file__)
_void, _i32, _i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_list = _multi_tensor.LIST
_lib.ds_ops_fused_adam_step.argtypes = [
    _i32, _i64, _list, _list, _list, _list, _multi_tensor.SIZES, _i32,
    ctypes.POINTER(_adam.Options), ctypes.POINTER(_multi_tensor.DeviceValues), _i32, _void]


def step(params: Any, grads: Any, exp_avg: Any, exp_avg_sq: Any, *, step: Any, lr: Any = 1e-3,
         betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
         adamw: bool = True, bias_correction: bool = True, inv_scale: Any = None,
         noop_flag: Any = None, stream: Optional[int] = None, dtype: Optional[str] = None,
         chunk_size: int = 0, cache: Optional[Cache] = None) -> None:
    """Queues one step; ``params``, ``exp_avg`` and ``exp_avg_sq`` are changed in place.

    Each of the first four is one array or a list of arrays, contiguous, on one GPU, all four of a
    parameter with the same shape. ``dtype``: what uint16 arrays hold ("float16", "bfloat16").
    Arrays at multiples of 16 bytes are the fastest.

    ``step``: the number of this step, 1 for the first; or one int64 or float32 on the GPU; or a
    list with one such array for each parameter. ``lr``: a number, or one float32 on the GPU. What
    lies on the GPU is read when the step runs, so a CUDA graph that holds it can be replayed with
    other values; it cannot be checked: a step below 1 gives parameters that are not finite.
    ``inv_scale``: one float32 on the GPU, multiplied into each gradient (loss scaling).
    ``noop_flag``: one int32 or float32 on the GPU; if it is not 0 when the step runs, nothing
    changes.

    ``stream``: the CUDA stream as a number; without it PyTorch's current stream for tensors, the
    stream that the arrays name, or the default stream. ``chunk_size``: elements per thread block,
    rounded up to a multiple of 16; 0: by the sizes. ``cache``: a ``Cache()`` for calls that often
    have the same tensors. The other arguments are those of ``ds_ops.cpu_adam.step``.

    TypeError and ValueError name the argument that is wrong; OpError is CUDA's. It returns when
    the work is queued. Nothing is allocated on the GPU, and nothing is waited for, but for arrays
    that name a stream of their own.
    """
    if not 0 <= chunk_size < 2**31:
        raise ValueError(f"chunk_size: must be from 0 to {2**31 - 1}, is {chunk_size!r}")
    columns = [params, grads, exp_avg, exp_avg_sq]
    lists = _multi_tensor.lists_of(columns, lambda: _lists(columns, dtype), cache)
    values, step, lr, views = _multi_tensor.device_values(lists.count, step, lr, inv_scale,
                                                          noop_flag)
    settings = _adam.options(step, lr, betas, eps, weight_decay, adamw, bias_correction)
    _multi_tensor.check_values(views, lists)
    if not lists.count:
        return
    p, g, m, v = lists.columns
    code = _lib.ds_ops_fused_adam_step(
        lists.device, lists.count, g, p, m, v, lists.sizes, _adam.DTYPES[lists.dtypes[0]],
        ctypes.byref(settings), ctypes.byref(values), chunk_size,
        lists.stream(views) if stream is None else stream)
    check(_lib, "ds_ops_fused_adam_step", code)


def _lists(columns: List[Any], dtype: Optional[str]) -> _multi_tensor.Lists:
    names = ("params", "grads", "exp_avg", "exp_avg_sq")
    rows = _arrays.collect(dict(zip(names, columns)), dict.fromkeys(names, dtype), "cuda",
                           read_only=("grads",))
    _multi_tensor.same_dtype("params", [v for row in rows for v in row], tuple(_adam.DTYPES))
    return _multi_tensor.Lists(rows, _lib)


_take_step = step  # where an argument is called step too


def multi_tensor_adam(chunk_size: int, noop_flag: Any, tensor_lists: List[List[Any]], lr: float,
                      beta1: float, beta2: float, eps: float, step: int, mode: int,
                      bias_correction: int, weight_decay: float) -> None:
    """``step`` with DeepSpeed's name and arguments.

    ``tensor_lists`` is [grads, params, exp_avg, exp_avg_sq]; ``mode`` is 0 for Adam with L2
    regularisation, 1 for AdamW.
    """
    if mode not in (0, 1):
        raise ValueError(f"mode: must be 0 (L2) or 1 (AdamW), is {mode!r}")
    grads, params, exp_avg, exp_avg_sq = tensor_lists
    _take_step(params, grads, exp_avg, exp_avg_sq, step=step, lr=lr, betas=(beta1, beta2), eps=eps,
               weight_decay=weight_decay, adamw=mode == 1, bias_correction=bool(bias_correction),
               noop_flag=noop_flag, chunk_size=chunk_size)


def self_test() -> None:
    """Compares one step on the first GPU with a reference in double; CannotRun without a GPU."""
    _cuda.need_gpu(_lib)
    n = 37
    start = ([(i - 18) / 7 for i in range(n)], [(5 * i % 11 - 5) / 9 for i in range(n)],
             [(3 * i % 7 - 3) / 50 for i in range(n)], [(i % 5) / 40 for i in range(n)])
    for adamw in (True, False):
        settings = _adam.options(3, 1e-2, (0.9, 0.99), 1e-8, 0.1, adamw, True)
        expected = _adam.reference(*start, settings)
        arrays = [_cuda.Memory(_lib, values) for values in start]
        try:
            step(*arrays, step=3, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1, adamw=adamw)
            found = [arrays[i].read() for i in (0, 2, 3)]
        finally:
            for memory in arrays:
                memory.free()
        _adam.check_close(found, expected)
