# SPDX-License-Identifier: Apache-2.0
"""Run by the interpreter that has DeepSpeed: its CPU optimizers beside torch's own.

Prints JSON: for each case, the largest difference after some steps as a part of what is allowed,
and how far the parameters moved. Between steps torch's parameters, which are 32 bits wide, are
rounded to the width of DeepSpeed's.
"""
import json
import os
import sys

import torch

# No multiples of the 8 or 16 lanes of a vector, or of what one thread takes.
SIZES = (1, 7, 17, 127, 1025, 100003)
# Of the larger of 1 and the parameter: some roundings of the last bit in five steps.
ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 2 ** -6, torch.float16: 2 ** -9}


def compare(make_ours, make_theirs, dtype, size):
    torch.manual_seed(size)
    start = torch.randn(size).to(dtype)
    ours = torch.nn.Parameter(start.clone())
    theirs = torch.nn.Parameter(start.float().clone())
    pair = make_ours([ours]), make_theirs([theirs])
    for _ in range(5):
        gradient = torch.randn(size).to(dtype)
        # DeepSpeed's Adagrad writes into the gradient.
        ours.grad, theirs.grad = gradient.clone(), gradient.float()
        for optimizer in pair:
            optimizer.step()
        with torch.no_grad():
            theirs.copy_(theirs.to(dtype).float())
    difference = (ours.float() - theirs).abs() / theirs.abs().clamp(min=1)
    moved = (ours.float() - start.float()).abs().mean()
    return {"difference": float(difference.max()) / ALLOWED[dtype], "moved": float(moved)}


def main():
    from deepspeed.ops.adagrad import DeepSpeedCPUAdagrad
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    common = {"lr": 0.1, "weight_decay": 0.1}
    makers = {
        "cpu_adam": {
            "AdamW": (lambda p: DeepSpeedCPUAdam(p, adamw_mode=True, **common),
                      lambda p: torch.optim.AdamW(p, **common)),
            "Adam": (lambda p: DeepSpeedCPUAdam(p, adamw_mode=False, **common),
                     lambda p: torch.optim.Adam(p, **common))},
        "cpu_adagrad": {
            "Adagrad": (lambda p: DeepSpeedCPUAdagrad(p, **common),
                        lambda p: torch.optim.Adagrad(p, **common))}}[sys.argv[1]]
    found = {"%s, %s, %d" % (name, dtype, size): compare(*pair, dtype, size)
             for name, pair in makers.items() for dtype in ALLOWED for size in SIZES}
    # DeepSpeed prints what it likes.
    os.write(1, b"\n" + json.dumps(found).encode())


main()
