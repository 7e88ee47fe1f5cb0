# SPDX-License-Identifier: Apache-2.0
"""The op's self-test: the standard library alone."""
from __future__ import annotations

from array import array
from typing import Any, Dict

from ds_ops import _cuda, quantizer
from ds_ops.quantizer import _calls

_SIZE, _GROUPS = 96, 3


def _values() -> list:
    return [(37 * i % 101 - 50) / 16 for i in range(_SIZE)]


def _known() -> None:
    # The step is 1; 0.7 is rounded up where the word of Philox's first known answer is below.
    codes, params = quantizer.quantize(array("f", [0.7, 0.7, 0.7, 0.7, -128.0]), 1, 8,
                                       rounding="stochastic", seed=0, offset=0)
    assert list(codes) == [1, 0, 0, 1, -128], f"stochastic rounding gave {list(codes)}"
    assert params.tolist() == [[1.0]], f"the step is {params.tolist()}"
    codes, _ = quantizer.quantize(array("f", [-8.0, 7.0, 2.5, -2.6]), 1, 4)
    assert bytes(codes) == b"\x87\x2d", f"codes of 4 bits are {bytes(codes)!r}"
    codes, params = quantizer.quantize(array("f", [-3.0, 5.0, 1.0]), 1, 8, 1)
    assert list(codes) == [-128, 127, 0], f"asymmetric codes are {list(codes)}"
    assert params.tolist() == [[0.03125, 1.0]], f"asymmetric params are {params.tolist()}"


def _results(make: Any) -> Dict[str, list]:
    """What each function gives, for arrays of ``make`` (values, typecode)."""
    results = {}
    for bits in (4, 8):
        values, fake = make(_values(), "f"), make(_values(), "f")
        codes, params = make([0] * (_SIZE * bits // 8), "b"), make([0.0] * 2 * _GROUPS, "f")
        total, sums = make([0] * (_SIZE // 3 * bits // 8), "b"), make([0.0] * 2, "f")
        back = make([0.0] * _SIZE, "f")
        quantizer.fake_quantize(fake, _GROUPS, bits)
        quantizer.swizzle_quant(values, _GROUPS, bits, 1, 1, 1, _GROUPS, rounding="stochastic",
                                seed=5, offset=bits, out=(codes, params))
        quantizer.quantized_reduction(codes, params, _GROUPS, 1, bits, 1, 3, out=(total, sums))
        quantizer.dequantize_fp32(codes, params, _GROUPS, bits, 1, out=back)
        results[f"fake {bits}"], results[f"codes {bits}"] = fake, codes
        results[f"params {bits}"], results[f"back {bits}"] = params, back
        results[f"total {bits}"], results[f"sums {bits}"] = total, sums
    return results


def run() -> None:
    """Known results on the CPU, then the same bits on the first GPU; CannotRun without one."""
    _known()
    right = {name: list(a) for name, a in _results(lambda v, code: array(code, v)).items()}
    for bits, step in ((4, 0.5), (8, 0.03125)):
        back = right[f"back {bits}"]
        # The step is at most range / 2^b, and stochastic rounding loses less than one.
        lost = max(abs(a - b) for a, b in zip(_values(), back))
        assert lost <= step, f"{bits} bits lose {lost}"
    _cuda.need_gpu(_calls.library)
    kept = []

    def on_gpu(values: list, code: str) -> _cuda.Memory:
        kept.append(_cuda.Memory(_calls.library, values, "float32" if code == "f" else "int8"))
        return kept[-1]
    try:
        for name, memory in _results(on_gpu).items():
            found = memory.read()
            assert found == right[name], f"{name}: the GPU gave {found}, the CPU {right[name]}"
    finally:
        for memory in kept:
            memory.free()
