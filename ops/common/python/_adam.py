# SPDX-License-Identifier: Apache-2.0
"""What the Adam ops share: hyperparameters, their checks, and a reference in double."""
from __future__ import annotations

import ctypes
import math
from typing import List, Sequence, Tuple

DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2, "float64": 3}


class Options(ctypes.Structure):
    """``ds_ops_adam_options`` of ds_ops/adam_options.h."""

    _fields_ = [("lr", ctypes.c_double), ("beta1", ctypes.c_double), ("beta2", ctypes.c_double),
                ("eps", ctypes.c_double), ("weight_decay", ctypes.c_double),
                ("step", ctypes.c_int64), ("mode", ctypes.c_int32),
                ("bias_correction", ctypes.c_int32)]


def options(step: int, lr: float, betas: Tuple[float, float], eps: float, weight_decay: float,
            adamw: bool, bias_correction: bool) -> Options:
    """Checked hyperparameters; ValueError names the one that is out of range."""
    if isinstance(step, bool) or int(step) != step or not 1 <= step < 2**63:
        raise ValueError(f"step: must be a whole number from 1 on, is {step!r}")
    beta1, beta2 = betas
    for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: must be finite and not negative, is {value!r}")
    for name, value in (("betas[0]", beta1), ("betas[1]", beta2)):
        if not 0 <= value < 1:
            raise ValueError(f"{name}: must be at least 0 and less than 1, is {value!r}")
    return Options(lr, beta1, beta2, eps, weight_decay, int(step), int(bool(adamw)),
                   int(bool(bias_correction)))


def reference(params: Sequence[float], grads: Sequence[float], exp_avg: Sequence[float],
              exp_avg_sq: Sequence[float], settings: Options) -> List[Tuple[float, float, float]]:
    """One step in double, straight from the papers: (param, exp_avg, exp_avg_sq) per element."""
    s = settings
    first = 1 - s.beta1**s.step if s.bias_correction else 1.0
    second = 1 - s.beta2**s.step if s.bias_correction else 1.0
    result = []
    for p, g, m, v in zip(params, grads, exp_avg, exp_avg_sq):
        if s.mode == 0:
            g += s.weight_decay * p
        m = s.beta1 * m + (1 - s.beta1) * g
        v = s.beta2 * v + (1 - s.beta2) * g * g
        change = (m / first) / (math.sqrt(v / second) + s.eps)
        if s.mode == 1:
            change += s.weight_decay * p
        result.append((p - s.lr * change, m, v))
    return result


def check_close(found: Sequence[Sequence[float]],
                expected: Sequence[Tuple[float, float, float]]) -> None:
    """AssertionError unless float32 results (params, exp_avg, exp_avg_sq) agree to 1e-6.

    The values are around 1, so that this is a few roundings.
    """
    names = ("params", "exp_avg", "exp_avg_sq")
    for name, column, right in zip(names, found, zip(*expected)):
        for i, (a, b) in enumerate(zip(column, right)):
            # Written so that a NaN fails too.
            if not abs(a - b) <= 1e-6 * max(abs(b), 1.0):
                raise AssertionError(f"{name}[{i}] is {a!r}, should be {b!r}")
