# SPDX-License-Identifier: Apache-2.0
"""What cpu_adam refuses, by name in Python and by code at the C border."""
import array
import ctypes
import math
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "common" / "tests"))

from ds_ops import _adam, cpu_adam  # noqa: E402
from optimizer_data import FakeTensor, sample  # noqa: E402


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

    def test_levels_and_threads(self):
        self.refuse(ValueError, "^cpu_level: must be one of baseline.*'mmx'", cpu_level="mmx")
        for threads in (-1, 1.5, True, 2**31):
            self.refuse(ValueError, "^threads: must be a whole number from 0 on", threads=threads)

    def test_copy(self):
        p = self.arrays[0]
        self.refuse(ValueError, "shares memory with", param_copy=p)
        self.refuse(ValueError, r"^param_copy: has shape \(1,\), params has", param_copy=p[:1])
        self.refuse(TypeError, "^param_copy: must have elements of type .* has float64",
                    param_copy=array.array("d", [1, 2]))
        self.refuse(ValueError, "^param_copy: has 2 arrays, params has 1", param_copy=[p, p])

    def test_rollback(self):
        before = [bytes(a) for a in self.arrays]
        for pattern, keywords in ((r"^betas\[0\]: is 0.0, and a step", dict(betas=(0.0, 0.9))),
                                  (r"^betas\[1\]: is 1e-60, and a", dict(betas=(0.9, 1e-60))),
                                  ("^weight_decay: lr", dict(lr=0.5, weight_decay=2.0)),
                                  ("^weight_decay: lr", dict(lr=1e30, weight_decay=1e30)),
                                  ("^step:", dict(step=0))):
            with self.assertRaisesRegex(ValueError, pattern):
                cpu_adam.rollback(*self.arrays, **{"step": 1, **keywords})
        self.assertEqual(before, [bytes(a) for a in self.arrays])

    def test_deepspeed_names(self):
        with self.assertRaisesRegex(ValueError, "^optimizer_id: there is no Adam optimizer 77"):
            cpu_adam.adam_update(77, 1, 1e-3, 0.9, 0.999, 1e-8, 0, True, *self.arrays)
        with self.assertRaisesRegex(ValueError, "^lr:"):
            cpu_adam.create_adam(77, -1.0)
        self.assertEqual(cpu_adam.destroy_adam(77), 0)


class Border(unittest.TestCase):
    """The C ABI checks for itself."""

    def setUp(self):
        self.memory = (ctypes.c_float * 16)()
        self.p = ctypes.addressof(self.memory)
        self.options = _adam.options(1, 1e-3, (0.9, 0.999), 1e-8, 0, True, True)

    def tensor(self, **fields):
        p = self.p
        values = dict(params=p, grads=p + 4, exp_avg=p + 8, exp_avg_sq=p + 12, param_copy=None,
                      size=1, param_dtype=0, grad_dtype=0, state_dtype=0, copy_dtype=0)
        return cpu_adam._op.tensor(**{**values, **fields})

    def code(self, *tensors, count=None, options=(), level=0, threads=0, name="step"):
        array_of = (cpu_adam._op.tensor * len(tensors))(*tensors) if tensors else None
        function = getattr(cpu_adam._lib, f"ds_ops_cpu_adam_{name}")
        return function(array_of, len(tensors) if count is None else count,
                        self.options if options == () else options, level, threads)

    def test_right(self):
        self.assertEqual(self.code(self.tensor()), 0)
        self.assertEqual(self.code(self.tensor(param_copy=self.p + 16, copy_dtype=2)), 0)
        self.assertEqual(self.code(self.tensor(params=None, exp_avg=None, size=0)), 0)
        self.assertEqual(self.code(count=0), 0)

    def test_wrong(self):
        p, good = self.p, self.tensor()
        before = bytes(self.memory)
        for name in ("step", "rollback"):
            for expected, arguments in (
                    (1, dict(options=None)), (2, dict(count=-1)), (13, dict(level=9)),
                    (13, dict(level=-1)), (81, dict(threads=-1))):
                self.assertEqual(self.code(good, name=name, **arguments), expected)
            self.assertEqual(self.code(count=1, name=name), 1)
            for expected, fields in (
                    (1, dict(grads=None)), (1, dict(params=None)), (2, dict(size=-1)),
                    (2, dict(size=2**62)), (2, dict(size=2**61)), (4, dict(param_dtype=3)),
                    (4, dict(grad_dtype=9)), (4, dict(state_dtype=-1)),
                    (4, dict(param_copy=p + 16, copy_dtype=3)), (5, dict(state_dtype=1)),
                    (6, dict(params=p + 17)), (6, dict(param_copy=p + 17)),
                    (17, dict(grads=p)), (17, dict(exp_avg=p)), (17, dict(param_copy=p + 12))):
                self.assertEqual(self.code(self.tensor(**fields), name=name), expected, fields)
            other = self.tensor(params=p + 32, grads=p + 4, exp_avg=p + 36, exp_avg_sq=p + 12)
            self.assertEqual(self.code(good, other, name=name), 17)
        self.assertEqual(bytes(self.memory), before)

    def test_wrong_options(self):
        for field, value, expected in (
                ("step", 0, 7), ("lr", math.nan, 8), ("beta1", 1.0, 9), ("eps", -1, 10),
                ("weight_decay", math.inf, 11), ("mode", 2, 12)):
            bad = _adam.Options.from_buffer_copy(self.options)
            setattr(bad, field, value)
            self.assertEqual(self.code(self.tensor(), options=bad), expected)
            self.assertNotIn(b"unknown", cpu_adam._lib.ds_ops_error_text(expected))
        for options in (_adam.options(1, 1, (0, 0.9), 1e-8, 0, True, True),
                        _adam.options(1, 0.5, (0.9, 0.9), 1e-8, 2, True, True)):
            self.assertEqual(self.code(self.tensor(), options=options, name="rollback"), 80)
        self.assertIn(b"cannot be undone", cpu_adam._lib.ds_ops_error_text(80))


class TensorMethods(unittest.TestCase):
    def test_bfloat16(self):
        pair = ("bfloat16", "bfloat16", "float32")
        plain, wrapped = sample(9, pair, 9), sample(9, pair, 9)
        cpu_adam.step(*plain, step=1, param_dtype=pair[0], grad_dtype=pair[1])
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
