# SPDX-License-Identifier: Apache-2.0
"""fused_adam: what it refuses needs no GPU; its results do."""
import ctypes
import math
import pathlib
import random
import sys
import types
import unittest
import weakref
from unittest import mock

import ds_ops
from ds_ops import _adam, _arrays, _cuda, _multi_tensor, fused_adam

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "common" / "tests"))
from fake_arrays import BASE, FakeArray, FakeTensor, four, gpu_missing

MISSING = gpu_missing(fused_adam)


class Refused(unittest.TestCase):
    def refuse(self, error, pattern, *arrays, **keywords):
        with self.assertRaisesRegex(error, pattern):
            fused_adam.step(*(arrays or four()), **{"step": 1, **keywords})

    def test_hyperparameters(self):
        self.refuse(ValueError, "^step:", step=0)
        self.refuse(ValueError, "^lr:", lr=math.nan)
        self.refuse(ValueError, "^chunk_size:", chunk_size=-1)
        with self.assertRaisesRegex(ValueError, "^mode:"):
            fused_adam.multi_tensor_adam(1, None, [[], [], [], []], 1, 0, 0, 1, 1, 2, 1, 0)

    def test_arrays(self):
        p, g, m, v = four()
        self.refuse(ValueError, "^grads: must be in the memory of a CUDA GPU", p, bytearray(4), m,
                    v)
        self.refuse(TypeError, "^params: must have .* has int32", *four(typestr="<i4"))
        self.refuse(TypeError, "^grads: has elements of type float16, params has float32", p,
                    FakeArray(BASE + 4096, typestr="<f2"), m, v)
        self.refuse(ValueError, "^grads: has shape", p, FakeArray(BASE + 4096, (3,)), m, v)
        self.refuse(ValueError, "^exp_avg: is read-only", p, g,
                    FakeArray(BASE + 8192, readonly=True), v)
        self.refuse(ValueError, "^params: is not contiguous", FakeArray(strides=(8,)), g, m, v)
        self.refuse(ValueError, "^params: is not aligned", FakeArray(BASE + 2), g, m, v)
        self.refuse(ValueError, "^params: has no memory", FakeArray(0), g, m, v)
        self.refuse(ValueError, "shares memory with", p, g, m, m)
        self.refuse(ValueError, "^inv_scale: shares memory with params", p, g, m, v,
                    inv_scale=FakeArray(BASE, (1,)))
        self.refuse(ValueError, "^inv_scale: shares memory with exp_avg_sq", p, g, m, v,
                    inv_scale=FakeArray(BASE + 3 * 4096 + 12, (1,)))
        self.refuse(ValueError, "^noop_flag: must have one element", p, g, m, v,
                    noop_flag=FakeArray(BASE + 65536, (2,), "<i4"))
        self.refuse(TypeError, "^noop_flag: has elements of type float16, not int32 or float32", p,
                    g, m, v, noop_flag=FakeArray(BASE + 65536, (1,), "<f2"))

    def test_values_on_the_gpu(self):
        far = BASE + 65536
        self.refuse(TypeError, "^step: has elements of type int32, not int64 or float32",
                    step=FakeArray(far, (1,), "<i4"))
        self.refuse(ValueError, "^step: must have one element, has 2",
                    step=FakeArray(far, (2,), "<i8"))
        self.refuse(ValueError, "^step: has 2 arrays, params has 1", step=[FakeArray(far, ())] * 2)
        self.refuse(ValueError, "^step: shares memory with params", step=FakeArray(BASE, (1,)))
        self.refuse(TypeError, "^lr: has elements of type float64", lr=FakeArray(far, (1,), "<f8"))
        self.refuse(ValueError, "^lr: must be in the memory of a CUDA GPU",
                    lr=FakeTensor(far, (1,), "cpu"))
        self.refuse(ValueError, "^lr: is on GPU 1, params is on GPU 0", *four(FakeTensor),
                    lr=FakeTensor(far, (1,), index=1))
        two = [[FakeArray(BASE + 4096 * i), FakeArray(BASE + 4096 * i + 64)] for i in range(4)]
        self.refuse(TypeError, r"^step\[1\]: has elements of type float32, step\[0\] has int64",
                    *two, step=[FakeArray(far, (), "<i8"), FakeArray(far + 8, ())])

    def test_two_gpus(self):
        p, g, m, _ = four(FakeTensor)
        self.refuse(ValueError, "^exp_avg_sq: is on GPU 1, params is on GPU 0", p, g, m,
                    FakeTensor(BASE + 65536, index=1))
        self.refuse(ValueError, "^params: must be in the memory of a CUDA GPU",
                    *four(FakeTensor, kind="cpu"))

    def test_nothing_to_do(self):
        fused_adam.step([], [], [], [], step=1)
        fused_adam.step(*([FakeArray(0, (0,))] for _ in range(4)), step=1)

    def test_c_abi_checks_for_itself(self):
        options = _adam.options(1, 1e-3, (0.9, 0.999), 1e-8, 0, True, True)

        def code(device=0, count=1, pointers=(BASE, BASE + 4096, BASE + 8192, BASE + 12288), size=4,
                 dtype=0, options=options, chunk=0, lists=True, values=None):
            table = [(ctypes.c_void_p * 1)(p) if lists else None for p in pointers]
            return fused_adam._lib.ds_ops_fused_adam_step(
                device, count, *table, (ctypes.c_int64 * 1)(size), dtype, options, values, chunk,
                None)

        def values(**keywords):
            return _multi_tensor.DeviceValues(**keywords)
        self.assertEqual(code(options=None), 1)
        self.assertEqual(code(lists=False), 1)
        self.assertEqual(code(pointers=(BASE, None, BASE, BASE)), 1)
        self.assertEqual(code(values=values(steps=(ctypes.c_void_p * 1)(None))), 1)
        self.assertEqual(code(count=-1), 2)
        self.assertEqual(code(size=-1), 2)
        self.assertEqual(code(size=2**62), 2)
        self.assertEqual(code(size=2**36, chunk=1), 2)
        self.assertEqual(code(dtype=9), 4)
        self.assertEqual(code(values=values(step_type=2)), 4)
        self.assertEqual(code(pointers=(BASE, BASE + 4096, BASE + 8193, BASE)), 6)
        self.assertEqual(code(values=values(lr=BASE + 2)), 6)
        self.assertEqual(code(values=values(noop_flag=BASE + 2)), 6)
        self.assertEqual(code(values=values(inv_scale=BASE + 2)), 6)
        self.assertEqual(code(values=values(steps=(ctypes.c_void_p * 1)(BASE + 65540))), 6)
        self.assertEqual(code(values=values(steps=(ctypes.c_void_p * 1)(BASE + 4096))), 17)
        self.assertEqual(code(chunk=-1), 15)
        self.assertEqual(code(pointers=(BASE, BASE + 15, BASE + 8192, BASE + 12288)), 6)
        self.assertEqual(code(pointers=(BASE, BASE + 12, BASE + 8192, BASE + 12288)), 17)
        self.assertEqual(code(count=0, lists=False), 0)
        self.assertEqual(code(device=-1, pointers=[None] * 4, size=0), 0)
        self.assertEqual(fused_adam._lib.ds_ops_cuda_device_count(None), 1)
        bad = _adam.Options.from_buffer_copy(options)
        bad.step = 0
        self.assertEqual(code(options=bad), 7)


class Caches(unittest.TestCase):
    """A cache is asked first; it forgets nothing that matters, and holds no tensor."""

    def columns(self, **keywords):
        return [[FakeTensor(BASE + 4096 * i, **keywords)] for i in range(4)]

    def find(self, cache, columns):
        """What is known; None, and from then on it is, where it had to be made."""
        made = []

        def make():
            rows = [tuple(_arrays.view("x", column[0], device="cuda") for column in columns)]
            made.append(_multi_tensor.Lists(rows, fused_adam._lib))
            return made[-1]
        lists = cache.lists(columns, make)
        return None if made else lists

    def setUp(self):
        self.library = mock.patch.object(_arrays, "library_of", lambda array: None)
        self.library.start()
        self.addCleanup(self.library.stop)

    def test_known_again(self):
        cache = fused_adam.Cache()
        self.assertIsNone(self.find(cache, self.columns()))
        found = self.find(cache, self.columns())
        self.assertEqual(found.columns[2][0], BASE + 8192)
        self.assertEqual((found.device, list(found.sizes), found.dtypes), (0, [4], ["float32"] * 4))
        self.assertIsNone(self.find(cache, self.columns(shape=(2, 2))))
        moved = self.columns()
        moved[1][0].address += 64
        self.assertIsNone(self.find(cache, moved))
        other = self.columns()
        other[3][0].dtype = "torch.int32"
        self.assertIsNone(self.find(cache, other))
        strided = self.columns()
        strided[1][0].is_contiguous = lambda: False
        with self.assertRaisesRegex(ValueError, "not contiguous"):
            self.find(cache, strided)

    def test_arrays_are_not_kept(self):
        cache = fused_adam.Cache()
        for columns in ([[FakeArray()]], [FakeTensor()]):
            made = [cache.lists(columns, object) for _ in range(2)]
            self.assertIsNot(*made)
        columns = self.columns()
        gone = weakref.ref(columns[1][0])
        self.find(cache, columns)
        del columns
        self.assertIsNone(gone())


class Stream(unittest.TestCase):
    def test_of_torch(self):
        """PyTorch is found through the tensor's class, and asked for its current stream."""
        fake = types.ModuleType("fake_torch")
        fake.cuda = types.SimpleNamespace(
            current_stream=lambda device: types.SimpleNamespace(cuda_stream=100 + device.index))
        tensor_class = type("Tensor", (FakeTensor,), {"__module__": "fake_torch._tensor"})
        sys.modules["fake_torch"] = fake
        try:
            view = _arrays.view("p", tensor_class(index=3), device="cuda")
            self.assertEqual(_cuda.stream_of(fused_adam._lib, [view], 3), 103)
        finally:
            del sys.modules["fake_torch"]

    def test_of_arrays(self):
        def views(*streams):
            return [_arrays.view("p", FakeArray(stream=s), device="cuda")
                    for s in streams]
        self.assertIsNone(_cuda.stream_of(fused_adam._lib, views(None, None), -1))
        self.assertEqual(_cuda.stream_of(fused_adam._lib, views(None, 2, 2), -1), 2)


@unittest.skipUnless(MISSING, "this host has a GPU")
class WithoutGpu(unittest.TestCase):
    def test_says_why(self):
        with self.assertRaises(ds_ops.CannotRun) as caught:
            ds_ops.self_test("fused_adam")
        self.assertRegex(caught.exception.reason, "^there is no ")
        for arrays in (four(), four(FakeTensor)):
            with self.assertRaises(ds_ops.OpError) as caught:
                fused_adam.step(*arrays, step=1, stream=0)
            self.assertGreater(caught.exception.code, 1000)
            self.assertRegex(str(caught.exception), "driver|device")


@unittest.skipIf(MISSING, f"no GPU: {MISSING}")
class OnGpu(unittest.TestCase):
    def take(self, sizes, skip=0, **keywords):
        """Runs a step on tensors of `sizes`, `skip` elements after an aligned address: what went in
        and what came out, per tensor. Keywords that are (dtype, value) become arrays."""
        rng = random.Random(1)
        start = [[[rng.uniform(0.1, 1) for _ in range(n)] for _ in range(4)] for n in sizes]
        memory = [[_cuda.Memory(fused_adam._lib, [0.0] * skip + values) for values in row]
                  for row in start]
        columns = [[FakeArray(row[i].pointer.value + 4 * skip, (n,))
                    for row, n in zip(memory, sizes)] for i in range(4)]
        scalars = []
        for name, value in keywords.items():
            if isinstance(value, tuple) and name != "betas":
                scalars.append(_cuda.Memory(fused_adam._lib, value[1:], value[0]))
                keywords[name] = FakeArray(scalars[-1].pointer.value, (1,),
                                           {"float32": "<f4", "int64": "<i8"}[value[0]])
        try:
            fused_adam.step(*columns, **keywords)
            return start, [[m.read()[skip:] for m in row] for row in memory]
        finally:
            for m in [m for row in memory for m in row] + scalars:
                m.free()

    def check(self, start, found, settings):
        for before, after in zip(start, found):
            _adam.check_close([after[0], after[2], after[3]], _adam.reference(*before, settings))

    def test_reference(self):
        settings = _adam.options(5, 1e-2, (0.9, 0.99), 1e-8, 0.1, False, True)
        for skip, chunk_size in ((0, 512), (1, 512), (0, 0)):
            start, found = self.take([1, 513, 2049, 40, 0] * 12, skip, step=5, lr=1e-2,
                                     betas=(0.9, 0.99), weight_decay=0.1, adamw=False,
                                     chunk_size=chunk_size)
            self.check(start, found, settings)

    def test_many_launches(self):
        settings = _adam.options(1, 1e-3, (0.9, 0.999), 1e-8, 0, True, True)
        start, found = self.take([3] * 1500, step=1)
        self.check(start, found, settings)

    def test_step_and_lr_on_the_gpu(self):
        settings = _adam.options(5, 1e-2, (0.9, 0.99), 1e-8, 0.1, True, True)
        for step in (("float32", 5.0), ("int64", 5)):
            start, found = self.take([100, 7], step=step, lr=("float32", 1e-2), betas=(0.9, 0.99),
                                     weight_decay=0.1)
            self.check(start, found, settings)

    def test_inv_scale(self):
        settings = _adam.options(1, 1e-3, (0.9, 0.999), 1e-8, 0, True, True)
        start, found = self.take([100], step=1, inv_scale=("float32", 0.25))
        start[0][1] = [g / 4 for g in start[0][1]]
        self.check(start, found, settings)

    def test_noop_flag(self):
        start, found = self.take([100], step=1, noop_flag=("float32", 1.0))
        for before, after in zip(start[0], found[0]):
            self.assertEqual(list((ctypes.c_float * 100)(*before)), after)


if __name__ == "__main__":
    unittest.main()
