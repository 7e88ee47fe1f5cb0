# SPDX-License-Identifier: Apache-2.0
"""The GPU ops beside a copy of memory, PyTorch's and DeepSpeed's own.

    python3 tests/bench/ops_gpu.py [--python PY] [--elements 67108864] [--rounds 9]

PY has torch and ds_ops, and deepspeed if that is to be measured. What a row moves is counted as the
bytes that its formula has to read and write; the ratio is that rate by the rate of a copy on the
same device in the same round. Without a GPU each figure is "not measured".
"""
import argparse
import statistics
import subprocess
import sys

# What, and the bytes that each element costs.
ROWS = (("Adam, float32", 28), ("Adam, bfloat16", 14), ("LAMB, float32", 40),
        ("quantise to 8 bit, float16", 3), ("bias add, float16", 4))


def measured(elements, rounds):
    """{row: {tool: [rates by the copy's]}}; ImportError, RuntimeError: why there is nothing."""
    import torch
    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU")
    copy = copies(torch, elements)
    found = {}
    for row, width in ROWS:
        tools = WORK[row](torch, elements)
        found[row] = {name: [] for name in tools}
        for _ in range(rounds):
            rate = 8 * elements / seconds(torch, copy)
            for name, work in tools.items():
                found[row][name].append(width * elements / seconds(torch, work) / rate)
        del tools
    return torch.cuda.get_device_name(), found


def seconds(torch, work):
    """Of the device, for one call."""
    work()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(10):
        work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / 10


def copies(torch, elements):
    source = torch.zeros(elements, device="cuda")
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def optimizers(torch, elements, dtype, makers):
    """{tool: one step}, each of 64 tensors with that many elements in all."""
    steps = {}
    for name, maker in makers.items():
        params = [torch.nn.Parameter(torch.randn(elements // 64, device="cuda").to(dtype))
                  for _ in range(64)]
        for one in params:
            one.grad = torch.randn_like(one)
        steps[name] = maker(params).step
    return steps


def peer(module, name):
    """DeepSpeed's class or function, or None."""
    try:
        return getattr(__import__(module, fromlist=[name]), name)
    except Exception:  # pylint: disable=broad-except
        return None


def adam(torch, elements, dtype):
    from ds_ops import optim
    makers = {"ours": optim.FusedAdam,
              "torch": lambda params: torch.optim.AdamW(params, fused=True),
              "DeepSpeed": peer("deepspeed.ops.adam", "FusedAdam")}
    return optimizers(torch, elements, dtype, {k: v for k, v in makers.items() if v})


def lamb(torch, elements):
    from ds_ops import optim
    makers = {"ours": optim.FusedLamb, "DeepSpeed": peer("deepspeed.ops.lamb", "FusedLamb")}
    return optimizers(torch, elements, torch.float32, {k: v for k, v in makers.items() if v})


def quantise(torch, elements):
    from ds_ops import quantizer
    x = torch.randn(elements // 2048, 2048, device="cuda", dtype=torch.float16)
    tools = {"ours": lambda: quantizer.quantize(x, x.shape[0], 8, quantizer.Symmetric)}
    builder = peer("deepspeed.ops.op_builder", "QuantizerBuilder")
    if builder:
        theirs = builder().load()
        tools["DeepSpeed"] = lambda: theirs.quantize(x, x.shape[0], 8, theirs.Symmetric)
    return tools


def bias_add(torch, elements):
    from ds_ops import spatial_inference
    x = torch.randn(elements // 1280 // 64, 64, 1280, device="cuda", dtype=torch.float16)
    bias = torch.randn(1280, device="cuda", dtype=torch.float16)
    tools = {"ours": lambda: spatial_inference.nhwc_bias_add(x, bias), "torch": lambda: x + bias}
    builder = peer("deepspeed.ops.op_builder", "SpatialInferenceBuilder")
    if builder:
        theirs = builder().load()
        tools["DeepSpeed"] = lambda: theirs.nhwc_bias_add(x, bias)
    return tools


WORK = {"Adam, float32": lambda torch, n: adam(torch, n, torch.float32),
        "Adam, bfloat16": lambda torch, n: adam(torch, n, torch.bfloat16),
        "LAMB, float32": lamb, "quantise to 8 bit, float16": quantise,
        "bias add, float16": bias_add}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="another interpreter than this one")
    parser.add_argument("--elements", type=int, default=1 << 26)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    if given.python:
        words = [given.python, __file__, "--elements", str(given.elements), "--rounds",
                 str(given.rounds)]
        sys.exit(subprocess.run(words, check=False).returncode)
    try:
        device, found = measured(given.elements, given.rounds)
    except (ImportError, RuntimeError) as error:
        device, found = "not measured: %s" % error, {}
    print("\n### GPU ops, %d elements: %s\n" % (given.elements, device))
    print("| what | tool | rate, by that of a copy: median (min to max) |\n|---|---|---|")
    for row, _ in ROWS:
        for name, ratios in found.get(row, {"ours": None}).items():
            print("| %s | %s | %s |" % (row, name, "not measured" if ratios is None else
                                        "%.2f (%.2f to %.2f)" % (statistics.median(ratios),
                                                                 min(ratios), max(ratios))))


if __name__ == "__main__":
    main()
