# SPDX-License-Identifier: Apache-2.0
"""flatten, unflatten and as_bytes for buffers, NumPy arrays and tensors."""
import array
import ctypes
import sys
import unittest

from ds_ops import _arrays, utils

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None


class Buffers(unittest.TestCase):
    def test_there_and_back(self):
        for code in "bBhHiIlLqQfd":
            parts = [array.array(code, [1, 2, 3]), array.array(code), array.array(code, [4])]
            flat = utils.flatten(parts)
            self.assertEqual(flat, array.array(code, [1, 2, 3, 4]))
            views = utils.unflatten(flat, parts)
            self.assertEqual([v.tolist() for v in views], [[1, 2, 3], [], [4]])
            views[2][0] = 9
            self.assertEqual(flat[3], 9)
            out = [array.array(code, bytes(p.itemsize * len(p))) for p in parts]
            self.assertEqual(utils.unflatten(flat, parts, out=out)[2], array.array(code, [9]))

    def test_shapes(self):
        flat = array.array("i", range(10))
        matrix, line, one, empty = utils.unflatten(flat, [(2, 3), 2, (1, 1), (0, 5)])
        self.assertEqual(matrix.tolist(), [[0, 1, 2], [3, 4, 5]])
        self.assertEqual((line.tolist(), one.tolist(), len(empty)), ([6, 7], [[8]], 0))
        self.assertEqual(utils.flatten([matrix, line]).tolist(), list(range(8)))

    def test_given_output(self):
        out = bytearray(3)
        self.assertIs(utils.flatten([b"ab", bytearray(b"c")], out=out), out)
        self.assertEqual(out, b"abc")
        self.assertEqual(bytes(utils.flatten([b"ab", b"c"])), b"abc")
        self.assertEqual(utils.flatten([], out=bytearray()), b"")

    def test_padding_and_partition(self):
        for size, alignment, right in ((0, 1, 0), (0, 8, 0), (1, 8, 7), (8, 8, 0), (9, 8, 7),
                                       (2**40 + 1, 4096, 4095)):
            self.assertEqual(utils.padding(size, alignment), right)
        parts = [array.array("f", [1, 2, 3]), array.array("f", [4, 5])]
        flat = utils.flatten(parts, alignment=4)
        self.assertEqual(flat, array.array("f", [1, 2, 3, 4, 5, 0, 0, 0]))
        stale = array.array("f", [9] * 6)
        self.assertEqual(utils.flatten(parts, stale, alignment=3)[5], 0)
        ranks = utils.partition(flat, 4)
        self.assertEqual([r.tolist() for r in ranks], [[1, 2], [3, 4], [5, 0], [0, 0]])
        ranks[3][1] = 7
        self.assertEqual(flat[7], 7)
        self.assertEqual([v.tolist() for v in utils.unflatten(flat, parts)], [[1, 2, 3], [4, 5]])

    def test_as_bytes(self):
        words = array.array("H", [0x0102, 0x0304])
        seen = utils.cast_to_byte_tensor(words)
        self.assertEqual(seen.tobytes(), words.tobytes())
        seen[:] = b"\0\0\0\0"
        self.assertEqual(words, array.array("H", [0, 0]))
        first, second = utils.as_bytes([b"abc", array.array("d")])
        self.assertTrue(first.readonly)
        self.assertEqual((len(second), second.readonly), (0, False))

    def test_refused(self):
        f = array.array("f", [1, 2])
        for error, pattern, call in (
                (ValueError, "^arrays: is empty", lambda: utils.flatten([])),
                (TypeError, r"^arrays\[1\]: has elements of type int32",
                 lambda: utils.flatten([f, array.array("i", [1])])),
                (TypeError, r"^arrays\[0\]: a str is no array", lambda: utils.flatten(["ab"])),
                (ValueError, "^out: has 1 elements, arrays have 2",
                 lambda: utils.flatten([f], out=f[:1])),
                (ValueError, "^out: has 2 elements, arrays have 2 and 1 of padding",
                 lambda: utils.flatten([f], out=f[:], alignment=3)),
                (ValueError, "^alignment: must be a whole number from 1 on, is 0",
                 lambda: utils.flatten([f], alignment=0)),
                (ValueError, "^flat: has 2 elements, which is no multiple of 3: it lacks 1",
                 lambda: utils.partition(f, 3)),
                (ValueError, "^out: is read-only", lambda: utils.flatten([b"ab"], out=b"cd")),
                (TypeError, "^out: has elements of type uint8, not float32",
                 lambda: utils.flatten([f], out=bytearray(8))),
                (ValueError, "shares memory with", lambda: utils.flatten([f], out=f)),
                (ValueError, "^flat: has 2 elements, likes need 3",
                 lambda: utils.unflatten(f, [3])),
                (ValueError, r"^likes\[0\]: the shape \(-1,\)", lambda: utils.unflatten(f, [-1])),
                (TypeError, r"^likes\[0\]: a object is no", lambda: utils.unflatten(f, [object()])),
                (ValueError, r"^out\[0\]: has shape \(2,\), must have \(1,\)",
                 lambda: utils.unflatten(f, [1], out=[f[:]])),
                (ValueError, "^out: has 0 arrays", lambda: utils.unflatten(f, [1], out=[])),
                (ValueError, "^array: is not contiguous",
                 lambda: utils.as_bytes(memoryview(bytes(8))[::2]))):
            with self.subTest(pattern), self.assertRaisesRegex(error, pattern):
                call()

    def test_c_abi_checks_for_itself(self):
        memory = ctypes.create_string_buffer(8)
        address = ctypes.addressof(memory)

        other = ctypes.create_string_buffer(8)
        apart = ctypes.addressof(other)

        def code(flat=address, total=8, parts=(apart,), sizes=(8,), count=1):
            return utils._lib.ds_ops_utils_unflatten(
                flat, total, (ctypes.c_void_p * len(parts))(*parts) if parts else None,
                (ctypes.c_uint64 * len(sizes))(*sizes), count)
        self.assertEqual(code(count=-1), 2)
        self.assertEqual(code(parts=()), 1)
        self.assertEqual(code(flat=None), 1)
        self.assertEqual(code(parts=(None,)), 1)
        self.assertEqual(code(sizes=(9,)), 3)
        self.assertEqual(code(parts=(apart, apart), sizes=(4, 2**64 - 1), count=2), 3)
        self.assertEqual(utils._lib.ds_ops_utils_flatten(
            address, 8, (ctypes.c_void_p * 1)(apart), (ctypes.c_uint64 * 1)(7), 1, 0), 3)
        self.assertEqual(utils._lib.ds_ops_utils_flatten(
            address, 8, (ctypes.c_void_p * 1)(address + 4), (ctypes.c_uint64 * 1)(8), 1, 0), 17)
        for number in range(18):
            self.assertNotIn(b"unknown", utils._lib.ds_ops_error_text(number))
        self.assertEqual(utils._lib.ds_ops_error_text(-5), b"unknown error code")


@unittest.skipIf(numpy is None, "NumPy is not installed")
class NumPy(unittest.TestCase):
    def test_there_and_back(self):
        for dtype in ("float32", "float16", "int64", "complex128", "bool"):
            parts = [numpy.ones((2, 3), dtype), numpy.zeros((), dtype), numpy.zeros((0, 4), dtype)]
            flat = utils.flatten(parts)
            self.assertEqual((flat.dtype, flat.shape), (parts[0].dtype, (7,)))
            for view, part in zip(utils.unflatten(flat, parts), parts):
                numpy.testing.assert_array_equal(view, part)
                self.assertEqual(view.shape, part.shape)
                self.assertTrue(view.size == 0 or numpy.shares_memory(view, flat))

    def test_likes_need_not_be_contiguous(self):
        like = numpy.zeros((2, 6))[:, ::2]
        self.assertEqual(utils.unflatten(numpy.arange(6.0), [like])[0].shape, (2, 3))

    def test_as_bytes(self):
        matrix = numpy.arange(6, dtype="<u2").reshape(2, 3)
        seen = utils.as_bytes(matrix)
        self.assertEqual((seen.dtype, seen.shape), (numpy.uint8, (12,)))
        self.assertTrue(numpy.shares_memory(seen, matrix))
        with self.assertRaisesRegex(ValueError, "^array: is not contiguous"):
            utils.as_bytes(matrix.T)

    def test_dlpack(self):
        class Exporter:
            def __init__(self, owner):
                self.owner = owner

            def __dlpack__(self, **keywords):
                return self.owner.__dlpack__(**keywords)

        flat = numpy.zeros(6, "float32")
        parts = [numpy.ones((2, 2), "float32"), numpy.full(2, 2, "float32")]
        before = sys.getrefcount(parts[0])
        utils.flatten([Exporter(p) for p in parts], out=flat)
        self.assertEqual(flat.tolist(), [1, 1, 1, 1, 2, 2])
        self.assertEqual(sys.getrefcount(parts[0]), before, "the export was not freed")
        with self.assertRaisesRegex(ValueError, "^arrays: is not contiguous"):
            _arrays.view("arrays", Exporter(numpy.zeros((3, 4))[:, ::2]))
        exported = _arrays.view("out", Exporter(flat[1:]))
        self.assertEqual((exported.pointer, exported.dtype, exported.shape),
                         (flat.ctypes.data + 4, "float32", (5,)))


@unittest.skipIf(torch is None, "PyTorch is not installed")
class Torch(unittest.TestCase):
    def test_there_and_back(self):
        for dtype in (torch.float32, torch.bfloat16, torch.int64):
            parts = [torch.ones(2, 3, dtype=dtype), torch.zeros((), dtype=dtype)]
            flat = utils.flatten(parts)
            self.assertEqual((flat.dtype, tuple(flat.shape)), (dtype, (7,)))
            views = utils.unflatten(flat, parts)
            views[1].fill_(5)
            self.assertEqual(flat[6].item(), 5)
            self.assertEqual(views[0].shape, parts[0].shape)

    def test_as_bytes(self):
        tensor = torch.nn.Parameter(torch.ones(2, 3))
        seen = utils.as_bytes(tensor)
        self.assertEqual((seen.dtype, tuple(seen.shape)), (torch.uint8, (24,)))
        self.assertEqual(seen.data_ptr(), tensor.data_ptr())


class FakeTensor:
    """The methods of a PyTorch tensor that are used, over a memoryview of bytes."""

    def __init__(self, memory, shape, dtype="torch.bfloat16", size=2):
        self.memory, self.shape, self.dtype, self.size = memory, shape, dtype, size
        self.device = "cpu"

    def data_ptr(self):
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory)) if self.memory else 0

    def element_size(self):
        return self.size

    def is_contiguous(self):
        return True

    def detach(self):
        return self

    def reshape(self, shape):
        n = len(self.memory) // self.size
        return FakeTensor(self.memory, (n,) if shape == -1 else shape, self.dtype, self.size)

    def view(self, dtype):
        return FakeTensor(self.memory, (len(self.memory),), dtype, 1)

    def new_empty(self, n, dtype=None):
        return FakeTensor(memoryview(bytearray(n * self.size)), (n,), self.dtype, self.size)

    def __getitem__(self, cut):
        part = self.memory[cut.start * self.size:cut.stop * self.size]
        return FakeTensor(part, (cut.stop - cut.start,), self.dtype, self.size)


uint8 = "torch.uint8"  # what as_bytes looks for in the tensor's own module


class TensorMethods(unittest.TestCase):
    def test_there_and_back(self):
        parts = [FakeTensor(memoryview(bytearray(b"abcdef")), (3, 1)),
                 FakeTensor(memoryview(bytearray(b"gh")), (1,))]
        flat = utils.flatten(parts)
        self.assertEqual((bytes(flat.memory), flat.shape), (b"abcdefgh", (4,)))
        views = utils.unflatten(flat, parts)
        self.assertEqual([bytes(v.memory) for v in views], [b"abcdef", b"gh"])
        self.assertEqual([v.shape for v in views], [(3, 1), (1,)])
        seen = utils.as_bytes(parts[0])
        self.assertEqual((seen.dtype, seen.shape), ("torch.uint8", (6,)))


if __name__ == "__main__":
    unittest.main()
