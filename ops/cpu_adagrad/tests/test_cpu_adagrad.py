# SPDX-License-Identifier: Apache-2.0
"""cpu_adagrad against a reference in double, for all types and all CPU levels of this machine."""
import array
import math
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "common" / "tests"))

from ds_ops import cpu_adagrad  # noqa: E402
from optimizer_data import PAIRS, TYPES, decode, encode, float_of, rounded  # noqa: E402
from optimizer_data import sample as sample_of_adam  # noqa: E402

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None


def sample(n, pair, seed):
    """Random params, grads and sums of squares of the types of `pair`."""
    arrays = sample_of_adam(n, pair, seed)
    return arrays[:2] + arrays[3:]


def take(arrays, pair, **keywords):
    cpu_adagrad.step(*arrays, param_dtype=pair[0], grad_dtype=pair[1], state_dtype=pair[2],
                     **keywords)


def reference(p, g, v, lr=1e-2, eps=1e-10, weight_decay=0.0):
    """One element in double, from the paper, and how far float32 may be from it.

    With u = 2^-24: the gradient is a product and a sum, each factor rounded: 3u of its terms. Its
    square doubles that relative to v, and the sum rounds twice. The quotient moves by what the
    gradient does and by half of what v does, its own operations round 8 times.
    """
    u = 2.0**-24
    terms = abs(g) + weight_decay * abs(p)
    g += weight_decay * p
    v1 = v + g * g
    below = math.sqrt(v1) + eps
    change = lr * g / below
    g_error = 3 * u * terms
    v_error = (2 * abs(g) + g_error) * g_error + 3 * u * v1
    p_error = lr * g_error / below + abs(change) * (v_error / (2 * v1) * 1.1 + 8 * u)
    return (p - change, p_error), (v1, v_error)


class Reference(unittest.TestCase):
    def check(self, n, pair, level, **keywords):
        arrays = sample(n, pair, n)
        start = [decode(a, t) for a, t in zip(arrays, pair)]
        take(arrays, pair, cpu_level=level, **keywords)
        self.assertEqual(decode(arrays[1], pair[1]), start[1], "the gradient was written to")
        found = decode(arrays[0], pair[0]), decode(arrays[2], pair[2])
        for i in range(n):
            right = reference(*(column[i] for column in start), **keywords)
            for what, column, (value, error), dtype in zip(("param", "sum"), found, right,
                                                           (pair[0], pair[2])):
                self.assertLessEqual(abs(column[i] - value), rounded(error, value, dtype),
                                     f"{what} {i} of {n}, {pair}, {level}")
        return b"".join(a.tobytes() for a in arrays)

    def test_every_type_and_level(self):
        for pair in PAIRS:
            for n in (1, 7, 17, 1100):
                with self.subTest(pair=pair, n=n):
                    results = {self.check(n, pair, level, weight_decay=0.1)
                               for level in cpu_adagrad.cpu_levels()}
                    self.assertEqual(len(results), 1, "the levels give different bits")

    def test_every_option(self):
        for keywords in ({}, dict(lr=0.5, eps=0.1), dict(lr=0.0), dict(eps=0.0),
                         dict(weight_decay=10.0, lr=1.0)):
            for pair in (PAIRS[0], ("float16", "float32", "float32")):
                with self.subTest(pair=pair, **keywords):
                    results = {self.check(100, pair, level, **keywords)
                               for level in cpu_adagrad.cpu_levels()}
                    self.assertEqual(len(results), 1, "the levels give different bits")


class Special(unittest.TestCase):
    def test_nan_and_infinity(self):
        nan, inf = math.nan, math.inf
        for level in cpu_adagrad.cpu_levels():
            p = array.array("f", [1, 1, inf, nan, 1] * 4)
            g = array.array("f", [nan, inf, 1, 1, 1] * 4)
            v = array.array("f", bytes(80))
            cpu_adagrad.step(p, g, v, lr=0.5, cpu_level=level)
            for i in range(0, 20, 5):
                self.assertTrue(math.isnan(p[i]) and math.isnan(v[i]))
                self.assertTrue(math.isnan(p[i + 1]) and v[i + 1] == inf)
                self.assertTrue(p[i + 2] == inf and math.isnan(p[i + 3]))
                self.assertEqual((p[i + 4], v[i + 4]), (0.5, 1.0))

    def test_zero_gradient_and_denormals(self):
        tiny = float_of(1)
        for level in cpu_adagrad.cpu_levels():
            p, g = array.array("f", [1.0, 1.0] * 20), array.array("f", [0.0, tiny] * 20)
            v = array.array("f", bytes(160))
            cpu_adagrad.step(p, g, v, lr=1.0, eps=tiny, cpu_level=level)
            self.assertEqual((p[0], v[0]), (1.0, 0.0))
            # The square of the gradient vanishes: the step is lr * g / eps.
            self.assertEqual((p[1], v[1]), (0.0, 0.0))
            cpu_adagrad.step(p, g, v, eps=0.0, cpu_level=level)
            self.assertTrue(math.isnan(p[0]))

    def test_nothing_to_do(self):
        cpu_adagrad.step([], [], [])
        cpu_adagrad.step(*(array.array("f") for _ in range(3)))

    def test_many_tensors_are_each_on_its_own(self):
        """Also over threads: tensors of many sizes, as a list and one by one."""
        sizes = [0, 3, 16384, 70000, 1, 33000, 0, 16385, 50000]
        together = [sample(n, PAIRS[0], n) for n in sizes]
        alone = [sample(n, PAIRS[0], n) for n in sizes]
        cpu_adagrad.step(*(list(column) for column in zip(*together)), threads=3)
        for arrays in alone:
            for at in range(0, len(arrays[0]), 10000):
                cpu_adagrad.step(*(memoryview(a)[at:at + 10000] for a in arrays), threads=1)
        self.assertEqual(together, alone)

    def test_copy(self):
        """Rounded once from the float32 result, as the parameter is."""
        for level in cpu_adagrad.cpu_levels():
            for pair in PAIRS:
                for copy_dtype in TYPES:
                    with self.subTest(level=level, pair=pair, copy=copy_dtype):
                        arrays, wide = sample(1100, pair, 1), sample(1100, pair, 1)
                        copy, narrow = (encode([9.0] * 1100, copy_dtype) for _ in range(2))
                        take(arrays, pair, param_copy=copy, copy_dtype=copy_dtype, cpu_level=level)
                        wide = [encode(decode(a, t), "float32") for a, t in zip(wide, pair)]
                        take(wide, ("float32",) * 3, param_copy=narrow, copy_dtype=copy_dtype)
                        self.assertEqual(copy, narrow)
                        if copy_dtype == pair[0]:
                            self.assertEqual(copy, arrays[0])

    def test_deepspeed_names(self):
        self.assertEqual(cpu_adagrad.create_adagrad(3, 0.1, 1e-8, 0.1, True), 0)
        ours, right = sample(33, PAIRS[0], 5), sample(33, PAIRS[0], 5)
        copy = array.array("f", bytes(132))
        self.assertEqual(cpu_adagrad.adagrad_update(3, 1, 0.1, 1e-8, 0.1, *ours), 0)
        self.assertEqual(cpu_adagrad.adagrad_update_copy(3, 2, 0.1, 1e-8, 0.1, *ours, copy), 0)
        for _ in range(2):
            cpu_adagrad.step(*right, lr=0.1, eps=1e-8, weight_decay=0.1)
        self.assertEqual(ours, right)
        self.assertEqual(copy, ours[0])
        self.assertEqual(cpu_adagrad.destroy_adagrad(3), 0)
        with self.assertRaisesRegex(ValueError, "^optimizer_id: there is no Adagrad optimizer 3"):
            cpu_adagrad.adagrad_update(3, 1, 0.1, 1e-8, 0.1, *ours)


class Libraries(unittest.TestCase):
    @unittest.skipIf(numpy is None, "NumPy is not installed")
    def test_numpy(self):
        rng = numpy.random.default_rng(1)
        for dtype, unit in (("float32", 2.0**-23), ("float16", 2.0**-10)):
            p, g, v = (rng.uniform(0.1, 1, (3, 5)).astype(dtype) for _ in range(3))
            wide = [a.astype(float) for a in (p, g, v)]
            cpu_adagrad.step(p, g, v, lr=0.1)
            total = wide[2] + wide[1]**2
            # Values around 1: a few roundings of the type.
            numpy.testing.assert_allclose(v, total, rtol=4 * unit)
            numpy.testing.assert_allclose(p, wide[0] - 0.1 * wide[1] / numpy.sqrt(total),
                                          rtol=4 * unit, atol=4 * unit)
            with self.assertRaisesRegex(ValueError, "^params: is not contiguous"):
                cpu_adagrad.step(p[:, ::2], g, v)

    @unittest.skipIf(torch is None, "PyTorch is not installed (DS_DEPLOY_TORCH=1 tests/run)")
    def test_torch(self):
        for dtype, unit in ((torch.float32, 2.0**-24), (torch.bfloat16, 2.0**-8)):
            torch.manual_seed(1)
            start, g = torch.randn(5, 7).to(dtype), torch.randn(5, 7).to(dtype)
            theirs, ours = torch.nn.Parameter(start.double()), start.clone()
            optimizer = torch.optim.Adagrad([theirs], lr=0.1, weight_decay=0.1)
            theirs.grad = g.double()
            optimizer.step()
            cpu_adagrad.step(ours, g, torch.zeros(5, 7), lr=0.1, weight_decay=0.1)
            # The change is 0.1 and has 16 roundings of float32, then p is rounded to its type.
            torch.testing.assert_close(ours.double(), theirs.detach(), rtol=unit,
                                       atol=1.6 * 2.0**-24)


if __name__ == "__main__":
    unittest.main()
