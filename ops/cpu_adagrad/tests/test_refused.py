# SPDX-License-Identifier: Apache-2.0
"""What cpu_adagrad refuses, by name in Python and by code at the C border."""
import array
import ctypes
import math
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "common" / "tests"))

from ds_ops import cpu_adagrad  # noqa: E402
from optimizer_data import FakeTensor  # noqa: E402


class Refused(unittest.TestCase):
    def setUp(self):
        self.arrays = [array.array("f", [1.0, 2.0]) for _ in range(3)]

    def refuse(self, error, pattern, *arrays, **keywords):
        before = [bytes(a) for a in self.arrays]
        with self.assertRaisesRegex(error, pattern):
            cpu_adagrad.step(*(arrays or self.arrays), **keywords)
        self.assertEqual(before, [bytes(a) for a in self.arrays])

    def test_options(self):
        self.refuse(ValueError, "^lr:", lr=math.nan)
        self.refuse(ValueError, "^eps:", eps=-1.0)
        self.refuse(ValueError, "^weight_decay:", weight_decay=math.inf)
        self.refuse(ValueError, "^threads:", threads=-1)
        self.refuse(ValueError, "^cpu_level: must be one of baseline.*'mmx'", cpu_level="mmx")

    def test_arrays(self):
        p, g, v = self.arrays
        self.refuse(TypeError, "^grads: a int is no array", p, 3, v)
        self.refuse(TypeError, "^grads: must have .* has float64", p, array.array("d", [1, 2]), v)
        self.refuse(TypeError, "^exp_avg_sq: must have elements of type float32, has float16", p, g,
                    array.array("H", [1, 2]), state_dtype="float16")
        self.refuse(ValueError, r"^grads: has shape \(1,\), params has \(2,\)", p, g[:1], v)
        self.refuse(ValueError, "^exp_avg_sq: is read-only", p, g, memoryview(bytes(v)).cast("f"))
        self.refuse(ValueError, "shares memory with", p, g, p)
        self.refuse(ValueError, "shares memory with", param_copy=g)
        self.refuse(ValueError, "^params: must be in the memory", FakeTensor(
            p, "float32", device="cuda"), g, v)


class Border(unittest.TestCase):
    """The C ABI checks for itself."""

    def setUp(self):
        self.memory = (ctypes.c_float * 16)()
        self.p = ctypes.addressof(self.memory)
        self.options = cpu_adagrad._options(1e-2, 1e-10, 0.0)

    def tensor(self, **fields):
        p = self.p
        values = dict(params=p, grads=p + 4, exp_avg_sq=p + 8, param_copy=None, size=1,
                      param_dtype=0, grad_dtype=0, state_dtype=0, copy_dtype=0)
        return cpu_adagrad._op.tensor(**{**values, **fields})

    def code(self, *tensors, count=None, options=(), level=0, threads=0):
        array_of = (cpu_adagrad._op.tensor * len(tensors))(*tensors) if tensors else None
        return cpu_adagrad._lib.ds_ops_cpu_adagrad_step(
            array_of, len(tensors) if count is None else count,
            self.options if options == () else options, level, threads)

    def test_right(self):
        self.assertEqual(self.code(self.tensor()), 0)
        self.assertEqual(self.code(self.tensor(param_copy=self.p + 16, copy_dtype=2)), 0)
        self.assertEqual(self.code(self.tensor(params=None, size=0)), 0)

    def test_wrong(self):
        p, good = self.p, self.tensor()
        before = bytes(self.memory)
        for expected, arguments in (
                (1, dict(options=None)), (2, dict(count=-1)), (13, dict(level=9)),
                (13, dict(level=-1)), (81, dict(threads=-1))):
            self.assertEqual(self.code(good, **arguments), expected)
        self.assertEqual(self.code(count=1), 1)
        for expected, fields in (
                (1, dict(grads=None)), (2, dict(size=-1)), (2, dict(size=2**61)),
                (4, dict(param_dtype=3)), (5, dict(state_dtype=1)), (6, dict(grads=p + 18)),
                (17, dict(grads=p)), (17, dict(param_copy=p + 4)),
                (17, dict(exp_avg_sq=p + 4))):
            self.assertEqual(self.code(self.tensor(**fields)), expected, fields)
        for field, expected in (("lr", 8), ("eps", 10), ("weight_decay", 11)):
            bad = cpu_adagrad._options(1e-2, 1e-10, 0.0)
            setattr(bad, field, -math.inf)
            self.assertEqual(self.code(good, options=bad), expected)
        self.assertEqual(bytes(self.memory), before)


if __name__ == "__main__":
    unittest.main()
