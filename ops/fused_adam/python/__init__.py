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

from ds_ops import _adam, _arrays, _cuda
from ds_ops._library import check

__all__ = ["multi_tensor_adam", "self_test", "step"]

_lib = _cuda.load_cuda(__file__)
_void, _i32, _i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_list = ctypes.POINTER(_void)
_lib.ds_ops_fused_adam_step.argtypes = [
    _i32, _i64, _list, _list, _list, _list, ctypes.POINTER(_i64), _i32,
    ctypes.POINTER(_adam.Options), _void, _void, _i32, _void]


def step(params: Any, grads: Any, exp_avg: Any, exp_avg_sq: Any, *, step: int, lr: float = 1e-3,
         betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
         adamw: bool = True, bias_correction: bool = True, inv_scale: Any = None,
         noop_flag: Any = None, stream: Optional[int] = None, dtype: Optional[str] = None,
         chunk_size: int = 65536) -> None:
    """Queues one step; ``params``, ``exp_avg`` and ``exp_avg_sq`` are changed in place.

    Each of the first four is one array or a list of arrays, contiguous, on one GPU, all four of a
    parameter with the same shape. ``dtype``: what uint16 arrays hold ("float16", "bfloat16").
    ``inv_scale``: one float32 on the GPU, multiplied into each gradient (loss scaling).
    ``noop_flag``: one int32 on the GPU; if it is not 0 when the step runs, nothing changes.
    ``stream``: the CUDA stream as a number; without it PyTorch's current stream for tensors, the
    stream that the arrays name, or the default stream. ``chunk_size``: elements per thread block.
    The other arguments are those of ``ds_ops.cpu_adam.step``.

    TypeError and ValueError name the argument that is wrong; OpError is CUDA's. It returns when
    the work is queued.
    """
    settings = _adam.options(step, lr, betas, eps, weight_decay, adamw, bias_correction)
    if not 0 < chunk_size < 2**31:
        raise ValueError(f"chunk_size: must be from 1 to {2**31 - 1}, is {chunk_size!r}")
    rows = _adam.collect(
        {"params": params, "grads": grads, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq},
        dict.fromkeys(("params", "grads", "exp_avg", "exp_avg_sq"), dtype), "cuda")
    scalars = [_cuda.scalar("inv_scale", inv_scale, "float32"), _cuda.scalar("noop_flag", noop_flag, "int32")]
    if not rows:
        return
    views = [v for row in rows for v in row]
    present = [v for v in scalars if v is not None]
    _adam.check_overlap(present, [v for row in rows for v in (row[0], row[2], row[3])])
    _check_dtypes(views)
    device = _cuda.device_of(views + present)
    code = _lib.ds_ops_fused_adam_step(
        device, len(rows), _cuda.pointers(row[1] for row in rows), _cuda.pointers(row[0] for row in rows),
        _cuda.pointers(row[2] for row in rows), _cuda.pointers(row[3] for row in rows),
        (_i64 * len(rows))(*(row[0].size for row in rows)), _adam.DTYPES[views[0].dtype],
        ctypes.byref(settings), *(v.pointer if v else None for v in scalars), chunk_size,
        _cuda.stream_of(_lib, views + present, device) if stream is None else stream)
    check(_lib, "ds_ops_fused_adam_step", code)


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


def _check_dtypes(views: List[_arrays.View]) -> None:
    for v in views:
        if v.dtype not in _adam.DTYPES:
            raise TypeError(f"{v.name}: must have elements of type {', '.join(_adam.DTYPES)}, has "
                            f"{v.dtype}")
        if v.dtype != views[0].dtype:
            raise TypeError(f"{v.name}: has elements of type {v.dtype}, {views[0].name} has "
                            f"{views[0].dtype}")


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
