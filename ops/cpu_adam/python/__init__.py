# SPDX-License-Identifier: Apache-2.0
"""Adam and AdamW on the CPU, in place, for float32, float16 and bfloat16 parameters.

Adam: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1. AdamW: Loshchilov and Hutter 2019,
arXiv:1711.05101, algorithm 2. With t = ``step``, all per element:

    g = grad                                (Adam: + weight_decay * p)
    m = beta1 * m + (1 - beta1) * g         v = beta2 * v + (1 - beta2) * g^2
    mhat = m / (1 - beta1^t)                vhat = v / (1 - beta2^t)
    p = p - lr * (mhat / (sqrt(vhat) + eps))              (AdamW: + weight_decay * p inside)

Arithmetic is float32; float16 and bfloat16 are rounded to nearest even when they are stored. Every
CPU level (baseline, AVX2, AVX-512) gives the same bits, so a cluster of mixed CPUs stays in step.
The work is shared by OpenMP threads (OMP_NUM_THREADS) from 65536 elements on.
"""
from __future__ import annotations

import ctypes
import os
from typing import Any, List, Optional, Tuple

from ds_ops import _adam
from ds_ops._library import check, load

__all__ = ["cpu_levels", "self_test", "step"]

_LEVELS = {"baseline": 1, "avx2": 2, "avx512": 3}


class _Tensor(ctypes.Structure):
    _fields_ = [("params", ctypes.c_void_p), ("grads", ctypes.c_void_p),
                ("exp_avg", ctypes.c_void_p), ("exp_avg_sq", ctypes.c_void_p),
                ("size", ctypes.c_int64), ("param_dtype", ctypes.c_int32),
                ("grad_dtype", ctypes.c_int32), ("state_dtype", ctypes.c_int32)]


_lib = load(__file__)
_lib.ds_ops_cpu_adam_step.argtypes = [ctypes.POINTER(_Tensor), ctypes.c_int64,
                                      ctypes.POINTER(_adam.Options), ctypes.c_int32]


def step(params: Any, grads: Any, exp_avg: Any, exp_avg_sq: Any, *, step: int, lr: float = 1e-3,
         betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
         adamw: bool = True, bias_correction: bool = True, param_dtype: Optional[str] = None,
         grad_dtype: Optional[str] = None, state_dtype: Optional[str] = None,
         cpu_level: Optional[str] = None) -> None:
    """Takes one step; ``params``, ``exp_avg`` and ``exp_avg_sq`` are changed in place.

    Each of the first four is one array or a list of arrays, contiguous, in CPU memory, all four of
    a parameter with the same shape. ``params``: float32, float16 or bfloat16. ``grads`` and the
    states: the same type, or float32. A library without bfloat16 or float16 gives uint16 arrays
    and names their type: ``param_dtype="bfloat16"``, likewise ``grad_dtype`` and ``state_dtype``.

    ``step`` is 1 for the first step. ``adamw=False`` is Adam, with weight decay added to the
    gradient. ``bias_correction=False`` takes the moments as they are. ``cpu_level``: one of
    ``cpu_levels()``; without it the environment variable DS_OPS_CPU_LEVEL, else the best.

    NaN and infinities go where the formula takes them. TypeError and ValueError name the argument
    that is wrong; nothing has been written then. Tensors that require gradients are written to
    behind autograd's back.
    """
    settings = _adam.options(step, lr, betas, eps, weight_decay, adamw, bias_correction)
    level = _level(cpu_level)
    rows = _adam.collect(
        {"params": params, "grads": grads, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq},
        {"params": param_dtype, "grads": grad_dtype, "exp_avg": state_dtype,
         "exp_avg_sq": state_dtype}, "cpu")
    tensors = (_Tensor * len(rows))(*(_tensor(*row) for row in rows))
    code = _lib.ds_ops_cpu_adam_step(tensors, len(rows), ctypes.byref(settings), level)
    check(_lib, "ds_ops_cpu_adam_step", code)


def cpu_levels() -> List[str]:
    """What ``cpu_level`` may be on this CPU, slowest first."""
    best = _lib.ds_ops_cpu_adam_best_level()
    return [name for name, number in _LEVELS.items() if number <= best]


def _level(name: Optional[str]) -> int:
    name = name or os.environ.get("DS_OPS_CPU_LEVEL")
    if not name:
        return 0
    if name not in cpu_levels():
        raise ValueError(f"cpu_level: must be one of {', '.join(cpu_levels())} on this CPU, is "
                         f"{name!r}")
    return _LEVELS[name]


def _tensor(params, grads, exp_avg, exp_avg_sq) -> _Tensor:
    if params.dtype not in ("float32", "float16", "bfloat16"):
        raise TypeError(f"{params.name}: must have elements of type float32, float16 or bfloat16, "
                        f"has {params.dtype}")
    for other in (grads, exp_avg, exp_avg_sq):
        if other.dtype not in (params.dtype, "float32"):
            allowed = " or ".join(dict.fromkeys(("float32", params.dtype)))
            raise TypeError(f"{other.name}: must have elements of type {allowed}, has "
                            f"{other.dtype}")
    if exp_avg.dtype != exp_avg_sq.dtype:
        raise TypeError(f"{exp_avg_sq.name}: has elements of type {exp_avg_sq.dtype}, "
                        f"{exp_avg.name} has {exp_avg.dtype}")
    code = _adam.DTYPES
    return _Tensor(params.pointer, grads.pointer, exp_avg.pointer, exp_avg_sq.pointer, params.size,
                   code[params.dtype], code[grads.dtype], code[exp_avg.dtype])


def self_test() -> None:
    """Compares each CPU level of this host with a reference in double."""
    import array
    n = 37
    start = ([(i - 18) / 7 for i in range(n)], [(5 * i % 11 - 5) / 9 for i in range(n)],
             [(3 * i % 7 - 3) / 50 for i in range(n)], [(i % 5) / 40 for i in range(n)])
    for adamw in (True, False):
        settings = _adam.options(3, 1e-2, (0.9, 0.99), 1e-8, 0.1, adamw, True)
        for level in cpu_levels():
            arrays = [array.array("f", values) for values in start]
            expected = _adam.reference(*arrays, settings)
            step(*arrays, step=3, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1, adamw=adamw,
                 cpu_level=level)
            _adam.check_close([arrays[0], arrays[2], arrays[3]], expected)
