# SPDX-License-Identifier: Apache-2.0
"""Optimizers for PyTorch (1.13 and newer) whose steps are taken by the ops.

    CPUAdam      Adam and AdamW in CPU memory, by ds_ops.cpu_adam
    CPUAdagrad   Adagrad in CPU memory, by ds_ops.cpu_adagrad
    FusedAdam    Adam and AdamW on the GPU, by ds_ops.fused_adam
    FusedLamb    LAMB on the GPU, by ds_ops.fused_lamb

Each is a ``torch.optim.Optimizer``: parameter groups, closures, schedulers, hooks, and a
``state_dict`` that loads into torch's own optimizer and from it. The module needs PyTorch; nothing
else in ``ds_ops`` does.
"""
from __future__ import annotations

from ds_ops._optim_cpu import CPUAdagrad, CPUAdam
from ds_ops._optim_fused import FusedAdam, FusedLamb

__all__ = ["CPUAdagrad", "CPUAdam", "FusedAdam", "FusedLamb"]
