# SPDX-License-Identifier: Apache-2.0
"""Adam and AdamW on the CPU, in place, for float32, float16 and bfloat16 parameters.

Adam: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1. AdamW: Loshchilov and Hutter 2019,
arXiv:1711.05101, algorithm 2. With t = ``step``, all per element:

    g = grad                                (Adam: + weight_decay * p)
    m = beta1 * m + (1 - beta1) * g         v = beta2 * v + (1 - beta2) * g^2
    mhat = m / (1 - beta1^t)                vhat = v / (1 - beta2^t)
    p = p - lr * (mhat / (sqrt(vhat) + eps))              (AdamW: + weight_decay * p inside)

Arithmetic is float32, the factors that do not depend on the element are worked out in double;
float16 and bfloat16 are rounded to nearest even when they are stored. Every CPU level (baseline,
AVX2, AVX-512) gives the same bits, so a cluster of mixed CPUs stays in step. All is done in one
pass over the memory, shared by OpenMP threads from 65536 elements on.

``ds_ops.optim.CPUAdam`` is a PyTorch optimizer made of this. ``create_adam``, ``adam_update``,
``adam_update_copy``, ``adam_rollback`` and ``destroy_adam`` are DeepSpeed's names and arguments.
"""
from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Optional, Tuple

from ds_ops import _adam, _cpu

__all__ = ["adam_rollback", "adam_update", "adam_update_copy", "cpu_levels", "create_adam",
           "destroy_adam", "rollback", "self_test", "step"]

_op = _cpu.Op(__file__, ("exp_avg", "exp_avg_sq"), _adam.Options,
              ("ds_ops_cpu_adam_step", "ds_ops_cpu_adam_rollback"))
_lib = _op.library


def step(params: Any, grads: Any, exp_avg: Any, exp_avg_sq: Any, *, step: int, lr: float = 1e-3,
         betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
         adamw: bool = True, bias_correction: bool = True, param_copy: Any = None,
         param_dtype: Optional[str] = None, grad_dtype: Optional[str] = None,
         state_dtype: Optional[str] = None, copy_dtype: Optional[str] = None,
         cpu_level: Optional[str] = None, threads: Optional[int] = None) -> None:
    """Takes one step; ``params``, ``exp_avg`` and ``exp_avg_sq`` are changed in place.

    Each of the first four is one array or a list of arrays, contiguous, in CPU memory, all four of
    a parameter with the same shape. ``params`` and ``grads``: float32, float16 or bfloat16. The
    states: float32, or the parameter's type. ``param_copy``, if given, is written in the same pass:
    arrays like ``params`` of any of the three types, which get the new parameter rounded once from
    the float32 result. ZeRO-Offload uploads such a copy. A library without bfloat16 or float16
    gives uint16 arrays and names their type: ``param_dtype="bfloat16"``, likewise ``grad_dtype``,
    ``state_dtype`` and ``copy_dtype``.

    ``step`` is 1 for the first step. ``adamw=False`` is Adam, with weight decay added to the
    gradient. ``bias_correction=False`` takes the moments as they are. ``cpu_level``: one of
    ``cpu_levels()``; without it the environment variable DS_OPS_CPU_LEVEL, else the best.
    ``threads``: the most that share the work; 0: as OpenMP has it, by OMP_NUM_THREADS or the CPUs;
    without it torch.get_num_threads() for tensors of PyTorch, else 0. Only a number that is given
    may be more than the CPUs that this process may use.

    NaN and infinities go where the formula takes them. TypeError and ValueError name the argument
    that is wrong; nothing has been written then. Tensors that require gradients are written to
    behind autograd's back.
    """
    _run("ds_ops_cpu_adam_step", (params, grads, exp_avg, exp_avg_sq, param_copy),
         _adam.options(step, lr, betas, eps, weight_decay, adamw, bias_correction),
         (param_dtype, grad_dtype, state_dtype, state_dtype, copy_dtype), cpu_level, threads)


_take_step = step  # where an argument is called step too


def rollback(params: Any, grads: Any, exp_avg: Any, exp_avg_sq: Any, *, step: int,
             lr: float = 1e-3, betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
             weight_decay: float = 0.0, adamw: bool = True, bias_correction: bool = True,
             param_copy: Any = None, param_dtype: Optional[str] = None,
             grad_dtype: Optional[str] = None, state_dtype: Optional[str] = None,
             copy_dtype: Optional[str] = None, cpu_level: Optional[str] = None,
             threads: Optional[int] = None) -> None:
    """Undoes the step that was taken last: the formula solved for the old values.

    The arguments are those of that ``step``, its gradients among them. With d = lr * weight_decay
    (AdamW; else 0), mhat and vhat from the moments as they are now:

        p' = (p + lr * mhat / (sqrt(vhat) + eps)) / (1 - d)
        g = grad                            (Adam: + weight_decay * p')
        m' = (m - (1 - beta1) * g) / beta1        v' = max((v - (1 - beta2) * g^2) / beta2, 0)

    No memory of the old values is needed, but they come back only up to rounding. With u the unit
    roundoff of a type (2^-24, float16 2^-11, bfloat16 2^-8), p' is within about u |p| / |1 - d|,
    m' within u |m| / beta1 and v' within u v / beta2 of the value that was there, each plus a few
    roundings of float32 of the terms. A moment that was far smaller than the gradient's part in it
    has lost its lower digits then. What was infinite or a NaN does not come back.

    ValueError where the step left too little to undo it: a beta is 0, or d is 1 (to float32).
    """
    settings = _adam.options(step, lr, betas, eps, weight_decay, adamw, bias_correction)
    for i, beta in enumerate(betas):
        if ctypes.c_float(beta).value == 0:
            raise ValueError(f"betas[{i}]: is {beta!r}, and a step with that cannot be undone")
    kept = 1 - ctypes.c_float(lr * weight_decay).value
    if adamw and not 0 < abs(kept) < float("inf"):
        raise ValueError(f"weight_decay: lr * weight_decay is {lr * weight_decay!r}, and a step "
                         "with that cannot be undone")
    _run("ds_ops_cpu_adam_rollback", (params, grads, exp_avg, exp_avg_sq, param_copy), settings,
         (param_dtype, grad_dtype, state_dtype, state_dtype, copy_dtype), cpu_level, threads)


def _run(function: str, arrays: Tuple[Any, ...], settings: _adam.Options,
         dtypes: Tuple[Optional[str], ...], cpu_level: Optional[str],
         threads: Optional[int]) -> None:
    names = ("params", "grads", "exp_avg", "exp_avg_sq", "param_copy")
    _op.call(function, dict(zip(names, arrays)), dict(zip(names, dtypes)), settings, cpu_level,
             threads)


def cpu_levels() -> List[str]:
    """What ``cpu_level`` may be on this CPU, slowest first."""
    return _op.levels()


_created: Dict[int, bool] = {}  # whether it is AdamW


def create_adam(optimizer_id: int, alpha: float = 1e-3, betta1: float = 0.9,
                betta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0,
                adamw_mode: bool = True, should_log: bool = False) -> int:
    """DeepSpeed's: keeps the mode of an optimizer under a number that the caller picks. 0.

    The other values are checked, and not kept: each update names its own. Nothing is logged.
    """
    _adam.options(1, alpha, (betta1, betta2), eps, weight_decay, adamw_mode, True)
    _created[optimizer_id] = bool(adamw_mode)
    return 0


def adam_update(optimizer_id: int, step: int, lr: float, beta1: float, beta2: float,
                epsilon: float, weight_decay: float, bias_correction: bool, params: Any,
                grads: Any, exp_avg: Any, exp_avg_sq: Any) -> int:
    """DeepSpeed's: ``step``, in the mode that ``create_adam`` was told. 0, or an exception."""
    _take_step(params, grads, exp_avg, exp_avg_sq, step=step, lr=lr, betas=(beta1, beta2),
               eps=epsilon, weight_decay=weight_decay, bias_correction=bool(bias_correction),
               adamw=_cpu.created("Adam", _created, optimizer_id))
    return 0


def adam_update_copy(optimizer_id: int, step: int, lr: float, beta1: float, beta2: float,
                     epsilon: float, weight_decay: float, bias_correction: bool, params: Any,
                     grads: Any, exp_avg: Any, exp_avg_sq: Any, param_copy: Any) -> int:
    """DeepSpeed's until 0.9: ``adam_update`` that writes ``param_copy`` too, which lies in CPU
    memory here."""
    _take_step(params, grads, exp_avg, exp_avg_sq, step=step, lr=lr, betas=(beta1, beta2),
               eps=epsilon, weight_decay=weight_decay, bias_correction=bool(bias_correction),
               adamw=_cpu.created("Adam", _created, optimizer_id), param_copy=param_copy)
    return 0


def adam_rollback(optimizer_id: int, step: int, lr: float, beta1: float, beta2: float,
                  epsilon: float, weight_decay: float, bias_correction: bool, params: Any,
                  grads: Any, exp_avg: Any, exp_avg_sq: Any) -> int:
    """DeepSpeed's: ``rollback``, in the mode that ``create_adam`` was told. 0, or an exception.

    DeepSpeed's own takes each step for AdamW with bias correction, and turns what is not finite
    into 0.
    """
    rollback(params, grads, exp_avg, exp_avg_sq, step=step, lr=lr, betas=(beta1, beta2),
             eps=epsilon, weight_decay=weight_decay, bias_correction=bool(bias_correction),
             adamw=_cpu.created("Adam", _created, optimizer_id))
    return 0


def destroy_adam(optimizer_id: int) -> int:
    """DeepSpeed's: forgets the optimizer; 0, also where there is none."""
    _created.pop(optimizer_id, None)
    return 0


def self_test() -> None:
    """Compares each CPU level of this host with a reference in double, there and back."""
    import array
    n = 37
    start = ([(i - 18) / 7 for i in range(n)], [(5 * i % 11 - 5) / 9 for i in range(n)],
             [(3 * i % 7 - 3) / 50 for i in range(n)], [(i % 5) / 40 for i in range(n)])
    for adamw in (True, False):
        settings = _adam.options(3, 1e-2, (0.9, 0.99), 1e-8, 0.1, adamw, True)
        keywords = dict(step=3, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1, adamw=adamw)
        for level in cpu_levels():
            arrays = [array.array("f", values) for values in start]
            copy = array.array("f", arrays[0])
            expected = _adam.reference(*arrays, settings)
            _take_step(*arrays, **keywords, cpu_level=level, param_copy=copy)
            _adam.check_close([arrays[0], arrays[2], arrays[3]], expected)
            if copy != arrays[0]:
                raise AssertionError("param_copy is not the parameter")
            rollback(*arrays, **keywords, cpu_level=level)
            _adam.check_close([arrays[0], arrays[2], arrays[3]],
                              list(zip(start[0], start[2], start[3])))
