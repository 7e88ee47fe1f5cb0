# SPDX-License-Identifier: Apache-2.0
"""cpu_adam against a reference in double, for all types and all CPU levels of this machine."""
import array
import ctypes
import math
import os
import random
import signal
import struct
import subprocess
import sys
import unittest

from ds_ops import _adam, cpu_adam

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None

# Unit roundoff and half the smallest subnormal of each type.
TYPES = {"float32": (2.0**-24, 2.0**-150), "float16": (2.0**-11, 2.0**-25),
         "bfloat16": (2.0**-8, 2.0**-134)}
PAIRS = [(p, g, s) for p in TYPES for g in dict.fromkeys((p, "float32"))
         for s in dict.fromkeys((p, "float32"))]


def bits_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def float_of(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def encode(values, dtype):
    """Doubles as an array of `dtype`; bfloat16 is cut off, the test data need not be rounded."""
    if dtype == "float32":
        return array.array("f", values)
    if dtype == "float16":
        return array.array("H", struct.pack(f"<{len(values)}e", *values))
    return array.array("H", [bits_of(v) >> 16 for v in values])


def decode(values, dtype):
    if dtype == "float32":
        return list(values)
    if dtype == "float16":
        return list(struct.unpack(f"<{len(values)}e", values.tobytes()))
    return [float_of(v << 16) for v in values]


def sample(n, pair, seed):
    """Random params, grads, exp_avg, exp_avg_sq of the types of `pair`."""
    rng = random.Random(seed)
    p, g, s = pair
    return [encode([rng.gauss(0, 1) for _ in range(n)], p),
            encode([rng.gauss(0, 0.1) for _ in range(n)], g),
            encode([rng.gauss(0, 0.05) for _ in range(n)], s),
            encode([rng.uniform(1e-3, 1e-2) for _ in range(n)], s)]


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

    def rounded(error, value, dtype):
        unit, tiny = TYPES[dtype]
        return error + unit * (abs(value) + error) + tiny
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


class Refused(unittest.TestCase):
    def setUp(self):
        self.arrays = [array.array("f", [1.0, 2.0]) for _ in range(4)]

    def refuse(self, error, pattern, *arrays, **keywords):
        arrays = arrays or self.arrays
        before = [bytes(a) for a in self.arrays]
        with self.assertRaisesRegex(error, pattern):
            cpu_adam.step(*arrays, **{"step": 1, **keywords})
        self.assertEqual(before, [bytes(a) for a in self.arrays])

    def test_hyperparameters(self):
        self.refuse(ValueError, "^step:", step=0)
        self.refuse(ValueError, "^step:", step=1.5)
        self.refuse(ValueError, "^lr:", lr=math.nan)
        self.refuse(ValueError, r"^betas\[1\]:", betas=(0.9, 1.0))
        self.refuse(ValueError, "^eps:", eps=-1.0)
        self.refuse(ValueError, "^weight_decay:", weight_decay=math.inf)

    def test_arrays(self):
        p, g, m, v = self.arrays
        self.refuse(TypeError, "^grads: a int is no array", p, 3, m, v)
        for code, name in (("d", "float64"), ("H", "uint16")):
            self.refuse(TypeError, f"^params: must have .* has {name}", array.array(code, [1, 2]),
                        g, m, v)
        self.refuse(TypeError, "^params: has elements of type float32, not bfloat16",
                    param_dtype="bfloat16")
        self.refuse(ValueError, r"^grads: has shape \(1,\), params has \(2,\)", p, g[:1], m, v)
        self.refuse(ValueError, "^exp_avg: is read-only", p, g, memoryview(bytes(m)).cast("f"),
                    v)
        self.refuse(ValueError, "^params: is not contiguous", memoryview(array.array(
            "f", range(4)))[::2], g, m, v)
        self.refuse(ValueError, "^exp_avg_sq: is not aligned", p, g, m,
                    memoryview(bytearray(12))[1:9].cast("f"))
        self.refuse(ValueError, r"^grads: has 1 arrays, params has 2", [p, p], [g], [m], [v])

    def test_shared_memory(self):
        p, g, m, v = self.arrays
        self.refuse(ValueError, "shares memory with", p, p, m, v)
        self.refuse(ValueError, "shares memory with", p, g, m, m)
        self.refuse(ValueError, r"params\[1\]: shares memory with params\[0\]", [p, p], [g, g],
                    [m, array.array("f", [1, 2])], [v, array.array("f", [1, 2])])

    def test_c_abi_checks_for_itself(self):
        lib, options = cpu_adam._lib, _adam.options(1, 1e-3, (0.9, 0.999), 1e-8, 0, True, True)
        p = ctypes.addressof(ctypes.c_float())
        tensor = cpu_adam._op.tensor(p, p, p, p, None, 1, 0, 0, 0)

        def code(tensor=tensor, count=1, options=options, level=0):
            return lib.ds_ops_cpu_adam_step(tensor, count, options, level)
        self.assertEqual(code(options=None), 1)
        self.assertEqual(code(tensor=None), 1)
        self.assertEqual(code(count=-1), 2)
        self.assertEqual(code(level=9), 13)
        self.assertEqual(code(tensor=cpu_adam._op.tensor(p, None, p, p, None, 1, 0, 0, 0)), 1)
        self.assertEqual(code(tensor=cpu_adam._op.tensor(p, p, p, p, None, -1, 0, 0, 0)), 2)
        self.assertEqual(code(tensor=cpu_adam._op.tensor(p, p, p, p, None, 1, 3, 3, 3)), 4)
        self.assertEqual(code(tensor=cpu_adam._op.tensor(p, p, p, p, None, 1, 0, 1, 0)), 5)
        self.assertEqual(code(tensor=cpu_adam._op.tensor(p + 1, p, p, p, None, 1, 0, 0, 0)), 6)
        for field, value, expected in (("step", 0, 7), ("lr", math.nan, 8), ("beta1", 1.0, 9),
                                       ("eps", -1, 10), ("weight_decay", math.inf, 11),
                                       ("mode", 2, 12)):
            bad = _adam.Options.from_buffer_copy(options)
            setattr(bad, field, value)
            self.assertEqual(code(options=bad), expected)
            self.assertNotIn(b"unknown", lib.ds_ops_error_text(expected))


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


@unittest.skipIf(torch is None, "PyTorch is not installed (DS_DEPLOY_TORCH=1 tests/run)")
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


class FakeTensor:
    """The methods of a PyTorch tensor that are used."""

    class Device:
        def __init__(self, kind):
            self.type, self.index = kind, 0 if kind != "cpu" else None

    def __init__(self, memory, dtype, contiguous=True, device="cpu"):
        self.memory, self.dtype, self.device = memory, f"torch.{dtype}", self.Device(device)
        self.shape, self.contiguous = (len(memory),), contiguous

    def data_ptr(self):
        return self.memory.buffer_info()[0]

    def element_size(self):
        return self.memory.itemsize

    def is_contiguous(self):
        return self.contiguous


class TensorMethods(unittest.TestCase):
    def test_bfloat16(self):
        pair = ("bfloat16", "bfloat16", "float32")
        plain, wrapped = sample(9, pair, 9), sample(9, pair, 9)
        take(plain, pair)
        types = (pair[0], pair[1], pair[2], pair[2])
        cpu_adam.step(*(FakeTensor(a, t) for a, t in zip(wrapped, types)), step=1)
        self.assertEqual(plain, wrapped)

    def test_refused(self):
        arrays = [array.array("f", [1.0]) for _ in range(4)]
        for pattern, keywords in (("^params: is not contiguous", dict(contiguous=False)),
                                  ("^params: must be in the memory", dict(device="cuda")),
                                  ("^params: is on the device meta", dict(device="meta"))):
            with self.assertRaisesRegex(ValueError, pattern):
                cpu_adam.step(FakeTensor(arrays[0], "float32", **keywords), *arrays[1:], step=1)


if __name__ == "__main__":
    unittest.main()
