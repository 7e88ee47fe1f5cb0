# SPDX-License-Identifier: Apache-2.0
"""Adagrad on the CPU, in place, for float32, float16 and bfloat16 parameters.

Duchi, Hazan and Singer 2011, JMLR 12, figure 1 with diagonal matrices, and weight decay as
torch.optim.Adagrad has it. All per element, v the sum of the squared gradients:

    g = grad + weight_decay * p
    v = v + g^2
    p = p - lr * g / (sqrt(v) + eps)

DeepSpeed's own divided the gradient without weight decay in its AVX loop until 0.14, and still
overwrites the gradients with the step that was taken in its scalar loop; here the formula is the
one above for each element, and gradients are only read. torch's ``lr_decay`` is a matter of the
``lr`` that is handed over: lr / (1 + (step - 1) * lr_decay).

Arithmetic is float32; float16 and bfloat16 are rounded to nearest even when they are stored. Every
CPU level (baseline, AVX2, AVX-512) gives the same bits. All is done in one pass over the memory,
shared by OpenMP threads from 65536 elements on.

``ds_ops.optim.CPUAdagrad`` is a PyTorch optimizer made of this. ``create_adagrad``,
``adagrad_update``, ``adagrad_update_copy`` and ``destroy_adagrad`` are DeepSpeed's names and
arguments.
"""
from __future__ import annotations

import ctypes
import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ds_ops import _cpu

__all__ = ["adagrad_update", "adagrad_update_copy", "cpu_levels", "create_adagrad",
           "destroy_adagrad", "self_test", "step"]


class _Options(ctypes.Structure):
    """``ds_ops_adagrad_options`` of cpu_adagrad.h."""

    _fields_ = [("lr", ctypes.c_double), ("eps", ctypes.c_double),
                ("weight_decay", ctypes.c_double)]


_op = _cpu.Op(__file__, ("exp_avg_sq",), _Options, ("ds_ops_cpu_adagrad_step",))
_lib = _op.library


def step(params: Any, grads: Any, exp_avg_sq: Any, *, lr: float = 1e-2, eps: float = 1e-10,
         weight_decay: float = 0.0, param_copy: Any = None, param_dtype: Optional[str] = None,
         grad_dtype: Optional[str] = None, state_dtype: Optional[str] = None,
         copy_dtype: Optional[str] = None, cpu_level: Optional[str] = None,
         threads: Optional[int] = None) -> None:
    """Takes one step; ``params`` and ``exp_avg_sq`` (the sum of squares) are changed in place.

    Each of the first three is one array or a list of arrays, contiguous, in CPU memory, all three
    of a parameter with the same shape. ``params`` and ``grads``: float32, float16 or bfloat16.
    ``exp_avg_sq``: float32, or the parameter's type. ``param_copy``, if given, is written in the
    same pass: arrays like ``params`` of any of the three types, which get the new parameter rounded
    once from the float32 result. A library without bfloat16 or float16 gives uint16 arrays and
    names their type: ``param_dtype="bfloat16"``, likewise ``grad_dtype``, ``state_dtype`` and
    ``copy_dtype``.

    ``cpu_level``: one of ``cpu_levels()``; without it the environment variable DS_OPS_CPU_LEVEL,
    else the best. ``threads``: the most that share the work; 0: as OpenMP has it, by
    OMP_NUM_THREADS or the CPUs; without it torch.get_num_threads() for tensors of PyTorch, else 0.
    Only a number that is given may be more than the CPUs that this process may use.

    NaN and infinities go where the formula takes them; with ``eps=0`` a gradient of 0 on a sum of 0
    is 0/0. TypeError and ValueError name the argument that is wrong; nothing has been written then.
    Tensors that require gradients are written to behind autograd's back.
    """
    names = ("params", "grads", "exp_avg_sq", "param_copy")
    _op.call("ds_ops_cpu_adagrad_step",
             dict(zip(names, (params, grads, exp_avg_sq, param_copy))),
             dict(zip(names, (param_dtype, grad_dtype, state_dtype, copy_dtype))),
             _options(lr, eps, weight_decay), cpu_level, threads)


def cpu_levels() -> List[str]:
    """What ``cpu_level`` may be on this CPU, slowest first."""
    return _op.levels()


def _options(lr: float, eps: float, weight_decay: float) -> _Options:
    for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: must be finite and not negative, is {value!r}")
    return _Options(lr, eps, weight_decay)


_created: Dict[int, bool] = {}


def create_adagrad(optimizer_id: int, alpha: float = 1e-2, eps: float = 1e-8,
                   weight_decay: float = 0.0, should_log: bool = False) -> int:
    """DeepSpeed's: makes an optimizer known under a number that the caller picks. 0.

    The other values are checked, and not kept: each update names its own. Nothing is logged.
    """
    _options(alpha, eps, weight_decay)
    _created[optimizer_id] = True
    return 0


def adagrad_update(optimizer_id: int, step: int, lr: float, epsilon: float, weight_decay: float,
                   params: Any, grads: Any, exp_avg_sq: Any) -> int:
    """DeepSpeed's: ``step`` of the optimizer; the number of the step does not matter. 0, or an
    exception."""
    return adagrad_update_copy(optimizer_id, step, lr, epsilon, weight_decay, params, grads,
                               exp_avg_sq, None)


def adagrad_update_copy(optimizer_id: int, step: int, lr: float, epsilon: float,
                        weight_decay: float, params: Any, grads: Any, exp_avg_sq: Any,
                        param_copy: Any) -> int:
    """DeepSpeed's until 0.9: ``adagrad_update`` that writes ``param_copy`` too, which lies in CPU
    memory here."""
    _cpu.created("Adagrad", _created, optimizer_id)
    _take_step(params, grads, exp_avg_sq, lr=lr, eps=epsilon, weight_decay=weight_decay,
               param_copy=param_copy)
    return 0


_take_step = step  # where an argument is called step too


def destroy_adagrad(optimizer_id: int) -> int:
    """DeepSpeed's: forgets the optimizer; 0, also where there is none."""
    _created.pop(optimizer_id, None)
    return 0


def _reference(params: Sequence[float], grads: Sequence[float], sums: Sequence[float], lr: float,
               eps: float, weight_decay: float) -> List[Tuple[float, float]]:
    """One step in double, straight from the paper: (param, sum) per element."""
    result = []
    for p, g, v in zip(params, grads, sums):
        g += weight_decay * p
        v += g * g
        result.append((p - lr * g / (math.sqrt(v) + eps), v))
    return result


def self_test() -> None:
    """Compares each CPU level of this host with a reference in double."""
    import array
    n = 37
    start = ([(i - 18) / 7 for i in range(n)], [(5 * i % 11 - 5) / 9 for i in range(n)],
             [(i % 5) / 40 for i in range(n)])
    for level in cpu_levels():
        arrays = [array.array("f", values) for values in start]
        copy = array.array("f", arrays[0])
        expected = _reference(*arrays, 1e-2, 1e-8, 0.1)
        step(*arrays, lr=1e-2, eps=1e-8, weight_decay=0.1, cpu_level=level, param_copy=copy)
        for p, c, v, (right_p, right_v) in zip(arrays[0], copy, arrays[2], expected):
            # The values are around 1: a few roundings. Written so that a NaN fails too.
            if not (p == c and abs(p - right_p) <= 1e-6 * max(abs(right_p), 1.0)
                    and abs(v - right_v) <= 1e-6 * max(abs(right_v), 1.0)):
                raise AssertionError(f"({p!r}, {v!r}) should be ({right_p!r}, {right_v!r})")
