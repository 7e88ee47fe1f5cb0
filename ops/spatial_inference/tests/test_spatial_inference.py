# SPDX-License-Identifier: Apache-2.0
"""spatial_inference: results of the CPU against an exact reference and torch, what is refused, and
the GPU's results where there is one.

Results have to be equal to the bit: the reference adds in double and rounds to float32, which is
the float32 sum (53 >= 2 * 24 + 2 bits: rounding twice is rounding once, Figueroa 1995).
"""
import array
import ctypes
import math
import pathlib
import random
import struct
import sys
import unittest

import ds_ops
from ds_ops import _cuda, spatial_inference

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "common" / "tests"))
from fake_arrays import BASE, FakeArray, gpu_missing

MISSING = gpu_missing(spatial_inference)
FUNCTIONS = (spatial_inference.nhwc_bias_add, spatial_inference.nhwc_bias_add_add,
             spatial_inference.nhwc_bias_add_bias_add)
CODES = {"float32": "f", "float16": "H", "bfloat16": "H"}


def float32(value):
    # struct.pack refuses what becomes infinite; ctypes does not.
    return ctypes.c_float(value).value


def encode(value, dtype):
    """A float32 as the element of an array: rounded to nearest even."""
    if dtype == "float32":
        return value
    if dtype == "float16":
        if math.isnan(value):
            return 0x7e00
        try:
            return struct.unpack("<H", struct.pack("<e", value))[0]
        except OverflowError:
            return 0x7c00 if value > 0 else 0xfc00
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    if math.isnan(value):
        return bits >> 16 | 0x40
    return bits + 0x7fff + (bits >> 16 & 1) >> 16


def decode(element, dtype):
    if dtype == "float32":
        return element
    if dtype == "float16":
        return struct.unpack("<e", struct.pack("<H", element))[0]
    return struct.unpack("<f", struct.pack("<I", element << 16))[0]


def make(values, dtype):
    return array.array(CODES[dtype], [encode(float32(v), dtype) for v in values])


def shaped(flat, *shape):
    return memoryview(flat).cast("B").cast(flat.typecode, shape) if len(flat) else flat


def reference(arrays, dtype):
    """The result of the function that takes so many arrays, as elements."""
    x, b, o, ob = ([decode(v, dtype) for v in a] for a in (*arrays, *([[]] * (4 - len(arrays)))))
    result = []
    for i, value in enumerate(x):
        total = float32(value + b[i % len(b)])
        if o:
            second = float32(o[i] + ob[i % len(b)]) if ob else o[i]
            total = float32(total + second)
        result.append(encode(total, dtype))
    return result


def sample(rows, channels, count, dtype, seed=1):
    rng = random.Random(seed)
    special = [math.inf, -math.inf, math.nan, 0.0, -0.0, 1e-41, 6e-8, 65504.0, 3.3e38]

    def values(n):
        return [rng.choice(special) if rng.random() < 0.1 else rng.gauss(0, 1) * 2**rng.randint(
            -12, 6) for _ in range(n)]
    sizes = (rows * channels, channels, rows * channels, channels)
    return [make(values(n), dtype) for n in sizes[:count]]


def fake(address=BASE, shape=(2, 4), **keywords):
    return FakeArray(address, shape, **keywords)


class Same(unittest.TestCase):
    def assert_same(self, found, expected, dtype):
        """The same bits, or NaN both."""
        found, expected = list(found), list(expected)
        self.assertEqual(len(found), len(expected))
        for i, (a, b) in enumerate(zip(found, expected)):
            x, y = decode(a, dtype), decode(b, dtype)
            if not (math.isnan(x) and math.isnan(y)):
                self.assertEqual((a, math.copysign(1, x)), (b, math.copysign(1, y)), i)


class OnCpu(Same):
    def test_reference(self):
        for dtype in CODES:
            for rows, channels in ((1, 1), (5, 1), (1, 3), (7, 3), (3, 8), (4, 17), (2, 64)):
                for count, function in zip((2, 3, 4), FUNCTIONS):
                    with self.subTest(dtype=dtype, rows=rows, channels=channels, count=count):
                        arrays = sample(rows, channels, count, dtype, rows)
                        maps = [shaped(a, len(a) // channels, channels) for a in arrays]
                        found = function(*maps, dtype=None if dtype == "float32" else dtype)
                        self.assertEqual(found.shape, (rows, channels))
                        self.assert_same(found.cast("B").cast(CODES[dtype]),
                                         reference(arrays, dtype), dtype)

    def test_one_rounding(self):
        """1 + 2^-11 + 2^-11 is 1 + 2^-10 in float16; rounding every sum to it loses both."""
        one, small = make([1], "float16"), make([2**-11], "float16")
        found = spatial_inference.nhwc_bias_add_add(one, small, small, dtype="float16")
        self.assertEqual(decode(found[0], "float16"), 1 + 2**-10)

    def test_order(self):
        """(x + b) + o, not x + (b + o)."""
        x, b, o = (make([v], "float32") for v in (1.0, 2.0**-24, -1.0))
        self.assertEqual(spatial_inference.nhwc_bias_add_add(x, b, o)[0], 0.0)
        self.assertEqual(spatial_inference.nhwc_bias_add_bias_add(x, b, o, b)[0], 2.0**-24)

    def test_one_axis_is_one_row(self):
        found = spatial_inference.nhwc_bias_add(make([1, 2], "float32"), make([3, 4], "float32"))
        self.assertEqual(list(found), [4, 6])

    def test_empty(self):
        nothing = array.array("f")
        for count, function in zip((2, 3, 4), FUNCTIONS):
            self.assertEqual(len(function(*[nothing] * count)), 0)

    def test_in_place(self):
        arrays = sample(5, 7, 4, "float32")
        expected = reference(arrays, "float32")
        for at in (0, 2):
            maps = [shaped(array.array("f", a), len(a) // 7, 7) for a in arrays]
            self.assertIs(FUNCTIONS[2](*maps, out=maps[at]), maps[at])
            self.assert_same(maps[at].cast("B").cast("f"), expected, "float32")

    @unittest.skipUnless(numpy, "NumPy is not installed")
    def test_numpy(self):
        rng = numpy.random.default_rng(1)
        for dtype in ("float32", "float16"):
            x, o = (rng.standard_normal((2, 3, 4, 5)).astype(dtype) for _ in range(2))
            b, ob = (rng.standard_normal(5).astype(dtype) for _ in range(2))
            wide = [a.astype("float32") for a in (x, b, o, ob)]
            expected = ((wide[0] + wide[1]) + (wide[2] + wide[3])).astype(dtype)
            found = FUNCTIONS[2](x, b, o, ob)
            numpy.testing.assert_array_equal(found, expected)
            turned = [a.transpose(0, 3, 1, 2) for a in (x, o)]
            found = FUNCTIONS[2](turned[0], b, turned[1], ob)
            self.assertEqual(found.strides, turned[0].strides)
            numpy.testing.assert_array_equal(found, expected.transpose(0, 3, 1, 2))

    @unittest.skipUnless(torch, "PyTorch is not installed")
    def test_torch(self):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for shape in ((2, 5, 3, 4), (1, 8, 1, 1), (3, 1, 2, 2), (2, 6, 0, 3)):
                x, o = (torch.randn(shape).to(dtype=dtype, memory_format=torch.channels_last)
                        for _ in range(2))
                b, ob = (torch.randn(shape[1]).to(dtype) for _ in range(2))
                column, other_column = (v.float()[:, None, None] for v in (b, ob))
                expected = ((x.float() + column) + (o.float() + other_column)).to(dtype)
                found = FUNCTIONS[2](x, b, o, ob)
                self.assertEqual(found.stride(), x.stride())
                self.assertTrue(torch.equal(found, expected))
                flat = [t.flatten(2).transpose(1, 2) for t in (x, o)]
                self.assertTrue(torch.equal(FUNCTIONS[2](flat[0], b, flat[1], ob),
                                            expected.flatten(2).transpose(1, 2)))

    @unittest.skipUnless(torch, "PyTorch is not installed")
    def test_bias_add_has_upstreams_bits(self):
        """One sum of two float16: float32 in between changes nothing (24 >= 2 * 11 + 2 bits)."""
        x = torch.randint(-2**15, 2**15, (64, 999), dtype=torch.int16).view(torch.float16)
        b = torch.randint(-2**15, 2**15, (999,), dtype=torch.int16).view(torch.float16)
        found = FUNCTIONS[0](x, b)
        self.assertTrue(torch.equal(found.nan_to_num(), (x + b).nan_to_num()))

    @unittest.skipUnless(torch, "PyTorch is not installed")
    def test_torch_layout_is_checked(self):
        x, b = torch.zeros(2, 4, 3, 4), torch.zeros(4)
        with self.assertRaisesRegex(ValueError, "^activation: is a tensor .* channels_last"):
            FUNCTIONS[0](x, b)
        last = x.to(memory_format=torch.channels_last)
        with self.assertRaisesRegex(ValueError, "^other: is a tensor .* channels_last"):
            FUNCTIONS[1](last, b, x)
        with self.assertRaisesRegex(ValueError, "^out: is a tensor .* channels_last"):
            FUNCTIONS[0](last, b, out=x)


class Refused(unittest.TestCase):
    def refuse(self, error, pattern, *arrays, **keywords):
        with self.assertRaisesRegex(error, pattern):
            FUNCTIONS[len(arrays) - 2](*arrays, **keywords)

    def test_arrays(self):
        x, b = shaped(array.array("f", [1] * 6), 2, 3), array.array("f", [1] * 3)
        out = shaped(array.array("f", [9] * 6), 2, 3)
        self.refuse(TypeError, "^activation: must have .* has float64", array.array("d", [1]), b)
        self.refuse(TypeError, "^activation: a list is no array", [1.0], b)
        self.refuse(TypeError, "^bias: has elements of type float64", x, array.array("d", [1] * 3))
        self.refuse(ValueError, "^bias: has 2 elements, activation has 3", x, b[:2], out=out)
        self.refuse(ValueError, "^other: has shape .6,., activation has .2, 3.", x, b,
                    array.array("f", [1] * 6))
        self.refuse(ValueError, "^other_bias: has 6 elements", x, b, x, x)
        self.refuse(TypeError, "^other: must be an array, is None", x, b, None)
        self.refuse(TypeError, "^other_bias: must be an array, is None", x, b, x, None)
        self.refuse(ValueError, "^out: has shape", x, b, out=x[:1])
        self.refuse(ValueError, "^out: is read-only", x, b, out=memoryview(bytes(24)).cast(
            "f", (2, 3)))
        self.refuse(ValueError, "^activation: has no axis",
                    memoryview(bytes(4)).cast("f", ()), b)
        self.assertEqual(out.tolist(), [[9] * 3] * 2)

    def test_overlap(self):
        memory = memoryview(bytearray(4 * 9))
        x, out = memory[:24].cast("f", (2, 3)), memory[4:28].cast("f", (2, 3))
        b = memory[24:].cast("f")
        self.refuse(ValueError, "shares memory with", x, b, out=out)
        self.refuse(ValueError, "shares memory with", x, memory[:12].cast("f"), out=x)

    def test_on_gpu(self):
        b = fake(BASE + 4096, (4,))
        self.refuse(ValueError, "^bias: must be in the memory of a CUDA GPU", fake(),
                    array.array("f", [0] * 4))
        self.refuse(TypeError, "pass out=", fake(), b)
        self.refuse(ValueError, "^activation: is not contiguous", fake(strides=(32, 8)), b,
                    out=fake(BASE + 8192))
        self.refuse(ValueError, "^activation: is not contiguous",
                    fake(shape=(2, 2, 2, 4), strides=(64, 4, 32, 8)), b, out=fake())
        self.refuse(ValueError, "^bias: is not aligned", fake(), fake(BASE + 4098, (4,)))
        self.refuse(ValueError, "^out: shares memory with activation", fake(), b,
                    out=fake(BASE + 4))

    def test_c_abi_checks_for_itself(self):
        """The CPU function is fuzzed in C++; the GPU's has the same checks."""
        call = spatial_inference._lib.ds_ops_spatial_inference_bias_add

        def code(out=BASE, x=BASE + 4096, b=BASE + 8192, o=None, ob=None, rows=2, channels=4,
                 dtype=0):
            return call(0, out, x, b, o, ob, rows, channels, dtype, None)
        self.assertEqual(code(out=None), 1)
        self.assertEqual(code(b=None), 1)
        self.assertEqual(code(rows=-1), 2)
        self.assertEqual(code(rows=2**31, channels=2**31), 2)
        self.assertEqual(code(dtype=3), 4)
        self.assertEqual(code(x=BASE + 4098), 6)
        self.assertEqual(code(b=BASE + 16), 17)
        self.assertEqual(code(o=BASE + 4), 17)
        self.assertEqual(code(ob=BASE + 12288), 40)
        self.assertEqual(code(None, None, None, rows=0), 0)


@unittest.skipUnless(MISSING, "this host has a GPU")
class WithoutGpu(unittest.TestCase):
    def test_says_why(self):
        with self.assertRaises(ds_ops.CannotRun) as caught:
            ds_ops.self_test("spatial_inference")
        self.assertRegex(caught.exception.reason, "^there is no ")
        with self.assertRaises(ds_ops.OpError) as caught:
            FUNCTIONS[0](fake(), fake(BASE + 4096, (4,)), out=fake(BASE + 8192))
        self.assertRegex(str(caught.exception), "driver|device")


@unittest.skipIf(MISSING, f"no GPU: {MISSING}")
class OnGpu(Same):
    def test_has_the_bits_of_the_cpu(self):
        kinds = {"float32": "float32", "float16": "uint16", "bfloat16": "uint16"}
        for dtype, held in kinds.items():
            for rows, channels in ((1, 1), (1000, 3), (700, 8), (3, 20), (33, 1000)):
                for count, function in zip((2, 3, 4), FUNCTIONS):
                    with self.subTest(dtype=dtype, rows=rows, channels=channels, count=count):
                        arrays = sample(rows, channels, count, dtype, rows)
                        memory = [_cuda.Memory(spatial_inference._lib, a, held)
                                  for a in (*arrays, arrays[0])]
                        try:
                            maps = [_cuda.Shaped(m, (m.count // channels, channels))
                                    for m in memory]
                            function(*maps[:-1], out=maps[-1],
                                     dtype=None if dtype == "float32" else dtype)
                            found = memory[-1].read()
                        finally:
                            for m in memory:
                                m.free()
                        self.assert_same(found, reference(arrays, dtype), dtype)


if __name__ == "__main__":
    unittest.main()
