# SPDX-License-Identifier: Apache-2.0
"""A hundred training steps with CPUAdam and CPUAdagrad, beside torch's own optimizers."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from optim_models import ADAGRAD, ADAM, U, kinds, loss_of, missing, model, torch  # noqa: E402


class Bound:
    """One parameter in double, and how far a float32 run with the same gradients may be from it.

    Each step adds the roundings of its arithmetic (4u of the terms of m and of those of v, 8u of
    the change, one u of the parameter) to what was there, which the formula carries on: beta times
    an error of a moment, the derivative of the quotient times those of m and v. In L2 mode an error
    of the parameter is one of the gradient.
    """

    def __init__(self, param, kind):
        self.kind, self.p = kind, param.detach().double()
        self.m, self.v, self.e_p, self.e_m, self.e_v = (torch.zeros_like(self.p) for _ in range(5))
        if kind == "Adagrad":
            self.v += ADAGRAD["initial_accumulator_value"]

    def step(self, t, gradient):
        o = ADAGRAD if self.kind == "Adagrad" else ADAM
        l2 = 0.0 if self.kind == "AdamW" else o["weight_decay"]
        decoupled = o["lr"] * o["weight_decay"] if self.kind == "AdamW" else 0.0
        g = gradient.double() + l2 * self.p
        e_g = l2 * self.e_p + 3 * U * (gradient.double().abs() + l2 * self.p.abs())
        e_square = (2 * g.abs() + e_g) * e_g
        if self.kind == "Adagrad":
            beta1, first, second = 0.0, 1.0, 1.0
            lr, eps = o["lr"] / (1 + (t - 1) * o["lr_decay"]), o["eps"]
            self.v = self.v + g * g
            self.e_v = self.e_v + e_square + 3 * U * self.v
        else:
            (beta1, beta2), lr, eps = o["betas"], o["lr"], o["eps"]
            first, second = 1 - beta1**t, 1 - beta2**t
            self.v = beta2 * self.v + (1 - beta2) * g * g
            self.e_v = beta2 * self.e_v + (1 - beta2) * e_square + 4 * U * self.v
        terms = beta1 * self.m.abs() + (1 - beta1) * g.abs()
        self.m = beta1 * self.m + (1 - beta1) * g
        self.e_m = beta1 * self.e_m + (1 - beta1) * e_g + 4 * U * terms
        root = (self.v / second).sqrt()
        # Of a root whose square is lower by no more than itself.
        e_root = torch.where(root > 0, self.e_v / second / root, torch.zeros_like(root))
        below = (root - e_root).clamp(min=0) + eps
        change = lr * self.m / first / (root + eps)
        e_change = lr / first / below * (self.e_m + self.m.abs() * e_root / below)
        self.p = self.p - change - decoupled * self.p
        self.e_p = (1 - decoupled) * self.e_p + e_change + 8 * U * (
            change.abs() + decoupled * self.p.abs()) + 1.1 * U * self.p.abs()


@unittest.skipIf(missing(), missing())
class Training(unittest.TestCase):
    def test_hundred_steps_with_the_same_gradients(self):
        for name, ours_of, theirs_of in kinds():
            with self.subTest(name):
                ours, theirs = model(), model()
                bounds = [Bound(p, name) for p in ours.parameters()]
                pair = ours_of(ours.parameters()), theirs_of(theirs.parameters())
                for t in range(1, 101):
                    pair[1].zero_grad()
                    loss_of(theirs, t).backward()
                    for a, b, bound in zip(ours.parameters(), theirs.parameters(), bounds):
                        a.grad = b.grad.clone()
                        bound.step(t, b.grad)
                    for optimizer in pair:
                        optimizer.step()
                for a, b, bound in zip(ours.parameters(), theirs.parameters(), bounds):
                    self.assertTrue(((a - bound.p).abs() <= bound.e_p).all())
                    # Each of the two may be off by the bound.
                    self.assertTrue(((a - b).abs() <= 2 * bound.e_p).all())
                    self.assertLess(float(bound.e_p.median()), 1e-4)

    def test_hundred_steps_on_its_own(self):
        """The same map carries on the roundings of both float32 runs. In a step of ours there are
        at most 8 times as many as the one that no float32 run can do without, the parameter's."""
        for name, ours_of, theirs_of in kinds():
            with self.subTest(name):
                networks = model(), model(), model(torch.float64)
                optimizers = [make(network.parameters()) for make, network in zip(
                    (ours_of, theirs_of, theirs_of), networks)]
                first = loss_of(networks[0]).item()
                for t in range(100):
                    for network, optimizer in zip(networks, optimizers):
                        optimizer.zero_grad()
                        loss_of(network, t).backward()
                        optimizer.step()
                ours, theirs = (max((a - b).abs().max().item() for a, b in zip(
                    network.parameters(), networks[2].parameters())) for network in networks[:2])
                self.assertLessEqual(ours, 8 * theirs)
                self.assertLess(loss_of(networks[0]).item(), first / 2)

    def test_half_types(self):
        """float16 and bfloat16 parameters with float32 states follow the rounded formula: after
        each step the parameter is within a rounding of torch's float32 step from the same point."""
        for name, ours_of, theirs_of in kinds():
            for dtype, unit in ((torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8)):
                with self.subTest(name, dtype=dtype):
                    torch.manual_seed(2)
                    ours = torch.nn.Parameter(torch.randn(1025).to(dtype))
                    theirs = torch.nn.Parameter(ours.detach().float())
                    pair = ours_of([ours]), theirs_of([theirs])
                    for _ in range(10):
                        ours.grad = torch.randn(1025).to(dtype)
                        theirs.grad = ours.grad.float()
                        for optimizer in pair:
                            optimizer.step()
                        # 64 roundings of float32 of the parameter, then its own.
                        self.assertTrue(((ours.float() - theirs).abs() <= 1.01 * (
                            unit + 64 * U) * theirs.abs() + 64 * U).all())
                        with torch.no_grad():
                            theirs.copy_(ours)
                    self.assertEqual(pair[0].state[ours][pair[0]._states[-1]].dtype, torch.float32)


if __name__ == "__main__":
    unittest.main()
