# SPDX-License-Identifier: Apache-2.0
"""fused_adam: what it refuses needs no GPU; its results do."""
import ctypes
import math
import random
import sys
import types
import unittest

import ds_ops
from ds_ops import _adam, _cuda, fused_adam

BASE = 1 << 20  # an address that is aligned and never read: the checks come before any use


class FakeArray:
    """An array that claims to lie on a GPU."""

    def __init__(self, address=BASE, shape=(4,), typestr="<f4", readonly=False, strides=None,
                 stream=None):
        self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr, "version": 3,
                                         "data": (address, readonly), "strides": strides,
                                         "stream": stream}


class FakeTensor:
    """The methods of a PyTorch tensor that are used."""

    class Device:
        def __init__(self, kind, index):
            self.type, self.index = kind, index

    def __init__(self, address=BASE, shape=(4,), kind="cuda", index=0):
        self.address, self.shape, self.dtype = address, shape, "torch.float32"
        self.device = self.Device(kind, index)

    def data_ptr(self):
        return self.address

    def element_size(self):
        return 4

    def is_contiguous(self):
        return True


def four(make=FakeArray, **keywords):
    return [make(address=BASE + 4096 * i, **keywords) for i in range(4)]


def gpu_missing():
    """Why there is no GPU to use, or None."""
    try:
        fused_adam.self_test()
    except ds_ops.CannotRun as error:
        return error.reason
    except Exception:  # pylint: disable=broad-except
        return None  # it is there, and the tests shall say what is wrong
    return None


class Refused(unittest.TestCase):
    def refuse(self, error, pattern, *arrays, **keywords):
        with self.assertRaisesRegex(error, pattern):
            fused_adam.step(*(arrays or four()), **{"step": 1, **keywords})

    def test_hyperparameters(self):
        self.refuse(ValueError, "^step:", step=0)
        self.refuse(ValueError, "^lr:", lr=math.nan)
        self.refuse(ValueError, "^chunk_size:", chunk_size=0)
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
        self.refuse(ValueError, "shares memory with inv_scale", p, g, m, v,
                    inv_scale=FakeArray(BASE, (1,)))
        self.refuse(ValueError, "^noop_flag: must have one element", p, g, m, v,
                    noop_flag=FakeArray(BASE + 65536, (2,), "<i4"))
        self.refuse(TypeError, "^noop_flag: has elements of type float32, not int32", p, g, m, v,
                    noop_flag=FakeArray(BASE + 65536, (1,)))

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

        def code(device=0, count=1, pointer=BASE, size=4, dtype=0, options=options, chunk=0,
                 lists=True):
            table = (ctypes.c_void_p * 1)(pointer) if lists else None
            return fused_adam._lib.ds_ops_fused_adam_step(
                device, count, table, table, table, table, (ctypes.c_int64 * 1)(size), dtype,
                options, None, None, chunk, None)
        self.assertEqual(code(options=None), 1)
        self.assertEqual(code(lists=False), 1)
        self.assertEqual(code(pointer=None), 1)
        self.assertEqual(code(count=-1), 2)
        self.assertEqual(code(size=-1), 2)
        self.assertEqual(code(size=2**62), 2)
        self.assertEqual(code(size=2**33, chunk=1), 2)
        self.assertEqual(code(dtype=9), 4)
        self.assertEqual(code(pointer=BASE + 1), 6)
        self.assertEqual(code(chunk=-1), 15)
        self.assertEqual(code(count=0, lists=False), 0)
        self.assertEqual(code(device=-1, pointer=None, size=0), 0)
        self.assertEqual(fused_adam._lib.ds_ops_cuda_device_count(None), 1)
        bad = _adam.Options.from_buffer_copy(options)
        bad.step = 0
        self.assertEqual(code(options=bad), 7)


class Stream(unittest.TestCase):
    def test_of_torch(self):
        """PyTorch is found through the tensor's class, and asked for its current stream."""
        fake = types.ModuleType("fake_torch")
        fake.cuda = types.SimpleNamespace(
            current_stream=lambda device: types.SimpleNamespace(cuda_stream=100 + device.index))
        tensor_class = type("Tensor", (FakeTensor,), {"__module__": "fake_torch._tensor"})
        sys.modules["fake_torch"] = fake
        try:
            view = fused_adam._arrays.view("p", tensor_class(index=3), device="cuda")
            self.assertEqual(_cuda.stream_of(fused_adam._lib, [view], 3), 103)
        finally:
            del sys.modules["fake_torch"]

    def test_of_arrays(self):
        def views(*streams):
            return [fused_adam._arrays.view("p", FakeArray(stream=s), device="cuda")
                    for s in streams]
        self.assertIsNone(_cuda.stream_of(fused_adam._lib, views(None, None), -1))
        self.assertEqual(_cuda.stream_of(fused_adam._lib, views(None, 2, 2), -1), 2)


@unittest.skipUnless(gpu_missing(), "this host has a GPU")
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


@unittest.skipIf(gpu_missing(), f"no GPU: {gpu_missing()}")
class OnGpu(unittest.TestCase):
    def take(self, sizes, noop_flag=None, inv_scale=None, **keywords):
        """Runs a step on tensors of `sizes`: what went in and what came out, per tensor."""
        rng = random.Random(1)
        start = [[[rng.uniform(0.1, 1) for _ in range(n)] for _ in range(4)] for n in sizes]
        memory = [[_cuda.Memory(fused_adam._lib, values) for values in row] for row in start]
        scalars = [_cuda.Memory(fused_adam._lib, [v]) for v in (noop_flag, inv_scale) if v is not None]
        extra = dict(inv_scale=scalars[-1]) if inv_scale is not None else {}
        if noop_flag is not None:
            extra["noop_flag"] = FakeArray(scalars[0].pointer.value, (1,), "<i4")
        try:
            fused_adam.step(*(list(column) for column in zip(*memory)), **keywords, **extra)
            return start, [[m.read() for m in row] for row in memory]
        finally:
            for m in [m for row in memory for m in row] + scalars:
                m.free()

    def test_reference(self):
        settings = _adam.options(5, 1e-2, (0.9, 0.99), 1e-8, 0.1, False, True)
        sizes = [1, 513, 2049, 40] * 12
        start, found = self.take(sizes, step=5, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1,
                                 adamw=False, chunk_size=512)
        for before, after in zip(start, found):
            _adam.check_close([after[0], after[2], after[3]], _adam.reference(*before, settings))

    def test_inv_scale(self):
        settings = _adam.options(1, 1e-3, (0.9, 0.999), 1e-8, 0, True, True)
        start, found = self.take([100], step=1, inv_scale=0.25)
        start[0][1] = [g / 4 for g in start[0][1]]
        _adam.check_close([found[0][i] for i in (0, 2, 3)], _adam.reference(*start[0], settings))

    def test_noop_flag(self):
        start, found = self.take([100], step=1, noop_flag=1.0)
        for before, after in zip(start[0], found[0]):
            self.assertEqual(list((ctypes.c_float * 100)(*before)), after)


if __name__ == "__main__":
    unittest.main()
