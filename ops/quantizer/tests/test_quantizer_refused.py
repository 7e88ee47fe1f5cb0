# SPDX-License-Identifier: Apache-2.0
"""quantizer: what it refuses, and what it does on a GPU, with the standard library alone."""
import array
import math
import pathlib
import random
import sys
import unittest

from ds_ops import _arrays, _cuda, quantizer
from ds_ops.quantizer import _calls
from ds_ops.quantizer import Asymmetric, Symmetric

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "common" / "tests"))
from fake_arrays import BASE, FakeArray, gpu_missing

MISSING = gpu_missing(quantizer)


def floats(count, seed=1, low=-2.0, high=3.0):
    rng = random.Random(seed)
    return array.array("f", [rng.uniform(low, high) for _ in range(count)])


def flat(params):
    return [x for row in params.tolist() for x in row]


class Refused(unittest.TestCase):
    def refuse(self, error, pattern, function, *arguments, **keywords):
        with self.assertRaisesRegex(error, pattern):
            function(*arguments, **keywords)

    def test_values(self):
        values = floats(12)
        q = quantizer.quantize
        self.refuse(ValueError, "^groups: must divide the 12 elements of values, is 5", q, values,
                    5, 8)
        self.refuse(ValueError, "^groups: must be a whole number from 1", q, values, 0, 8)
        self.refuse(ValueError, "^num_bits: must be 4 or 8, is 5", q, values, 1, 5)
        self.refuse(ValueError, "^quant_type:", q, values, 1, 8, 2)
        self.refuse(ValueError, "^rounding:", q, values, 1, 8, rounding="up")
        self.refuse(ValueError, "^seed:", q, values, 1, 8, rounding="stochastic", seed=-1)
        self.refuse(TypeError, "^values: must have elements of type float32.*has float64", q,
                    array.array("d", [1]), 1, 8)
        self.refuse(TypeError, "^values: a list is no array", q, [1.0], 1, 8)
        self.refuse(TypeError, "^values: .*uint16", q, array.array("H", [1]), 1, 8)
        self.refuse(ValueError, "^bits:", quantizer.fake_quantize, values, 1, 6)
        self.refuse(ValueError, "^eps:", quantizer.fake_quantize, values, 1, 8, eps=math.nan)
        self.refuse(ValueError, "^values: is read-only", quantizer.fake_quantize,
                    memoryview(values).toreadonly(), 1, 8)
        self.refuse(TypeError, "^vals: has elements of type float32, not float16",
                    quantizer.ds_quantize_fp16, values, 1, 8)

    def test_outputs(self):
        values = floats(12)
        codes, params = array.array("b", bytes(12)), array.array("f", [0])
        for out, error, pattern in (
                ((codes[:11], params), ValueError, r"^out\[0\]: must have 12 elements, has 11"),
                ((codes, array.array("f")), ValueError, r"^out\[1\]: must have 1 elements, has 0"),
                ((codes, codes), TypeError, r"^out\[1\]: has elements of type int8"),
                ((values, params), TypeError, r"^out\[0\]: must have elements of type int8")):
            self.refuse(error, pattern, quantizer.quantize, values, 1, 8, out=out)
        shared = memoryview(bytearray(64)).cast("f")
        self.refuse(ValueError, "shares memory", quantizer.quantize, shared, 1, 8,
                    out=(shared.cast("B").cast("b")[:16], params))
        self.assertEqual(bytes(codes), bytes(12))

    def test_layouts(self):
        values = floats(12)
        s, r = quantizer.swizzle_quant, quantizer.quantized_reduction
        self.refuse(ValueError, "^nodes: pipeline_size .* must divide the 4 groups", s, values, 4,
                    8, 0, 2, 4, 1)
        self.refuse(ValueError, "^devices_per_node: must be a whole number from 1", s, values, 4,
                    8, 0, 1, 1, 0)
        codes, params = quantizer.quantize(values, 6, 8)
        self.refuse(ValueError, "^in_groups: must be a multiple", r, codes, params, 6, 1, 8, 0, 4)
        self.refuse(ValueError, "^out_groups: must divide the 6 elements", r, codes, params, 6, 4,
                    8, 0, 2)
        self.refuse(ValueError, "^scales: must have 6 elements", r, codes, values, 6, 1, 8, 0, 2)
        self.refuse(ValueError, "^err_beta: must be from 0 to 1", quantizer.loco_swizzle_quant,
                    values, floats(12), 2.0, 1, 8, 0, 1, 1, 1)
        self.refuse(ValueError, "^error_feedback: must have 12 elements",
                    quantizer.loco_swizzle_quant, values, floats(11), 0.5, 1, 8, 0, 1, 1, 1)
        self.refuse(ValueError, "^group_size: must be 4 or 3", quantizer.dequantize, codes[:2],
                    params, 1, 4, group_size=2)
        self.refuse(ValueError, "^params: must have 6 elements", quantizer.dequantize, codes,
                    values, 6, 8)

    def test_two_places(self):
        self.refuse(ValueError, r"^out\[0\]: is on the cpu, values is on the cuda",
                    quantizer.quantize, FakeArray(), 1, 8,
                    out=(bytearray(4), array.array("f", [0])))

    def test_arrays_whose_library_makes_none(self):
        self.refuse(TypeError, "^a new array like a FakeArray cannot be made", quantizer.quantize,
                    FakeArray(), 1, 8)

    def test_gpu_form_checks_for_itself(self):
        library = _calls.library
        settings = _calls.options(1, 4, 8, 0)

        def fake(pointer=BASE, dtype=0, settings=settings, eps=1e-5, workspace=None, device=0):
            return library.ds_ops_quantizer_fake(device, pointer, dtype, settings, eps, workspace,
                                                 None)
        self.assertEqual(fake(settings=None), 1)
        self.assertEqual(fake(pointer=None), 1)
        self.assertEqual(fake(pointer=BASE + 2), 6)
        self.assertEqual(fake(dtype=3), 4)
        self.assertEqual(fake(eps=-1), 10)
        self.assertEqual(fake(workspace=BASE), 17)
        self.assertEqual(fake(workspace=BASE + 65), 6)
        for field, value, code in (("groups", 0, 20), ("group_size", -1, 2), ("bits", 3, 21),
                                   ("group_size", 2**62, 2), ("type", 2, 22), ("rounding", 2, 23)):
            bad = _calls.Options.from_buffer_copy(settings)
            setattr(bad, field, value)
            self.assertEqual(fake(settings=bad), code, field)
        nothing = _calls.Options.from_buffer_copy(settings)
        nothing.group_size = 0
        self.assertEqual(fake(pointer=None, settings=nothing, device=-1), 0)
        self.assertEqual(library.ds_ops_quantizer_quantize(
            0, BASE, 0, settings, _calls.Swizzle(1, 1, 2), _calls.Feedback(None, 0), BASE + 64,
            BASE + 128, None, None), 24)
        self.assertEqual(library.ds_ops_quantizer_quantize(
            0, BASE, 0, settings, _calls.Swizzle(1, 1, 1), _calls.Feedback(BASE + 256, -1),
            BASE + 64, BASE + 128, None, None), 25)
        self.assertEqual(library.ds_ops_quantizer_reduce(
            0, _calls.Shards(BASE, BASE + 64, 2, 1, 5), settings, _calls.Feedback(None, 0), 0,
            BASE + 128, BASE + 256, None, None), 26)
        self.assertEqual(library.ds_ops_quantizer_dequantize(0, BASE, BASE + 2, settings,
                                                             BASE + 64, 0, None), 6)

    def test_workspace(self):
        size = _calls.library.ds_ops_quantizer_workspace
        self.assertEqual([size(1, 100), size(0, 100), size(1, 1 << 20), size(3, 1 << 30),
                          size(5000, 1 << 20)], [0, 0, 8, 24, 0])


class NewArrays(unittest.TestCase):
    def test_of_buffers(self):
        new = _arrays.new_like
        self.assertEqual(new(array.array("f", [1]), 3).typecode, "f")
        self.assertEqual(new(bytearray(2), (3,), "int8").typecode, "b")
        self.assertEqual(new(bytearray(2), (2, 3), "float32").shape, (2, 3))
        self.assertEqual(new(bytearray(2), (0, 3), "float32").nbytes, 0)
        self.assertEqual(new(memoryview(b"ab"), 2, "bfloat16").itemsize, 2)


@unittest.skipIf(MISSING, f"no GPU: {MISSING}")
class OnGpu(unittest.TestCase):
    """The same bits as the CPU's; needs no array library."""

    def setUp(self):
        self.kept = []
        self.addCleanup(lambda: [memory.free() for memory in self.kept])

    def gpu(self, values, kind="float32"):
        self.kept.append(_cuda.Memory(_calls.library, values, kind))
        return self.kept[-1]

    def test_sizes_and_ways(self):
        for groups, size in ((1, 1), (100, 3), (300, 64), (9, 200), (5, 1000), (3, 4096),
                             (2, 16384), (2, 20000), (1, 70001)):
            values = floats(groups * size)
            for bits in (4, 8):
                for kind in (Symmetric, Asymmetric):
                    for rounding in ("nearest", "stochastic"):
                        with self.subTest(groups=groups, size=size, bits=bits, rounding=rounding):
                            self.compare(values, groups, bits, kind, rounding)

    def compare(self, values, groups, bits, kind, rounding):
        keywords = dict(rounding=rounding, seed=1, offset=2)
        codes, params = quantizer.quantize(values, groups, bits, kind, **keywords)
        found = (self.gpu([0] * memoryview(codes).nbytes, "int8"),
                 self.gpu([0.0] * groups * (1 + kind)))
        source = self.gpu(values)
        quantizer.quantize(source, groups, bits, kind, out=found, **keywords)
        self.assertEqual(found[0].read(), list(memoryview(codes).cast("B").cast("b")))
        self.assertEqual(found[1].read(), flat(params))
        symmetric = kind == Symmetric
        right = quantizer.fake_quantize(array.array("f", values), groups, bits,
                                        symmetric=symmetric, **keywords)
        quantizer.fake_quantize(source, groups, bits, symmetric=symmetric, **keywords)
        self.assertEqual(source.read(), list(right))
        quantizer.dequantize_fp32(*found, groups, bits, kind, out=source,
                                  group_size=len(values) // groups)
        back = array.array("f", values)
        quantizer.dequantize_fp32(codes, params, groups, bits, kind, out=back,
                                  group_size=len(values) // groups)
        self.assertEqual(source.read(), list(back))


if __name__ == "__main__":
    unittest.main()
