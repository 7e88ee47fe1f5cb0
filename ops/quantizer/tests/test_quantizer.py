# SPDX-License-Identifier: Apache-2.0
"""quantizer: results against the formulas in double, with the standard library alone."""
import array
import math
import os
import random
import subprocess
import sys
import unittest

from ds_ops import quantizer
from ds_ops.quantizer import _calls
from ds_ops.quantizer import Asymmetric, Symmetric

def floats(count, seed=1, low=-2.0, high=3.0):
    rng = random.Random(seed)
    return array.array("f", [rng.uniform(low, high) for _ in range(count)])


def flat(params):
    return [x for row in params.tolist() for x in row]


def unpack(codes, bits, group_size, groups):
    """The codes as whole numbers, group by group."""
    row = _calls.row_bytes(group_size, bits)
    line = list(memoryview(codes).cast("B"))
    result = []
    for group in range(groups):
        some = line[group * row:(group + 1) * row]
        if bits == 4:
            some = [half for byte in some for half in (byte >> 4, byte & 15)][:group_size]
        half = 2**(bits - 1)
        result.append([q - 2 * half if q >= half else q for q in some])
    return result


class Formulas(unittest.TestCase):
    def check_group(self, values, codes, params, bits):
        """The formulas of the docstring; what float32 may add stands beside each bound."""
        step, offset = params[0], params[1] if len(params) == 2 else 0.0
        most, least, levels = max(values), min(values), 2.0**bits
        absolute = max(abs(most), abs(least))
        right = (2 * absolute if len(params) == 1 else most - least) / levels or 1.0
        self.assertLessEqual(abs(step - right), 2**-24 * right)  # one rounding, of the difference
        if len(params) == 2:
            self.assertLessEqual(abs(offset - (most + least) / 2), 2**-24 * absolute)
        for x, q in zip(values, codes):
            v = min(max((x - offset) / step, -levels / 2), levels / 2 - 1)
            # Half a step; and the difference, the reciprocal and the product are rounded.
            self.assertLessEqual(abs(q - v), 0.5 + 3 * 2**-24 * levels)

    def test_quantize(self):
        for bits in (4, 8):
            for kind in (Symmetric, Asymmetric):
                for groups, size in ((1, 1), (3, 1), (2, 7), (1, 200), (5, 33), (4, 64)):
                    with self.subTest(bits=bits, kind=kind, groups=groups, size=size):
                        values = floats(groups * size, seed=size)
                        codes, params = quantizer.quantize(values, groups, bits, kind)
                        line = unpack(codes, bits, size, groups)
                        for g in range(groups):
                            self.check_group(values[g * size:(g + 1) * size], line[g],
                                             params.tolist()[g], bits)

    def test_layout_of_4_bits(self):
        """The element of even index in the high half; a group of odd size ends with half a 0."""
        codes, _ = quantizer.quantize(array.array("f", [-8, 7, 3, -1]), 1, 4)
        self.assertEqual(bytes(codes), b"\x87\x3f")
        codes, _ = quantizer.quantize(array.array("f", [-8, 7, 3, 2, -8, -1]), 2, 4)
        self.assertEqual(codes.tolist(), [[-0x79, 0x30], [0x28, -0x10]])

    def test_dequantize(self):
        values = floats(60)
        for bits in (4, 8):
            for kind in (Symmetric, Asymmetric):
                codes, params = quantizer.quantize(values, 4, bits, kind)
                back = quantizer.dequantize_fp32(codes, params, 4, bits, kind, group_size=15)
                line = flat(back) if len(memoryview(back).shape) > 1 else list(back)
                for i, x in enumerate(line):
                    step, *rest = params.tolist()[i // 15]
                    q = unpack(codes, bits, 15, 4)[i // 15][i % 15]
                    right = q * step + (rest[0] if rest else 0)
                    self.assertLessEqual(abs(x - right), 2**-24 * (abs(q * step) + abs(right)))
                    # Half a step is lost, at the upper end a whole one.
                    self.assertLessEqual(abs(x - values[i]), step * 1.001)

    def test_fake(self):
        for name, symmetric in (("ds_quantize_fp32", True), ("ds_quantize_asym_fp32", False)):
            for bits in (4, 8):
                values = floats(66)
                found = getattr(quantizer, name)(array.array("f", values), 2, bits)
                for g in range(2):
                    part = values[33 * g:33 * g + 33]
                    most, least = max(part), min(part)
                    top = 2 * max(abs(most), abs(least)) if symmetric else most - least
                    step = (top + 1e-5) / 2**bits
                    offset, low = (0, -2**(bits - 1)) if symmetric else (least, 0)
                    for x, y in zip(part, found[33 * g:]):
                        v = min(max((x - offset) / step, low), low + 2**bits - 1)
                        # Half a step, and a few roundings of numbers of at most 8.
                        self.assertLessEqual(abs(y - (v * step + offset)), step / 2 + 2**-18)

    def test_any_size_of_a_group(self):
        """The groups that upstream leaves as they are: more than 1,048,576 elements."""
        values = array.array("f", [0.3]) * 1048600
        values[0] = -1.0
        found = quantizer.ds_quantize_fp32(values, 1, 4)
        self.assertIs(found, values)
        self.assertEqual(len(set(found)), 2)
        self.assertAlmostEqual(found[-1], 0.25, delta=1e-5)  # two steps of 1/8

    def test_nothing(self):
        empty = array.array("f")
        codes, params = quantizer.quantize(empty, 1, 8)
        self.assertEqual((len(codes), flat(params)), (0, [1.0]))
        self.assertEqual(len(quantizer.dequantize_fp32(codes, params, 1, 8)), 0)
        self.assertEqual(len(quantizer.fake_quantize(empty, 3, 4)), 0)

    def test_nan_and_infinity(self):
        for bad in (math.nan, math.inf, -math.inf):
            values = array.array("f", [1, 2, bad, 3, 4, 5])
            for kind in (Symmetric, Asymmetric):
                codes, params = quantizer.quantize(values, 2, 8, kind)
                back = quantizer.dequantize_fp32(codes, params, 2, 8, kind)
                self.assertTrue(all(math.isnan(x) for x in back[:3]))
                self.assertTrue(all(math.isfinite(x) for x in back[3:]))
            fake = quantizer.fake_quantize(array.array("f", values), 2, 8)
            self.assertTrue(all(math.isnan(x) for x in fake[:3]))


class Unsigned(unittest.TestCase):
    def test_8_and_4_bits(self):
        scales, least = array.array("f", [2, 4]), array.array("f", [-1, 10])
        found = quantizer.dequantize_int8_to_half_experimental(
            bytes([0, 1, 255, 128, 4, 8]), scales, least, 2, 3)
        self.assertEqual(found.tolist(), [[-1, -0.5, 126.5], [42, 11, 12]])
        found = quantizer.dequantize_int4_to_half_experimental(
            bytes([0x0f, 0x84]), scales, least, 2, 2)
        self.assertEqual(found.tolist(), [[-1, 6.5], [12, 11]])


class Stochastic(unittest.TestCase):
    def test_is_a_function_of_seed_offset_and_index(self):
        def codes(values, **keywords):
            return list(quantizer.quantize(values, 1, 8, rounding="stochastic", **keywords)[0])
        values = floats(500)
        values[0] = 5.0
        first = codes(values, seed=3, offset=4)
        self.assertEqual(codes(values, seed=3, offset=4), first)
        self.assertNotEqual(codes(values, seed=3, offset=5), first)
        self.assertNotEqual(codes(values, seed=4, offset=4), first)
        self.assertEqual(codes(values[:77], seed=3, offset=4), first[:77])

    def test_known_answer(self):
        """Philox's words for zeros begin 6627e8d5 e169c58d bc57ac4c 9b00dbd8 (Random123)."""
        words = (0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8)
        for fraction in (0.3, 0.45, 0.65, 0.8, 0.95):
            values = array.array("f", [fraction] * 4 + [-128])
            codes, _ = quantizer.quantize(values, 1, 8, rounding="stochastic", seed=0, offset=0)
            self.assertEqual(list(codes), [int(w / 2**32 < fraction) for w in words] + [-128])

    def test_streams(self):
        """Calls without seed and offset take one after the other, from manual_seed on."""
        values = floats(300)
        quantizer.manual_seed(9)
        found = [list(quantizer.ds_sr_quantize_fp32(array.array("f", values), 1, 4))
                 for _ in range(2)]
        right = [list(quantizer.fake_quantize(array.array("f", values), 1, 4, seed=9, offset=i,
                                              rounding="stochastic")) for i in range(2)]
        self.assertEqual(found, right)
        self.assertNotEqual(found[0], found[1])

    def test_asymmetric_is_asymmetric(self):
        """Upstream launches the symmetric kernel for it."""
        values = floats(1000, low=10, high=11)
        found = quantizer.ds_sr_quantize_asym_fp32(array.array("f", values), 1, 4)
        for x, y in zip(values, found):
            self.assertLessEqual(abs(x - y), 1 / 16 * 1.001)
        # The mean is kept: six deviations of at most half a step each.
        self.assertLess(abs(sum(found) - sum(values)), 6 * 0.5 / 16 * math.sqrt(1000) + 1 / 16)


class Swizzle(unittest.TestCase):
    def test_partitions_and_slices(self):
        """Against a permutation of whole groups, written down from the docstring."""
        for pipeline, nodes, devices, slice_groups in ((1, 2, 4, 1), (2, 3, 2, 2), (3, 1, 5, 1)):
            groups = pipeline * nodes * devices * slice_groups
            values = floats(groups * 6)
            for bits in (4, 8):
                plain, params = quantizer.quantize(values, groups, bits, Asymmetric)
                codes, scales = quantizer.swizzle_quant(values, groups, bits, Asymmetric, pipeline,
                                                        nodes, devices)
                row = 6 * bits // 8
                plain = bytes(plain)
                right_codes, right_scales = {}, {}
                for g in range(groups):
                    p, rest = divmod(g, pipeline * slice_groups)
                    y, x = divmod(rest, slice_groups)
                    to = (y * nodes * devices + p % devices * nodes + p // devices)
                    to = to * slice_groups + x
                    right_codes[to] = plain[g * row:(g + 1) * row]
                    right_scales[to] = params.tolist()[g]
                self.assertEqual(bytes(codes), b"".join(right_codes[g] for g in range(groups)))
                self.assertEqual(scales.tolist(), [right_scales[g] for g in range(groups)])

    def test_figure_of_the_paper(self):
        """2 nodes of 4 devices: 0 4 1 5 2 6 3 7."""
        values = array.array("f", [x for i in range(8) for x in (128.0, i)])
        codes, _ = quantizer.swizzle_quant(values, 8, 8, Symmetric, 1, 2, 4)
        self.assertEqual(list(codes)[1::2], [0, 4, 1, 5, 2, 6, 3, 7])

    def test_error_feedback(self):
        values, error = floats(48), floats(48, seed=2, low=-0.1, high=0.1)
        for beta in (0.0, 0.8):
            found = array.array("f", error)
            codes, params = quantizer.loco_swizzle_quant(values, found, beta, 4, 4, Symmetric, 1, 2,
                                                         2)
            back = quantizer.dequantize_fp32(codes, params, 4, 4, Symmetric)
            order = [i for p in (0, 2, 1, 3) for i in range(12 * p, 12 * p + 12)]
            for i, at in enumerate(order):
                lost = values[at] + error[i] - back[i]
                # Numbers of at most 4, and five roundings.
                self.assertAlmostEqual(found[i], beta * error[i] + (1 - beta) * lost,
                                       delta=5 * 4 * 2**-24)

    def test_error_of_what_overflowed_is_not_kept(self):
        values, error = array.array("f", [1, math.inf, 2, 3]), array.array("f", [0.5] * 4)
        quantizer.loco_swizzle_quant(values, error, 0.5, 2, 8, Symmetric, 1, 1, 1)
        self.assertEqual(list(error[:2]), [0.5, 0.5])
        self.assertNotEqual(list(error[2:]), [0.5, 0.5])


class Reduction(unittest.TestCase):
    def test_sum_of_shards(self):
        for bits in (4, 8):
            for kind in (Symmetric, Asymmetric):
                for in_groups, out_groups in ((6, 1), (6, 2), (6, 4), (3, 8)):
                    values = floats(3 * 48)
                    codes, params = quantizer.quantize(values, in_groups, bits, kind)
                    found, scales = quantizer.quantized_reduction(codes, params, in_groups,
                                                                  out_groups, bits, kind, 3)
                    parts = quantizer.dequantize_fp32(codes, params, in_groups, bits, kind)
                    sums = array.array("f", [0.0] * 48)
                    for shard in range(3):
                        for i in range(48):
                            sums[i] = sums[i] + parts[48 * shard + i]  # rounded when it is stored
                    right, right_scales = quantizer.quantize(sums, out_groups, bits, kind)
                    self.assertEqual(bytes(found), bytes(right))
                    self.assertEqual(scales.tolist(), right_scales.tolist())

    def test_error_feedback(self):
        codes, params = quantizer.quantize(floats(64), 4, 8)
        error = floats(32, seed=3, low=-0.2, high=0.2)
        plain = quantizer.dequantize_fp32(codes, params, 4, 8)
        sums = [array.array("f", [plain[i] + plain[32 + i]])[0] + error[i] for i in range(32)]
        found = array.array("f", error)
        new, scales = quantizer.loco_quantized_reduction(codes, params, found, 0.25, 4, 2, 8,
                                                         Symmetric, 2)
        back = quantizer.dequantize_fp32(new, scales, 2, 8)
        for i in range(32):
            self.assertAlmostEqual(found[i], 0.25 * error[i] + 0.75 * (sums[i] - back[i]),
                                   delta=5 * 8 * 2**-24)


class Threads(unittest.TestCase):
    def test_any_number_gives_the_same_bits(self):
        program = ("import array,hashlib,sys\nfrom ds_ops import quantizer as q\n"
                   "v=array.array('f',[(i*7919%10007)/100-50 for i in range(400000)])\n"
                   "h=hashlib.sha256()\n"
                   "for groups in (1,7*8,50000):\n"
                   "  n=len(v)//groups*groups\n"
                   "  for r in ('nearest','stochastic'):\n"
                   "    for part in q.quantize(v[:n],groups,4,1,rounding=r,seed=1,offset=2):\n"
                   "      h.update(part)\n"
                   "  h.update(q.fake_quantize(v[:n],groups,8))\n"
                   "print(h.hexdigest())")
        said = {subprocess.run([sys.executable, "-c", program], check=True, capture_output=True,
                               text=True, env={**os.environ, "OMP_NUM_THREADS": threads}).stdout
                for threads in ("1", "2", "5")}
        self.assertEqual(len(said), 1)


if __name__ == "__main__":
    unittest.main()
