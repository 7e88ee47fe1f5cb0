# SPDX-License-Identifier: Apache-2.0
"""What a rollback brings back, for all types, levels and modes."""
import array
import math
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "common" / "tests"))

from ds_ops import _adam, cpu_adam  # noqa: E402
from optimizer_data import PAIRS, TYPES, decode, rounded, sample  # noqa: E402


def bounds(start, after, pair, s):
    """How far the values that come back may be from those that were there, for one element.

    With u = 2^-24, the step left p, m and v with errors: those of its arithmetic (4u of the terms
    of m, 8u of those of v and of the change, as test_cpu_adam says) and of rounding to their types.
    The rollback takes its change from m and v as they were stored, so that their errors move it by
    its derivative (that of v by half); its own arithmetic adds 8u again. Solving for p divides the
    errors by 1 - d, for m and v by the beta. In L2 mode the gradient depends on the p that came
    back. In the end all are rounded to their types.
    """
    u = 2.0**-24
    p, g, m, v = start
    p1, m1, v1 = after
    if s.mode == 0:
        g += s.weight_decay * p
    first = 1 - s.beta1**s.step if s.bias_correction else 1.0
    second = 1 - s.beta2**s.step if s.bias_correction else 1.0
    m_terms = s.beta1 * abs(m) + (1 - s.beta1) * abs(g)
    m_left = rounded(4 * u * m_terms, m1, pair[2])
    v_left = rounded(8 * u * v1, v1, pair[2])
    root = math.sqrt(v1 / second)
    change = s.lr * abs(m1) / first / (root + s.eps)
    moved = s.lr * m_left / first / (root + s.eps) + change * v_left / (2 * v1) * 1.1
    decay = s.lr * s.weight_decay if s.mode == 1 else 0.0
    p_left = rounded(16 * u * (change + abs(p)) + moved, p1, pair[0])
    p_error = p_left / abs(1 - decay) + 4 * u * abs(p)
    g_error = (p_error * s.weight_decay if s.mode == 0 else 0.0) + 4 * u * abs(g)
    m_error = (m_left + (1 - s.beta1) * g_error + 4 * u * m_terms) / s.beta1
    v_error = (v_left + (1 - s.beta2) * (2 * abs(g) + g_error) * g_error + 8 * u * v1) / s.beta2
    return (rounded(p_error, p, pair[0]), rounded(m_error, m, pair[2]),
            rounded(v_error, v, pair[2]))


class Rollback(unittest.TestCase):
    def check(self, n, pair, level, **keywords):
        arrays = sample(n, pair, n)
        types = (pair[0], pair[1], pair[2], pair[2])
        start = [decode(a, t) for a, t in zip(arrays, types)]
        arguments = dict(step=3, lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1,
                         adamw=True, bias_correction=True)
        arguments.update(keywords)
        settings = _adam.options(*arguments.values())
        after = _adam.reference(*start, settings)
        names = dict(param_dtype=pair[0], grad_dtype=pair[1], state_dtype=pair[2], cpu_level=level)
        cpu_adam.step(*arrays, **arguments, **names)
        cpu_adam.rollback(*arrays, **arguments, **names)
        found = [decode(a, t) for a, t in zip(arrays, types)]
        for i in range(n):
            one = [column[i] for column in start]
            allowed = bounds(one, after[i], pair, settings)
            for what, at, bound in zip(("param", "exp_avg", "exp_avg_sq"), (0, 2, 3), allowed):
                self.assertLessEqual(abs(found[at][i] - one[at]), bound,
                                     f"{what} {i} of {n}, {pair}, {level}")
        self.assertEqual(found[1], start[1], "the gradient was written to")
        return b"".join(a.tobytes() for a in arrays)

    def test_every_type_and_level(self):
        for pair in PAIRS:
            for n in (1, 17, 1100):
                with self.subTest(pair=pair, n=n):
                    results = {self.check(n, pair, level) for level in cpu_adam.cpu_levels()}
                    self.assertEqual(len(results), 1, "the levels give different bits")

    def test_every_mode(self):
        for keywords in (dict(adamw=False), dict(adamw=False, weight_decay=0.0),
                         dict(bias_correction=False), dict(step=1), dict(step=10**6),
                         dict(betas=(0.1, 0.2)), dict(lr=2.0, weight_decay=1.0),
                         dict(lr=0.5, weight_decay=1.0, adamw=False)):
            for pair in (PAIRS[0], ("float16", "float32", "float32"), ("bfloat16",) * 3):
                for level in cpu_adam.cpu_levels():
                    with self.subTest(pair=pair, level=level, **keywords):
                        self.check(100, pair, level, **keywords)

    def test_next_step_is_as_if_nothing_had_been(self):
        """No square comes back below 0, where the next root would be a NaN."""
        n = 4096
        arrays = sample(n, PAIRS[0], 1)
        arrays[2:] = [array.array("f", bytes(4 * n)) for _ in range(2)]
        cpu_adam.step(*arrays, step=1)
        cpu_adam.rollback(*arrays, step=1)
        self.assertGreaterEqual(min(arrays[3]), 0)
        cpu_adam.step(*arrays, step=1)
        self.assertTrue(all(map(math.isfinite, arrays[0])))

    def test_copy(self):
        arrays = sample(70000, PAIRS[0], 1)
        copy = array.array("f", bytes(280000))
        cpu_adam.step(*arrays, step=1)
        cpu_adam.rollback(*arrays, step=1, param_copy=copy)
        self.assertEqual(copy, arrays[0])

    def test_nan_and_infinity_stay(self):
        """They are not taken for 0, as DeepSpeed does."""
        for level in cpu_adam.cpu_levels():
            p, g = array.array("f", [1, 1, 1] * 7), array.array("f", [math.nan, math.inf, 1] * 7)
            m, v = array.array("f", bytes(84)), array.array("f", bytes(84))
            cpu_adam.step(p, g, m, v, step=1, cpu_level=level)
            cpu_adam.rollback(p, g, m, v, step=1, cpu_level=level)
            self.assertTrue(math.isnan(p[0]) and math.isnan(p[1]))
            self.assertAlmostEqual(p[2], 1, delta=4 * TYPES["float32"][0])


if __name__ == "__main__":
    unittest.main()
