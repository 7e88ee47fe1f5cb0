# SPDX-License-Identifier: Apache-2.0
"""fused_lamb: what it refuses needs no GPU; its results do. (The kernels' bodies run on the CPU in
body_test.cc.)"""
import ctypes
import math
import pathlib
import random
import struct
import sys
import unittest

import ds_ops
from ds_ops import _adam, _cuda, fused_lamb

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "common" / "tests"))
from fake_arrays import BASE, FakeArray, FakeTensor, four, gpu_missing

MISSING = gpu_missing(fused_lamb)

ROOM = FakeArray(BASE + (1 << 18), (64,), "|u1")


class Refused(unittest.TestCase):
    def refuse(self, error, pattern, *arrays, **keywords):
        with self.assertRaisesRegex(error, pattern):
            fused_lamb.step(*(arrays or four()), **{"step": 1, "workspace": ROOM, **keywords})

    def test_hyperparameters(self):
        self.refuse(ValueError, "^step:", step=0)
        self.refuse(ValueError, "^lr:", lr=math.nan)
        self.refuse(ValueError, "^chunk_size:", chunk_size=-1)
        self.refuse(ValueError, "^min_coeff:", min_coeff=-1)
        self.refuse(ValueError, "^min_coeff:", min_coeff=math.nan)
        self.refuse(ValueError, "^max_coeff:", min_coeff=2, max_coeff=1)
        self.refuse(ValueError, "^grad_scale:", grad_scale=0)
        self.refuse(ValueError, "^grad_scale:", grad_scale=math.inf)
        self.refuse(ValueError, "^bias_correction:", bias_correction="both")
        with self.assertRaisesRegex(ValueError, "^mode:"):
            fused_lamb.lamb(*[None] * 5, *[1.0] * 8, 2, 1, 0.0)

    def test_arrays(self):
        p, g, m, v = four()
        self.refuse(TypeError, "^params: must have .* has int32", *four(typestr="<i4"))
        self.refuse(TypeError, "^exp_avg: has elements of type float64, params has float32", p, g,
                    FakeArray(BASE + 8192, typestr="<f8"), v)
        self.refuse(TypeError, "^grads: must have elements of type float32, float16, bfloat16, has "
                    "float64", p, FakeArray(BASE + 4096, typestr="<f8"), m, v)
        halves = four(typestr="<f2")
        self.refuse(TypeError, "^grads: must have elements of type float16, has float32",
                    halves[0], g, *halves[2:])
        self.refuse(ValueError, "^exp_avg: is read-only", p, g,
                    FakeArray(BASE + 8192, readonly=True), v)
        self.refuse(ValueError, "shares memory with", p, g, m, m)

    def test_copies(self):
        def copy(**keywords):
            return FakeArray(**{"address": BASE + 65536, "typestr": "<f2", **keywords})
        self.refuse(TypeError, "^params_copy: must have elements of type float16, bfloat16, has "
                    "float32", params_copy=copy(typestr="<f4"))
        self.refuse(TypeError, "^params_copy: is for parameters of type float32, params has "
                    "float16", *four(typestr="<f2"), params_copy=copy())
        self.refuse(ValueError, "^params_copy: has shape", params_copy=copy(shape=(3,)))
        self.refuse(ValueError, "^params_copy: has 2 arrays, params has 1",
                    params_copy=[copy(), copy(address=BASE + 65600)])
        self.refuse(ValueError, "^params_copy: is read-only", params_copy=copy(readonly=True))
        self.refuse(ValueError, "shares memory with", params_copy=copy(address=BASE + 4096))
        self.refuse(ValueError, "^trust_ratios: shares memory with params_copy", params_copy=copy(),
                    trust_ratios=FakeArray(BASE + 65536, (1,)))

    def test_outputs(self):
        self.refuse(ValueError, "^workspace: must be given, 8 bytes", workspace=None)
        self.refuse(ValueError, "^workspace: has 7 bytes, 8 are needed",
                    workspace=FakeArray(BASE + 65536, (7,), "|u1"))
        self.refuse(ValueError, "^workspace: must begin at a multiple of 8",
                    workspace=FakeArray(BASE + 65540, (8,), "|u1"))
        self.refuse(ValueError, "^workspace: shares memory with exp_avg",
                    workspace=FakeArray(BASE + 8192 + 8, (8,), "|u1"))
        self.refuse(ValueError, "^workspace: is read-only",
                    workspace=FakeArray(BASE + 65536, (8,), "|u1", readonly=True))
        self.refuse(ValueError, "^trust_ratios: has 2 elements, params has 1 arrays",
                    trust_ratios=FakeArray(BASE + 65536, (2,)))
        self.refuse(TypeError, "^trust_ratios: has elements of type float64",
                    trust_ratios=FakeArray(BASE + 65536, (1,), "<f8"))
        self.refuse(ValueError, "^(trust_ratios|workspace): shares memory with",
                    trust_ratios=FakeArray(BASE + (1 << 18), (1,)))

    def test_values_on_the_gpu(self):
        far = BASE + 65536
        self.refuse(TypeError, "^step: has elements of type int32, not int64 or float32",
                    step=FakeArray(far, (1,), "<i4"))
        self.refuse(ValueError, "^lr: shares memory with exp_avg", lr=FakeArray(BASE + 8192, (1,)))
        self.refuse(ValueError, "^workspace: shares memory with lr",
                    lr=FakeArray(BASE + (1 << 18), (1,)))
        self.refuse(ValueError, "^params: must be in the memory of a CUDA GPU",
                    *four(FakeTensor, kind="cpu"))

    def test_nothing_to_do(self):
        fused_lamb.step([], [], [], [], step=1)

    def test_workspace_size(self):
        self.assertEqual(fused_lamb.workspace_size([]), 0)
        self.assertEqual(fused_lamb.workspace_size([0, 1, 4097]), 32)
        self.assertEqual(fused_lamb.workspace_size([17], "float64", 16), 32)
        with self.assertRaises(ds_ops.OpError) as caught:
            fused_lamb.workspace_size([-1])
        self.assertEqual(caught.exception.code, 2)

    def test_c_abi_checks_for_itself(self):
        settings = fused_lamb._options(1, 1e-3, (0.9, 0.999), 1e-8, 0, (0, 1), 1, True, False)

        def code(options=settings, chunk=0, arrays=True, **keywords):
            tables = {name: (ctypes.c_void_p * 1)(BASE + 4096 * i) for i, name in enumerate(
                ("grads", "params", "exp_avg", "exp_avg_sq", "params_copy"))}
            given = fused_lamb._Arrays(**{
                "count": 1, "sizes": (ctypes.c_int64 * 1)(4), "copy_dtype": 1,
                "workspace": BASE + 65536, "workspace_bytes": 8, **tables, **keywords})
            return fused_lamb._lib.ds_ops_fused_lamb_step(
                0, ctypes.byref(given) if arrays else None, options, None, chunk, None)
        table = ctypes.c_void_p * 1
        self.assertEqual(code(options=None), 1)
        self.assertEqual(code(arrays=False), 1)
        self.assertEqual(code(exp_avg=None), 1)
        self.assertEqual(code(exp_avg=table(None)), 1)
        self.assertEqual(code(workspace=None), 1)
        self.assertEqual(code(count=-1), 2)
        self.assertEqual(code(sizes=(ctypes.c_int64 * 1)(-4)), 2)
        self.assertEqual(code(dtype=9), 4)
        self.assertEqual(code(dtype=1), 5)
        self.assertEqual(code(copy_dtype=0), 5)
        self.assertEqual(code(grads=table(BASE + 2)), 6)
        self.assertEqual(code(workspace=BASE + 65538), 6)
        self.assertEqual(code(chunk=-1), 15)
        self.assertEqual(code(grads=table(BASE + 4096)), 17)
        self.assertEqual(code(trust_ratios=BASE + 65536), 17)
        self.assertEqual(code(workspace=BASE), 17)
        self.assertEqual(code(workspace_bytes=7), 70)
        for name, value, due in (("step", 0, 7), ("lr", math.nan, 8), ("beta1", 1.0, 9),
                                 ("min_coeff", 2.0, 71), ("max_coeff", math.nan, 71),
                                 ("grad_scale", 0.0, 72), ("correction", 3, 73)):
            bad = fused_lamb._Options.from_buffer_copy(settings)
            setattr(bad, name, value)
            self.assertEqual(code(options=bad), due)
            self.assertNotIn(b"unknown", fused_lamb._lib.ds_ops_error_text(due))
        self.assertEqual(code(count=0, grads=None), 0)


@unittest.skipUnless(MISSING, "this host has a GPU")
class WithoutGpu(unittest.TestCase):
    def test_says_why(self):
        with self.assertRaises(ds_ops.CannotRun) as caught:
            ds_ops.self_test("fused_lamb")
        self.assertRegex(caught.exception.reason, "^there is no ")
        with self.assertRaises(ds_ops.OpError) as caught:
            fused_lamb.step(*four(), step=1, workspace=ROOM, stream=0)
        self.assertGreater(caught.exception.code, 1000)
        self.assertRegex(str(caught.exception), "driver|device")


def halves(bits):
    return [struct.unpack("<e", struct.pack("<H", b))[0] for b in bits]


@unittest.skipIf(MISSING, f"no GPU: {MISSING}")
class OnGpu(unittest.TestCase):
    def take(self, sizes, skip=0, copies=False, **keywords):
        """Runs a step on tensors of `sizes`, `skip` elements after an aligned address: what went in
        and what came out, per tensor, and the trust ratios."""
        rng = random.Random(1)
        lib = fused_lamb._lib
        start = [[[rng.uniform(0.1, 1) for _ in range(n)] for _ in range(4)] for n in sizes]
        memory = [[_cuda.Memory(lib, [0.0] * skip + values) for values in row] for row in start]
        columns = [[FakeArray(row[i].pointer.value + 4 * skip, (n,))
                    for row, n in zip(memory, sizes)] for i in range(4)]
        room = _cuda.Memory(lib, [0] * fused_lamb.workspace_size(sizes), "uint8")
        ratios = _cuda.Memory(lib, [-1.0] * len(sizes))
        copy = [_cuda.Memory(lib, [0] * n, "uint16") for n in sizes]
        flag = _cuda.Memory(lib, [1.0])
        if keywords.get("noop_flag"):
            keywords["noop_flag"] = flag
        try:
            fused_lamb.step(*columns, workspace=room, trust_ratios=ratios, dtype="float16",
                            params_copy=copy if copies else None, **keywords)
            self.copies = [halves(m.read()) for m in copy]
            return start, [[m.read()[skip:] for m in row] for row in memory], ratios.read()
        finally:
            for m in [m for row in memory for m in row] + [room, ratios, flag] + copy:
                m.free()

    def check(self, start, found, ratios, **keywords):
        for before, after, ratio in zip(start, found, ratios):
            right, right_ratio = fused_lamb.reference(*before, **keywords)
            # Sums of n squares in float32: at most n / 512 + 40 additions of 2^-24 each.
            self.assertAlmostEqual(ratio, right_ratio, delta=1e-5 * right_ratio)
            _adam.check_close([after[0], after[2], after[3]], right)

    def test_reference(self):
        settings = dict(step=5, lr=1e-2, weight_decay=0.1)
        for skip in (0, 1):
            start, found, ratios = self.take([1, 513, 9000, 0, 40] * 12, skip, betas=(0.9, 0.99),
                                             **settings)
            self.check(start, found, ratios, **settings)

    def test_many_launches(self):
        settings = dict(step=1, lr=1e-2, weight_decay=0.0)
        start, found, ratios = self.take([3] * 1200, betas=(0.9, 0.99), **settings)
        self.check(start, found, ratios, **settings)

    def test_copies(self):
        _, found, _ = self.take([100, 0, 7], copies=True, step=1)
        for row, copy in zip(found, self.copies):
            self.assertEqual(copy, [struct.unpack("<e", struct.pack("<e", p))[0] for p in row[0]])

    def test_noop_flag(self):
        start, found, ratios = self.take([100], step=1, noop_flag=True)
        for before, after in zip(start[0], found[0]):
            self.assertEqual(list((ctypes.c_float * 100)(*before)), after)
        self.assertEqual(ratios, [-1.0])


if __name__ == "__main__":
    unittest.main()
