# SPDX-License-Identifier: Apache-2.0
"""quantizer with NumPy's and PyTorch's arrays: all types, against float64; DeepSpeed's own use."""
import unittest

from ds_ops import quantizer
from ds_ops.quantizer import Asymmetric, Symmetric

try:
    import numpy
except ImportError:
    numpy = None
try:
    import torch
except ImportError:
    torch = None

# Half the distance of neighbours, relative: what storing a value of the type may change.
ROUNDOFF = {"float32": 2**-24, "float16": 2**-11, "bfloat16": 2**-8}


def reference(values, groups, bits, kind):
    """(codes, steps, offsets) in float64; values has shape (groups, size)."""
    most, least = values.max(1), values.min(1)
    if kind == Symmetric:
        top = numpy.maximum(abs(most), abs(least))
        most, least = top, -top
    step = (most - least) / 2**bits
    step[step == 0] = 1
    offset = (most + least) / 2
    v = (values - offset[:, None]) / step[:, None]
    return numpy.clip(v, -2**(bits - 1), 2**(bits - 1) - 1), step, offset


def unpack(codes, bits):
    """As numbers, of arrays of int8 whose groups have an even size."""
    if bits == 8:
        return codes.astype(float)
    line = codes.view("uint8")
    both = numpy.stack([line >> 4, line & 15], axis=-1).reshape(*codes.shape[:-1], -1).astype(float)
    return both - 16 * (both >= 8)


@unittest.skipIf(numpy is None, "there is no numpy")
class Numpy(unittest.TestCase):
    def test_against_float64(self):
        rng = numpy.random.default_rng(1)
        for dtype in ("float32", "float16"):
            for bits in (4, 8):
                for kind in (Symmetric, Asymmetric):
                    for groups, size in ((1, 2), (7, 6), (3, 130), (2, 4096), (40, 32)):
                        values = rng.normal(0.3, 2, (groups, size)).astype(dtype)
                        codes, params = quantizer.quantize(values, groups, bits, kind)
                        self.assertEqual((codes.dtype, params.dtype), ("int8", "float32"))
                        self.assertEqual(codes.shape, (groups, size * bits // 8))
                        self.assertEqual(params.shape, (groups, 1 + kind))
                        v, step, offset = reference(values.astype(float), groups, bits, kind)
                        numpy.testing.assert_allclose(params[:, 0], step, rtol=2**-23)
                        if kind == Asymmetric:
                            numpy.testing.assert_allclose(params[:, 1], offset, rtol=2**-23,
                                                          atol=2**-23)
                        # Half a step; the offset, below 16, is off by a rounding of it, and the
                        # difference, the step, its reciprocal and the product are rounded.
                        slack = 16 * 2**-23 / step[:, None] + 5 * 2**-24 * 2**bits
                        self.assertTrue((abs(unpack(codes, bits) - v) <= 0.5 + slack).all())
                        self.check_back(codes, params, groups, bits, kind, values)

    def check_back(self, codes, params, groups, bits, kind, values):
        for dtype in ("float32", "float16"):
            back = quantizer.dequantize(codes, params, groups, bits, kind, dtype=dtype)
            self.assertEqual((back.dtype, back.shape), (dtype, values.shape))
            right = unpack(codes, bits) * params[:, :1].astype(float)
            part = abs(right)
            if kind == Asymmetric:
                right = right + params[:, 1:].astype(float)
            bound = 2**-24 * (part + abs(right)) + ROUNDOFF[dtype] * abs(right) + 2**-25
            self.assertTrue((abs(back.astype(float) - right) <= bound).all())

    def test_bfloat16_in_uint16(self):
        values = numpy.arange(-32, 32, dtype="float32")
        held = (values.view("uint32") >> 16).astype("uint16")  # exact
        codes, params = quantizer.quantize(held, 2, 8, dtype="bfloat16")
        right, right_params = quantizer.quantize(values, 2, 8)
        numpy.testing.assert_array_equal(codes, right)
        numpy.testing.assert_array_equal(params, right_params)
        back = quantizer.dequantize(codes, params, 2, 8, dtype="bfloat16")
        self.assertEqual(back.dtype, "uint16")
        self.assertLessEqual(abs((back.astype("uint32") << 16).view("float32") - values).max(),
                             0.5)
        error = numpy.zeros(64, "uint16")
        quantizer.loco_swizzle_quant(held, error, 0.0, 2, 4, Symmetric, 1, 1, 2, dtype="bfloat16")
        self.assertTrue(error.any())

    def test_shapes(self):
        codes, _ = quantizer.quantize(numpy.zeros((2, 3, 4), "float16"), 2, 4)
        self.assertEqual(codes.shape, (2, 3, 2))
        codes, params = quantizer.quantize(numpy.ones((3, 3), "float16"), 3, 4)
        self.assertEqual(codes.shape, (3, 2))
        back = quantizer.dequantize(codes, params, 3, 4, group_size=3)
        self.assertEqual(back.shape, (3, 3))
        numpy.testing.assert_array_equal(back, numpy.full((3, 3), 0.875))  # 7 steps of 1/8
        out = numpy.empty((2, 2), "float32")
        self.assertIs(quantizer.dequantize(numpy.ones(4, "int8"), numpy.ones(2, "float32"), 2, 8,
                                           out=out), out)

    def test_not_contiguous(self):
        with self.assertRaisesRegex(ValueError, "^values: is not contiguous"):
            quantizer.quantize(numpy.zeros((4, 4), "float32").T[:2], 1, 8)


@unittest.skipIf(torch is None, "there is no torch")
class Torch(unittest.TestCase):
    def test_all_types(self):
        torch.manual_seed(1)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            values = torch.randn(6, 64).to(dtype)
            codes, params = quantizer.quantize(values, 6, 8, Asymmetric)
            self.assertEqual((codes.dtype, params.dtype), (torch.int8, torch.float32))
            name = str(dtype).rpartition(".")[2]
            back = quantizer.dequantize(codes, params, 6, 8, Asymmetric, dtype=name)
            self.assertEqual((back.dtype, back.shape), (dtype, values.shape))
            # Half a step, at the upper end a whole one, and the storing of numbers below 8.
            bound = params[:, :1] * 1.001 + 8 * ROUNDOFF[name]
            self.assertTrue(((back.float() - values.float()).abs() <= bound).all())

    def test_fake_is_what_torch_does(self):
        """torch.fake_quantize with the same scale gives the same, off ties and roundings."""
        values = torch.randn(1000, generator=torch.Generator().manual_seed(3))
        for bits in (4, 8):
            step = 2 * values.abs().max().item() / 2**bits
            right = torch.fake_quantize_per_tensor_affine(values, step, 0, -2**(bits - 1),
                                                          2**(bits - 1) - 1)
            found = quantizer.fake_quantize(values.clone(), 1, bits, eps=0)
            torch.testing.assert_close(found, right, rtol=0, atol=4 * 2**-22)

    def test_deepspeed_names(self):
        for dtype, name in ((torch.float32, "fp32"), (torch.float16, "fp16"),
                            (torch.bfloat16, "bf16")):
            for kind in ("ds_quantize_", "ds_sr_quantize_", "ds_quantize_asym_",
                         "ds_sr_quantize_asym_"):
                values = torch.linspace(-1, 1, 96).to(dtype).reshape(4, 24)
                found = getattr(quantizer, kind + name)(values, 4, 4)
                self.assertIs(found, values)
                self.assertLessEqual(max(len(row.float().unique()) for row in values), 16)
        found = quantizer.ds_quantizer(torch.linspace(0, 1, 64), groups=2, bit_num=4, asym=True)
        self.assertLessEqual(len(found.unique()), 32)

    def test_zeropp_gradients(self):
        """all_to_all_quant_reduce of DeepSpeed, with 2 nodes of 2 devices in this process."""
        torch.manual_seed(2)
        nodes, devices, bits = 2, 2, 8
        world, rows = nodes * devices, 16
        tensors = [torch.randn(rows, 32, dtype=torch.float16) for _ in range(world)]
        sent = [quantizer.swizzle_quant(t, rows, bits, Symmetric, 1, nodes, devices)
                for t in tensors]
        received = {}
        for node in range(nodes):
            for device in range(devices):
                local = [sent[node * devices + d] for d in range(devices)]
                codes = torch.cat([c.chunk(devices)[device] for c, _ in local])
                scales = torch.cat([s.chunk(devices)[device] for _, s in local])
                received[node, device] = quantizer.quantized_reduction(
                    codes, scales, rows, rows // devices, bits, Symmetric, devices)
        total = sum(t.float() for t in tensors).flatten().chunk(world)
        for node in range(nodes):
            for device in range(devices):
                parts = [received[n, device] for n in range(nodes)]
                codes = torch.cat([c.chunk(nodes)[node] for c, _ in parts])
                scales = torch.cat([s.chunk(nodes)[node] for _, s in parts])
                back = quantizer.dequantize(codes, scales, scales.numel(), bits, Symmetric)
                found = sum(back.float().chunk(nodes))
                # Partition p belongs to rank p: node p // devices, device p % devices. Each of the
                # numbers, below 8, is quantized twice: at most a step of 16 / 256 each time.
                right = total[node * devices + device]
                self.assertLess((found - right).abs().max().item(), (world + nodes) * 16 / 256)
                self.assertGreater(torch.corrcoef(torch.stack([found, right]))[0, 1], 0.999)

    def test_experimental(self):
        codes = torch.arange(32, dtype=torch.uint8).reshape(2, 16)
        scales, least = torch.tensor([2.0, 4.0]).half(), torch.tensor([-1.0, 3.0]).half()
        found = quantizer.dequantize_int8_to_half_experimental(codes, scales, least, 2, 16)
        right = codes.float() / scales.float()[:, None] + least.float()[:, None]
        self.assertTrue(torch.equal(found, right.half()))

    def test_gradients_are_not_kept(self):
        weight = torch.nn.Parameter(torch.randn(8))
        codes, params = quantizer.quantize(weight, 1, 8)
        self.assertFalse(params.requires_grad)
        self.assertEqual(codes.shape, (8,))


@unittest.skipIf(torch is None or not torch.cuda.is_available(), "no torch with a GPU")
class TorchOnGpu(unittest.TestCase):
    def test_the_bits_of_the_cpu(self):
        torch.manual_seed(4)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            for groups, size in ((64, 64), (8, 1024), (3, 16384), (1, 1 << 20), (5, 999)):
                values = torch.randn(groups, size).to(dtype)
                for bits in (4, 8):
                    for rounding in ("nearest", "stochastic"):
                        keywords = dict(rounding=rounding, seed=1, offset=2)
                        right = quantizer.quantize(values, groups, bits, Asymmetric, **keywords)
                        found = quantizer.quantize(values.cuda(), groups, bits, Asymmetric,
                                                   **keywords)
                        for a, b in zip(found, right):
                            self.assertTrue(torch.equal(a.cpu(), b))


if __name__ == "__main__":
    unittest.main()
