# SPDX-License-Identifier: Apache-2.0
"""random_ltd: results of the CPU against lists and torch, what is refused, and the GPU's results
where there is one. Elements are only moved, so results are equal to the byte."""
import array
import ctypes
import pathlib
import random
import sys
import unittest

import ds_ops
from ds_ops import _cuda, random_ltd

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

MISSING = gpu_missing(random_ltd)


def shaped(flat, *shape):
    return memoryview(flat).cast("B").cast(flat.typecode, shape)


def ints(values, *shape):
    return shaped(array.array("i", values), *shape)


def flat_of(view):
    return list(view.cast("B").cast(view.format))


def choose(rows, kept, tokens, seed=1):
    """Rows of distinct indices."""
    rng = random.Random(seed)
    return [rng.sample(range(tokens), kept) for _ in range(rows)]


def fake_ids(*shape, address=BASE + (1 << 16)):
    return FakeArray(address, shape, "<i4")


class OnCpu(unittest.TestCase):
    def test_sort(self):
        for layers, n, kept, tokens in ((1, 1, 1, 1), (2, 3, 5, 9), (1, 2, 3000, 5000),
                                        (1, 1, 300, 400000), (2, 2, 7, 7)):
            rows = choose(layers * n, kept, tokens)
            ids = ints(sum(rows, []), layers, n, kept)
            self.assertIs(random_ltd.token_sort_(ids, tokens), ids)
            self.assertEqual(flat_of(ids), sum(map(sorted, rows), []))

    def test_gather_and_scatter(self):
        n, tokens, kept = 3, 11, 4
        rows = choose(n, kept, tokens)
        for code in "bhfd":
            for channels in (1, 3, 8):
                values = array.array(code, [i % 100 for i in range(n * tokens * channels)])

                def at(i, s, batch_first, of=tokens):
                    start = (i * of + s if batch_first else s * n + i) * channels
                    return slice(start, start + channels)
                for first in (True, False):
                    shape = (n, tokens) if first else (tokens, n)
                    every = shaped(values, *shape, channels)
                    part = random_ltd.token_gather(every, ints(sum(rows, []), n, kept), first)
                    self.assertEqual(part.shape,
                                     ((n, kept) if first else (kept, n)) + (channels,))
                    found, whole = flat_of(part), list(values)
                    for i, row in enumerate(rows):
                        for r, s in enumerate(row):
                            self.assertEqual(found[at(i, r, first, kept)], whole[at(i, s, first)])
                    back = shaped(array.array(code, bytes(every.nbytes)), *shape, channels)
                    self.assertIs(random_ltd.token_scatter_(
                        back, part, ints(sum(rows, []), n, kept), first), back)
                    found = flat_of(back)
                    for i, row in enumerate(rows):
                        for s in range(tokens):
                            self.assertEqual(found[at(i, s, first)],
                                             whole[at(i, s, first)] if s in row
                                             else [0] * channels)

    def test_masks(self):
        layers, n, tokens, kept = 3, 2, 7, 4
        rows = choose(layers * n, kept, tokens)
        values = array.array("h", range(n * tokens * tokens))
        mask = shaped(values, n, 1, tokens, tokens)
        found = random_ltd.mask_gather_bert(mask, ints(sum(rows, []), layers, n, kept))
        self.assertEqual(found.shape, (layers, n, 1, kept, kept))
        self.assertEqual(flat_of(found), [values[(k % n * tokens + i) * tokens + j]
                                          for k, row in enumerate(rows) for i in row for j in row])
        found = random_ltd.mask_gather_gpt(mask, kept)
        self.assertEqual(found.shape, (n, 1, kept, kept))
        self.assertEqual(flat_of(found), [values[(k * tokens + i) * tokens + j]
                                          for k in range(n) for i in range(kept)
                                          for j in range(kept)])

    def test_empty(self):
        ids = array.array("i")
        self.assertIs(random_ltd.token_sort_(ids, 0), ids)
        self.assertEqual(random_ltd.mask_gather_gpt(ints([1], 1, 1, 1, 1), 0).nbytes, 0)

    @unittest.skipUnless(numpy, "NumPy is not installed")
    def test_numpy(self):
        rng = numpy.random.default_rng(1)
        x = rng.standard_normal((2, 9, 5))
        ids = numpy.stack([rng.permutation(9)[:4] for _ in range(2)]).astype("int32")
        random_ltd.token_sort_(ids, 9)
        numpy.testing.assert_array_equal(ids, numpy.sort(ids))
        part = random_ltd.token_gather(x, ids, True)
        numpy.testing.assert_array_equal(part, numpy.take_along_axis(x, ids[:, :, None], 1))
        # [S, N, C] seen as [N, S, C]: no copy is needed, of what is written neither.
        turned = numpy.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
        numpy.testing.assert_array_equal(random_ltd.token_gather(turned, ids, True), part)
        random_ltd.token_scatter_(turned, -part, ids, True)
        numpy.testing.assert_array_equal(random_ltd.token_gather(turned, ids, True), -part)
        none = numpy.zeros((2, 0), "int32")
        self.assertEqual(random_ltd.token_gather(x, none, True).shape, (2, 0, 5))
        self.assertEqual(random_ltd.token_gather(x[:0], none[:0], True).shape, (0, 0, 5))

    @unittest.skipUnless(torch, "PyTorch is not installed")
    def test_torch(self):
        for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool):
            x = torch.randn(3, 17, 6).mul(5).to(dtype)
            ids = torch.stack([torch.randperm(17)[:8] for _ in range(6)]).int().view(2, 3, 8)
            random_ltd.token_sort_(ids, 17)
            self.assertTrue(torch.equal(ids, ids.sort().values))
            index = ids[0].long()[:, :, None].expand(-1, -1, 6)
            part = random_ltd.token_gather(x, ids[0], True)
            self.assertTrue(torch.equal(part, x.gather(1, index)))
            late = random_ltd.token_gather(x.transpose(0, 1).contiguous(), ids[0], False)
            self.assertTrue(torch.equal(late, part.transpose(0, 1)))
            zeros = torch.zeros_like(x)
            back = random_ltd.token_scatter_(zeros.clone(), part, ids[0], True)
            self.assertTrue(torch.equal(back, zeros.scatter(1, index, part)))
            mask = torch.randn(3, 1, 17, 17).mul(5).to(dtype)
            found = random_ltd.mask_gather_bert(mask, ids)
            for layer in range(2):
                for n in range(3):
                    rows = ids[layer, n].long()
                    self.assertTrue(torch.equal(found[layer, n, 0], mask[n, 0][rows][:, rows]))
            self.assertTrue(torch.equal(random_ltd.mask_gather_gpt(mask, 5), mask[..., :5, :5]))


class Refused(unittest.TestCase):
    def refuse(self, error, pattern, function, *arguments, **keywords):
        with self.assertRaisesRegex(error, pattern):
            getattr(random_ltd, function)(*arguments, **keywords)

    def test_indices(self):
        x, part = shaped(array.array("f", range(12)), 1, 4, 3), shaped(
            array.array("f", [7] * 6), 1, 2, 3)
        for row, said in (([0, 4], "negative or not below"), ([-1, 0], "negative or not below")):
            ids = ints(row, 1, 2)
            self.refuse(ValueError, f"^sorted_indices: .*{said}", "token_gather", x, ids, True,
                        out=part)
            self.refuse(ValueError, f"^sorted_indices: .*{said}", "token_scatter_", x, part, ids,
                        True)
            self.refuse(ValueError, f"^unsorted_token_ids: .*{said}", "token_sort_", ids, 4)
            self.assertEqual(flat_of(ids), row)
        twice = ints([1, 1], 1, 2)
        self.refuse(ValueError, "^unsorted_token_ids: .*twice", "token_sort_", twice, 4)
        self.refuse(ValueError, "^sorted_indices: .*twice", "token_scatter_", x, part, twice, True)
        self.assertEqual((flat_of(x), flat_of(part)), (list(range(12)), [7] * 6))
        mask = shaped(array.array("f", range(4)), 1, 1, 2, 2)
        self.refuse(ValueError, "^sorted_indices: .*negative or not below", "mask_gather_bert",
                    mask, ints([0, 2], 1, 1, 2))

    def test_arrays(self):
        x, ids = shaped(array.array("f", range(12)), 1, 4, 3), ints([0, 1], 1, 2)
        self.refuse(TypeError, "^unsorted_token_ids: has elements of type int64", "token_sort_",
                    array.array("q", [1]), 4)
        self.refuse(TypeError, "^original_tokens: must be a whole", "token_sort_", ids, 1.5)
        self.refuse(ValueError, "^original_tokens: must be from 0", "token_sort_", ids, -1)
        self.refuse(ValueError, "^unsorted_token_ids: has 2 indices", "token_sort_", ids, 1)
        self.refuse(ValueError, "^unsorted_token_ids: is read-only", "token_sort_",
                    memoryview(bytes(4)).cast("i"), 4)
        self.refuse(TypeError, "^sorted_indices: has elements of type int64", "token_gather", x,
                    shaped(array.array("q", [0, 1]), 1, 2), True)
        self.refuse(ValueError, "^sorted_indices: has shape", "token_gather", x, ids, False)
        self.refuse(ValueError, "^activations: has shape .12,., must have .N, S, C.",
                    "token_gather", array.array("f", range(12)), ids, True)
        self.refuse(ValueError, "^out: has 1 sequences of 4 tokens .* must have 1 of 2",
                    "token_gather", x, ids, True, out=shaped(array.array("f", [0] * 12), 1, 4, 3))
        self.refuse(TypeError, "^layer_activations: has elements of type float64",
                    "token_scatter_", x, shaped(array.array("d", [0] * 6), 1, 2, 3), ids, True)
        self.refuse(ValueError, "^dense_mask: has shape", "mask_gather_gpt", x, 1)
        mask = shaped(array.array("f", range(4)), 1, 1, 2, 2)
        self.refuse(ValueError, "^truncated_seq_len: is 3", "mask_gather_gpt", mask, 3)
        self.refuse(ValueError, "^sorted_indices: has shape", "mask_gather_bert", mask, ids)
        self.refuse(ValueError, "^out: has shape", "mask_gather_gpt", mask, 1, out=mask)
        self.refuse(ValueError, "^status: is for arrays on a GPU", "token_sort_", ids, 4,
                    status=array.array("i", [0]))

    def test_overlap(self):
        memory = memoryview(bytearray(48))
        x, part = memory.cast("f", (1, 4, 3)), memory[8:32].cast("f", (1, 2, 3))
        ids = ints([0, 1], 1, 2)
        self.refuse(ValueError, "shares memory with", "token_gather", x, ids, True, out=part)
        self.refuse(ValueError, "shares memory with", "token_scatter_", x, part, ids, True)

    @unittest.skipUnless(numpy, "NumPy is not installed")
    def test_strides(self):
        x, ids = numpy.zeros((2, 4, 6), "float32"), numpy.zeros((2, 1), "int32")
        self.refuse(ValueError, "^activations: is not contiguous", "token_gather", x[:, ::2], ids,
                    True)
        self.refuse(ValueError, "^activations: is not contiguous", "token_gather", x[:, :, ::2],
                    ids, True)
        self.refuse(ValueError, "^all_activations: is read-only", "token_scatter_",
                    numpy.broadcast_to(x[:1], (1, 4, 6)), x[:1, :1], ids[:1], True)

    def test_on_gpu(self):
        x, ids = FakeArray(shape=(2, 3, 4)), fake_ids(2, 1)
        self.refuse(TypeError, "pass out=", "token_gather", x, ids, True)
        self.refuse(ValueError, "^sorted_indices: must be in the memory of a CUDA GPU",
                    "token_gather", x, ints([0, 0], 2, 1), True)
        self.refuse(ValueError, "^status: must have one element", "token_sort_", ids, 3,
                    status=fake_ids(2, address=BASE))
        self.refuse(ValueError, "shares memory with", "token_sort_", ids, 3,
                    status=fake_ids(1))
        self.refuse(ValueError, "^out: is read-only", "token_gather", x, ids, True,
                    out=FakeArray(BASE + 4096, (2, 1, 4), readonly=True))

    def test_c_abi_checks_for_itself(self):
        """The CPU's functions are fuzzed in C++; the GPU's have the same checks."""
        lib, ids = random_ltd._lib, BASE + 65536

        def move(function, status=None, **fields):
            call = dict(all=BASE, all_batch_stride=12, all_token_stride=4, part=BASE + 4096,
                        part_batch_stride=8, part_token_stride=4, indices=ids, batch=2, tokens=3,
                        kept=2, channels=4, element_size=4)
            call.update(fields)
            return function(0, ctypes.byref(random_ltd._Tokens(**call)), status, None)
        for function in (lib.ds_ops_random_ltd_gather, lib.ds_ops_random_ltd_scatter):
            self.assertEqual(function(0, None, None, None), 1)
            self.assertEqual(move(function, all=None), 1)
            self.assertEqual(move(function, batch=-1), 2)
            self.assertEqual(move(function, part=BASE + 4098), 6)
            self.assertEqual(move(function, part=BASE + 16), 17)
            self.assertEqual(move(function, status=ids + 4), 17)
            self.assertEqual(move(function, indices=None, kept=4), 32)
            self.assertEqual(move(function, all_token_stride=-4), 33)
            self.assertEqual(move(function, element_size=5), 34)
            self.assertEqual(move(function, kept=0, all=None, part=None, indices=None), 0)
        masks = random_ltd._Masks(BASE, BASE, ids, 1, 1, 4, 2, 4)
        self.assertEqual(lib.ds_ops_random_ltd_mask(0, masks, None, None), 17)
        self.assertEqual(lib.ds_ops_random_ltd_mask(0, None, None, None), 1)
        self.assertEqual(lib.ds_ops_random_ltd_sort(0, ids, 1, 3, 2, None, None), 32)
        self.assertEqual(lib.ds_ops_random_ltd_sort(0, ids, 1, 3, 4, ids + 8, None), 17)
        self.assertEqual(lib.ds_ops_random_ltd_sort(0, None, 1, 3, 4, None, None), 1)
        self.assertEqual(lib.ds_ops_random_ltd_sort(0, None, 0, 3, 4, None, None), 0)


@unittest.skipUnless(MISSING, "this host has a GPU")
class WithoutGpu(unittest.TestCase):
    def test_says_why(self):
        with self.assertRaises(ds_ops.CannotRun) as caught:
            ds_ops.self_test("random_ltd")
        self.assertRegex(caught.exception.reason, "^there is no ")
        with self.assertRaises(ds_ops.OpError) as caught:
            random_ltd.token_sort_(fake_ids(2, 3), 3)
        self.assertRegex(str(caught.exception), "driver|device")


@unittest.skipIf(MISSING, f"no GPU: {MISSING}")
class OnGpu(unittest.TestCase):
    def memory(self, values, dtype="float32"):
        made = _cuda.Memory(random_ltd._lib, values, dtype)
        self.addCleanup(made.free)
        return made

    def test_sort(self):
        for rows, kept, tokens in ((1, 1, 1), (7, 512, 2048), (3, 3000, 5000), (2, 999, 262144),
                                   (2, 5000, 300000)):
            chosen = choose(rows, kept, tokens)
            ids, status = self.memory(sum(chosen, []), "int32"), self.memory([0], "int32")
            random_ltd.token_sort_(_cuda.Shaped(ids, (rows, kept)), tokens, status=status)
            self.assertEqual(ids.read(), sum(map(sorted, chosen), []))
            self.assertEqual(status.read(), [0])

    def test_wrong_rows_stay(self):
        ids, status = self.memory([2, 1, 0, 2, 9, 0, 1, 1, 0], "int32"), self.memory([0], "int32")
        random_ltd.token_sort_(_cuda.Shaped(ids, (3, 3)), 3, status=status)
        self.assertEqual(ids.read(), [0, 1, 2, 2, 9, 0, 1, 1, 0])
        self.assertEqual(status.read(), [3])

    def test_gather_and_scatter_have_the_bits_of_the_cpu(self):
        n, tokens, kept = 3, 40, 11
        rows = sum(choose(n, kept, tokens), [])
        for channels in (1, 3, 8, 1024):
            values = array.array("H", [i % 65536 for i in range(n * tokens * channels)])
            every = self.memory(values, "uint16")
            part = self.memory([0] * n * kept * channels, "uint16")
            back = self.memory([0] * len(values), "uint16")
            ids = _cuda.Shaped(self.memory(rows, "int32"), (n, kept))
            for first in (True, False):
                shape = (n, tokens, channels) if first else (tokens, n, channels)
                short = (n, kept, channels) if first else (kept, n, channels)
                right = random_ltd.token_gather(shaped(values, *shape), ints(rows, n, kept), first)
                random_ltd.token_gather(_cuda.Shaped(every, shape), ids, first,
                                        out=_cuda.Shaped(part, short))
                self.assertEqual(part.read(), flat_of(right))
                whole = shaped(array.array("H", back.read()), *shape)
                random_ltd.token_scatter_(whole, right, ints(rows, n, kept), first)
                random_ltd.token_scatter_(_cuda.Shaped(back, shape), _cuda.Shaped(part, short),
                                          ids, first)
                self.assertEqual(back.read(), flat_of(whole))

    def test_wrong_indices_are_flagged(self):
        every, part = self.memory([1.0] * 12), self.memory([5.0] * 6)
        ids, status = self.memory([1, 4], "int32"), self.memory([0], "int32")
        arrays = (_cuda.Shaped(every, (1, 4, 3)), _cuda.Shaped(ids, (1, 2)))
        random_ltd.token_gather(*arrays, True, out=_cuda.Shaped(part, (1, 2, 3)), status=status)
        self.assertEqual((part.read(), status.read()), ([1.0] * 3 + [0.0] * 3, [1]))
        random_ltd.token_scatter_(arrays[0], _cuda.Shaped(part, (1, 2, 3)), arrays[1], True)
        self.assertEqual(every.read(), [1.0] * 12)

    def test_masks(self):
        layers, n, tokens, kept = 2, 3, 50, 30
        rows = sum(choose(layers * n, kept, tokens), [])
        values = array.array("f", range(n * tokens * tokens))
        mask = shaped(values, n, 1, tokens, tokens)
        on_gpu = _cuda.Shaped(self.memory(values), (n, 1, tokens, tokens))
        out = self.memory([0.0] * layers * n * kept * kept)
        random_ltd.mask_gather_bert(
            on_gpu, _cuda.Shaped(self.memory(rows, "int32"), (layers, n, kept)),
            out=_cuda.Shaped(out, (layers, n, 1, kept, kept)))
        self.assertEqual(out.read(), flat_of(random_ltd.mask_gather_bert(
            mask, ints(rows, layers, n, kept))))
        out = self.memory([0.0] * n * kept * kept)
        random_ltd.mask_gather_gpt(on_gpu, kept, out=_cuda.Shaped(out, (n, 1, kept, kept)))
        self.assertEqual(out.read(), flat_of(random_ltd.mask_gather_gpt(mask, kept)))


if __name__ == "__main__":
    unittest.main()
