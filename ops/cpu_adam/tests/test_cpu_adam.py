# SPDX-License-Identifier: Apache-2.0
"""cpu_adam against a reference in double, for all types and all CPU levels of this machine."""
import array
import math
import os
import pathlib
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "common" / "tests"))

from ds_ops import _adam, cpu_adam  # noqa: E402
from optimizer_data import (PAIRS, TYPES, bits_of, decode, encode, float_of,  # noqa: E402
                            rounded, sample)

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None


def take(arrays, pair, **keywords):
    keywords.setdefault("step", 1)
    cpu_adam.step(*arrays, param_dtype=pair[0], grad_dtype=pair[1], state_dtype=pair[2], **keywords)


def bounds(start, result, pair, s):
    """How far each float32 result may be from the double one, element by element.

    With u = 2^-24: m is a sum of two products, each factor rounded: 4u of their magnitudes. v
    likewise, with g squared: 8u. A change of m or v moves the quotient by its derivative, the
    quotient's own operations round 8 times. Then the result is rounded to its type: its unit
    roundoff of the value, or half the smallest subnormal.
    """
    u = 2.0**-24
    p, g, m, v = (abs(x) for x in start)
    if s.mode == 0:
        g += s.weight_decay * p
    m_error = 4 * u * (s.beta1 * m + (1 - s.beta1) * g)
    v_error = 8 * u * (s.beta2 * v + (1 - s.beta2) * g * g)
    first = 1 - s.beta1**s.step if s.bias_correction else 1.0
    second = 1 - s.beta2**s.step if s.bias_correction else 1.0
    p1, m1, v1 = result
    below = math.sqrt(v1 / second) + s.eps
    below_error = v_error / second / math.sqrt(v1 / second)
    quotient = abs(m1) / first / below
    p_error = s.lr * (m_error / first / below + quotient * below_error / below) + 8 * u * (
        s.lr * quotient + s.lr * s.weight_decay * p)
    return (rounded(p_error, p1, pair[0]), rounded(m_error, m1, pair[2]),
            rounded(v_error, v1, pair[2]))


class Reference(unittest.TestCase):
    def check(self, n, pair, level, **keywords):
        arrays = sample(n, pair, n)
        start = [decode(a, t) for a, t in zip(arrays, (pair[0], pair[1], pair[2], pair[2]))]
        arguments = dict(step=1, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0,
                         adamw=True, bias_correction=True)
        arguments.update(keywords)
        settings = _adam.options(*arguments.values())
        right = _adam.reference(*start, settings)
        take(arrays, pair, cpu_level=level, **arguments)
        found = zip(*(decode(arrays[i], t) for i, t in ((0, pair[0]), (2, pair[2]), (3, pair[2]))))
        for i, (one, expected) in enumerate(zip(found, right)):
            allowed = bounds([column[i] for column in start], expected, pair, settings)
            names = ("param", "exp_avg", "exp_avg_sq")
            for what, a, b, bound in zip(names, one, expected, allowed):
                self.assertLessEqual(abs(a - b), bound, f"{what} {i} of {n}, {pair}, {level}")
        return b"".join(a.tobytes() for a in arrays)

    def test_every_type_and_level(self):
        for pair in PAIRS:
            for n in (1, 7, 17, 1100):
                with self.subTest(pair=pair, n=n):
                    results = {self.check(n, pair, level, weight_decay=0.01, step=n)
                               for level in cpu_adam.cpu_levels()}
                    self.assertEqual(len(results), 1, "the levels give different bits")

    def test_every_mode(self):
        for keywords in (dict(adamw=False), dict(adamw=False, weight_decay=0.1),
                         dict(bias_correction=False, weight_decay=0.1), dict(step=10**6),
                         dict(betas=(0.0, 0.0), eps=1e-3), dict(lr=0.5, step=7)):
            for pair in (PAIRS[0], ("float16", "float32", "float32")):
                with self.subTest(pair=pair, **keywords):
                    results = {self.check(100, pair, level, **keywords)
                               for level in cpu_adam.cpu_levels()}
                    self.assertEqual(len(results), 1, "the levels give different bits")


class Conversion(unittest.TestCase):
    def test_all_values_survive(self):
        """No gradient and lr 0: every pattern comes back, a NaN made quiet."""
        for dtype, quiet, infinity in (("float16", 0x200, 0x7c00), ("bfloat16", 0x40, 0x7f80)):
            for level in cpu_adam.cpu_levels():
                params = array.array("H", range(65536))
                zeros = [array.array("f", bytes(4 * 65536)) for _ in range(3)]
                take([params] + zeros, (dtype, "float32", "float32"), lr=0.0, cpu_level=level)
                expected = array.array("H", (b | quiet if b & 0x7fff > infinity else b
                                             for b in range(65536)))
                self.assertEqual(params, expected, f"{dtype}, {level}")

    def values(self, dtype):
        """float32 values at and beside the middle between neighbours of `dtype`, and (as
        integers) the pattern that each must be rounded to."""
        infinity = 0x7c00 if dtype == "float16" else 0x7f80
        for low in list(range(0, 64)) + list(range(64, infinity, 61)) + [infinity - 1]:
            a = decode(array.array("H", [low]), dtype)[0]
            # Beyond the largest number there is one more step of the same width.
            b = decode(array.array("H", [low + 1]), dtype)[0] if low + 1 < infinity else (
                2 * a - decode(array.array("H", [low - 1]), dtype)[0])
            middle = bits_of((a + b) / 2)
            for bits, right in ((middle - 1, low), (middle, low + (low & 1)),
                                (middle + 1, low + 1)):
                yield float_of(bits), right
                yield -float_of(bits), right | 0x8000
        yield math.inf, infinity
        yield 3e38, infinity if dtype == "float16" else 0x7f62

    def test_rounds_to_nearest_even(self):
        """With beta1 0 the first moment is the gradient, rounded to the state's type."""
        for dtype in ("float16", "bfloat16"):
            cases = list(self.values(dtype))
            for level in cpu_adam.cpu_levels():
                n = len(cases)
                arrays = [array.array("H", bytes(2 * n)), array.array("f", [c[0] for c in cases]),
                          array.array("H", bytes(2 * n)), array.array("H", bytes(2 * n))]
                take(arrays, (dtype, "float32", dtype), betas=(0.0, 0.0), cpu_level=level)
                for (value, right), got in zip(cases, arrays[2]):
                    if right != 0x8000:  # 0 * m + g loses the sign of a zero
                        self.assertEqual(hex(got), hex(right), f"{value!r}, {dtype}, {level}")


class Special(unittest.TestCase):
    def test_nan_and_infinity(self):
        nan, inf = math.nan, math.inf
        for level in cpu_adam.cpu_levels():
            p = array.array("f", [1, 1, inf, nan, 1] * 4)
            g = array.array("f", [nan, inf, 1, 1, 1] * 4)
            m, v = array.array("f", bytes(80)), array.array("f", bytes(80))
            cpu_adam.step(p, g, m, v, step=1, cpu_level=level)
            for i in range(0, 20, 5):
                self.assertTrue(all(math.isnan(x[i]) for x in (p, m, v)))
                self.assertTrue(math.isnan(p[i + 1]) and m[i + 1] == inf and v[i + 1] == inf)
                self.assertTrue(p[i + 2] == inf and math.isnan(p[i + 3]))
                self.assertAlmostEqual(p[i + 4], 0.999, places=6)

    def test_nothing_to_do(self):
        cpu_adam.step([], [], [], [], step=1)
        cpu_adam.step(*(array.array("f") for _ in range(4)), step=1)

    def test_many_tensors_are_each_on_its_own(self):
        """Also over threads: tensors of many sizes, as a list and one by one."""
        sizes = [0, 3, 16384, 70000, 1, 33000, 0, 16385, 50000]
        together = [sample(n, PAIRS[0], n) for n in sizes]
        alone = [sample(n, PAIRS[0], n) for n in sizes]
        cpu_adam.step(*(list(column) for column in zip(*together)), step=2)
        for arrays in alone:
            for at in range(0, len(arrays[0]), 10000):
                cpu_adam.step(*(memoryview(a)[at:at + 10000] for a in arrays), step=2)
        self.assertEqual(together, alone)

    def test_child_of_a_process_with_threads(self):
        arrays = [array.array("f", bytes(800000)) for _ in range(4)]
        cpu_adam.step(*arrays, step=1)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            cpu_adam.step(*arrays, step=2)
            os._exit(0)
        self.assertEqual(os.waitpid(child, 0)[1], 0, "the child did not end well")

    def test_number_of_threads_does_not_matter(self):
        program = ("import array,hashlib,random;from ds_ops import cpu_adam;r=random.Random(1);"
                   "a=[array.array('f',(r.random() for _ in range(150000))) for _ in range(4)];"
                   "cpu_adam.step(*a,step=1);print(hashlib.sha256(a[0]).hexdigest())")
        found = {subprocess.run([sys.executable, "-c", program], check=True, capture_output=True,
                                env={**os.environ, "OMP_NUM_THREADS": str(n)}).stdout
                 for n in (1, 3)}
        self.assertEqual(len(found), 1)

    def test_number_of_threads_as_an_argument(self):
        found = []
        for threads in (None, 0, 1, 2, 5):
            arrays = sample(150000, PAIRS[0], 3)
            cpu_adam.step(*arrays, step=1, threads=threads)
            found.append([a.tobytes() for a in arrays])
        self.assertTrue(all(one == found[0] for one in found))

    def test_no_more_threads_than_cpus(self):
        program = ("import array,os;from ds_ops import cpu_adam;"
                   "a=[array.array('f',bytes(4000000)) for _ in range(4)];%s"
                   "cpu_adam.step(*a,step=1,threads=%d);print(len(os.listdir('/proc/self/task')))")
        one = "os.sched_setaffinity(0,[min(os.sched_getaffinity(0))]);"
        for before, threads, expected in ((one, 0, b"1\n"), ("", 1, b"1\n"), (one, 3, b"3\n")):
            done = subprocess.run([sys.executable, "-c", program % (before, threads)], check=True,
                                  capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "4"})
            self.assertEqual(done.stdout, expected)

    def test_level_from_the_environment(self):
        arrays = [array.array("f", [1.0]) for _ in range(4)]
        os.environ["DS_OPS_CPU_LEVEL"] = "mmx"
        try:
            with self.assertRaisesRegex(ValueError, "cpu_level: must be one of baseline.*'mmx'"):
                cpu_adam.step(*arrays, step=1)
            os.environ["DS_OPS_CPU_LEVEL"] = "baseline"
            cpu_adam.step(*arrays, step=1)
        finally:
            del os.environ["DS_OPS_CPU_LEVEL"]

    def test_zero_gradient_and_denormals(self):
        """A zero gradient on zero moments leaves the parameter; squares that vanish leave eps."""
        for level in cpu_adam.cpu_levels():
            tiny = float_of(1)
            p, g = array.array("f", [1.0, tiny] * 20), array.array("f", [0.0, tiny] * 20)
            m, v = array.array("f", bytes(160)), array.array("f", bytes(160))
            cpu_adam.step(p, g, m, v, step=1, cpu_level=level)
            self.assertEqual(p[0], 1.0)
            # m = 0.1 * 2^-149 rounds to 0, and so does the change.
            self.assertEqual((p[1], m[1], v[1]), (tiny, 0.0, 0.0))


class ParamCopy(unittest.TestCase):
    def test_every_type_and_level(self):
        """The copy has the bits of the parameter where the types are the same, and is rounded once
        from the float32 result otherwise: the parameter of a call with float32 says which."""
        for level in cpu_adam.cpu_levels():
            for pair in PAIRS:
                for copy_dtype in TYPES:
                    for n in (1, 17, 1100):
                        with self.subTest(level=level, pair=pair, copy=copy_dtype, n=n):
                            self.check(level, pair, copy_dtype, n)

    def check(self, level, pair, copy_dtype, n):
        arrays, wide = sample(n, pair, n), sample(n, pair, n)
        types = (pair[0], pair[1], pair[2], pair[2])
        copy = encode([9.0] * n, copy_dtype)
        take(arrays, pair, param_copy=copy, copy_dtype=copy_dtype, cpu_level=level, step=3)
        wide = [encode(decode(a, t), "float32") for a, t in zip(wide, types)]
        narrow = encode([9.0] * n, copy_dtype)
        take(wide, ("float32",) * 3, param_copy=narrow, copy_dtype=copy_dtype, cpu_level="baseline",
             step=3)
        self.assertEqual(copy, narrow)
        if copy_dtype == pair[0]:
            self.assertEqual(copy, arrays[0])

    def test_threads(self):
        arrays, plain = sample(100003, PAIRS[0], 1), sample(100003, PAIRS[0], 1)
        copy = array.array("f", bytes(4 * 100003))
        cpu_adam.step(*arrays, step=1, param_copy=copy, threads=3)
        cpu_adam.step(*plain, step=1)
        self.assertEqual(arrays, plain)
        self.assertEqual(copy, arrays[0])

    def test_deepspeed_names(self):
        values = (2, 1e-2, 0.9, 0.99, 1e-8, 0.1, True)
        for adamw in (True, False):
            self.assertEqual(cpu_adam.create_adam(5, 1e-2, 0.9, 0.99, 1e-8, 0.1, adamw, True), 0)
            ours, right = sample(33, PAIRS[0], 5), sample(33, PAIRS[0], 5)
            copy = array.array("H", bytes(66)) if numpy is None else numpy.zeros(33, "float16")
            if numpy is None:
                self.assertEqual(cpu_adam.adam_update(5, *values, *ours), 0)
            else:
                self.assertEqual(cpu_adam.adam_update_copy(5, *values, *ours, copy), 0)
                numpy.testing.assert_array_equal(copy, numpy.array(ours[0]).astype("float16"))
            cpu_adam.step(*right, step=2, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1, adamw=adamw)
            self.assertEqual(ours, right)
            self.assertEqual(cpu_adam.adam_rollback(5, *values, *ours), 0)
            cpu_adam.rollback(*right, step=2, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1,
                              adamw=adamw)
            self.assertEqual(ours, right)
        cpu_adam.destroy_adam(5)


@unittest.skipIf(numpy is None, "NumPy is not installed")
class NumPy(unittest.TestCase):
    def arrays(self, dtype="float32", shape=(3, 5)):
        rng = numpy.random.default_rng(1)
        return [rng.uniform(0.1, 1, shape).astype(dtype) for _ in range(4)]

    def test_in_place(self):
        for dtype, bound in (("float32", 1e-6), ("float16", 1e-3)):
            p, g, m, v = self.arrays(dtype)
            right = numpy.array(_adam.reference(
                *(a.astype(float).ravel() for a in (p, g, m, v)),
                _adam.options(1, 1e-3, (0.9, 0.999), 1e-8, 0, True, True)))
            cpu_adam.step(p, g, m, v, step=1)
            numpy.testing.assert_allclose(p.ravel(), right[:, 0], rtol=bound)
            numpy.testing.assert_allclose(v.ravel(), right[:, 2], rtol=bound)

    def test_refused(self):
        p, g, m, v = self.arrays()
        with self.assertRaisesRegex(ValueError, "^params: is not contiguous"):
            cpu_adam.step(p[:, ::2], g, m, v, step=1)
        with self.assertRaisesRegex(TypeError, "^params: is big-endian"):
            cpu_adam.step(p.astype(">f4"), g, m, v, step=1)
        with self.assertRaisesRegex(ValueError, "^grads: has shape"):
            cpu_adam.step(p, g.ravel(), m, v, step=1)
        v.flags.writeable = False
        with self.assertRaisesRegex(ValueError, "^exp_avg_sq: is read-only"):
            cpu_adam.step(p, g, m, v, step=1)


@unittest.skipIf(torch is None, "PyTorch is not installed")
class Torch(unittest.TestCase):
    def test_same_as_torch(self):
        for adamw, kind in ((True, torch.optim.AdamW), (False, torch.optim.Adam)):
            torch.manual_seed(1)
            theirs = torch.nn.Parameter(torch.randn(5, 7))
            ours, m, v = theirs.detach().clone(), torch.zeros(5, 7), torch.zeros(5, 7)
            optimizer = kind([theirs], lr=1e-2, weight_decay=0.1)
            for step in (1, 2, 3):
                theirs.grad = torch.randn(5, 7)
                cpu_adam.step(ours, theirs.grad.clone(), m, v, step=step, lr=1e-2, weight_decay=0.1,
                              adamw=adamw)
                optimizer.step()
            torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-6)

    def test_bfloat16(self):
        p, g = torch.ones(9, dtype=torch.bfloat16), torch.ones(9, dtype=torch.bfloat16)
        cpu_adam.step(p, g, torch.zeros(9), torch.zeros(9), step=1, lr=0.5)
        self.assertTrue(torch.equal(p, torch.full((9,), 0.5, dtype=torch.bfloat16)))


if __name__ == "__main__":
    unittest.main()
