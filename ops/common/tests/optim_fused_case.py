# SPDX-License-Identifier: Apache-2.0
"""What the tests of FusedAdam and FusedLamb share: the ops played by their formulas in torch on the
CPU, a model, and a run beside torch's own optimizer."""
import copy
import unittest
import warnings
from unittest import mock

import ds_ops

try:
    with warnings.catch_warnings():
        # An old torch beside a new NumPy says so.
        warnings.simplefilter("ignore")
        import torch
        torch.set_num_threads(1)  # the model is small
except ImportError:
    torch = None

if torch is not None:
    from ds_ops import _optim_fused
    from ds_ops._optim_fused import FusedAdam

U = 2.0**-53
ADAM = dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.05)
# |m| / sqrt(v) is no larger, by the inequality of Cauchy and Schwarz; nor with the bias corrected.
LARGEST = (1 - 0.9) / ((1 - 0.99) * (1 - 0.9**2 / 0.99))**0.5


def missing():
    if torch is None:
        return "PyTorch is not installed (DS_DEPLOY_TORCH=1 tests/run)"
    lacking = {"fused_adam", "fused_lamb"} - set(ds_ops.ops())
    return f"not installed: {', '.join(sorted(lacking))}" if lacking else None


def no_gpu():
    return missing() or (None if torch.cuda.is_available() else "no GPU that torch can use")


class Played:
    """An op on the CPU: its formula in torch. Remembers the calls."""

    class Cache:
        pass

    def __init__(self, formula):
        self.formula, self.calls, self.refuse = formula, [], None

    def step(self, params, grads, exp_avg, exp_avg_sq, *, step, noop_flag=None, inv_scale=None,
             cache=None, **options):
        assert isinstance(cache, self.Cache)
        self.calls.append(dict(options, count=len(params), step=step))
        if self.refuse:
            raise self.refuse
        if noop_flag is not None and noop_flag.item():
            return
        for i, (p, g, m, v) in enumerate(zip(params, grads, exp_avg, exp_avg_sq)):
            assert p.is_contiguous() and g.is_contiguous() and m.is_contiguous()
            number = step[i].item() if isinstance(step, list) else step
            g = g if inv_scale is None else g * inv_scale.to(g.dtype)
            self.formula(i, p, g, m, v, number, **options)


def adam_formula(i, p, g, m, v, t, *, lr, betas, eps, weight_decay, adamw, bias_correction):
    if not adamw:
        g = g + weight_decay * p
    m.mul_(betas[0]).add_(g * (1 - betas[0]))
    v.mul_(betas[1]).add_(g * g * (1 - betas[1]))
    first, second = ((1 - beta**t if bias_correction else 1) for beta in betas)
    p.sub_(lr * (m / first / ((v / second).sqrt() + eps) + (weight_decay * p if adamw else 0)))


def lamb_formula(i, p, g, m, v, t, *, lr, betas, eps, weight_decay, min_coeff, max_coeff,
                 bias_correction, eps_inside_sqrt, trust_ratios):
    assert bias_correction is True and not eps_inside_sqrt
    m.mul_(betas[0]).add_(g * (1 - betas[0]))
    v.mul_(betas[1]).add_(g * g * (1 - betas[1]))
    u = m / (1 - betas[0]**t) / ((v / (1 - betas[1]**t)).sqrt() + eps) + weight_decay * p
    norms = p.square().sum().sqrt(), u.square().sum().sqrt()
    ratio = (norms[0] / norms[1]).clamp(min_coeff, max_coeff) if all(norms) else torch.ones(())
    trust_ratios[i] = ratio
    p.sub_(lr * ratio.to(p.dtype) * u)


def model(dtype=None, device="cpu"):
    torch.manual_seed(1)
    layers = torch.nn.Sequential(torch.nn.Linear(13, 31), torch.nn.Tanh(), torch.nn.Linear(31, 3))
    return layers.to(device, dtype or torch.float64)


def backward(network, step):
    """Gradients of a batch that depends on the step."""
    generator = torch.Generator().manual_seed(step % 10)
    x = torch.randn(64, 13, generator=generator)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin(), x.sum(1) / 4], 1)
    first = next(network.parameters())
    network.zero_grad()
    ((network(x.to(first.device, first.dtype)) - y.to(first.device, first.dtype))**2).mean() \
        .backward()


def give(network, other):
    """The gradients of one model to another, so that rounding is all that differs."""
    for ours, theirs in zip(network.parameters(), other.parameters()):
        theirs.grad = ours.grad.detach().to(theirs.device).clone()


class OnCpu(unittest.TestCase):
    """With the ops played by formulas."""

    def setUp(self):
        self.adam, self.lamb = Played(adam_formula), Played(lamb_formula)
        ops = {"fused_adam": self.adam, "fused_lamb": self.lamb}
        for patch in (mock.patch.object(_optim_fused, "_op", ops.__getitem__),
                      mock.patch.object(_optim_fused._FusedOptimizer, "_device", "cpu")):
            patch.start()
            self.addCleanup(patch.stop)


def adam_bound(steps, largest_p):
    """How far two runs in float64 with the same gradients may part.

    m and v are sums of at most t terms, each with 4 roundings a step: m is off by 4 t u of the sum
    of the terms' sizes, v by 4 t u, its root by half of that; m / sqrt(v) of these sums is at most
    LARGEST. 10 u for the change's own operations, 4 u for those at the parameter.
    """
    each = (ADAM["lr"] * LARGEST * (6 * t + 10) * U + 4 * U * largest_p
            for t in range(1, steps + 1))
    return 2 * sum(each)


def follow(case, adamw, capturable=False, device="cpu"):
    """100 steps beside torch's own; then the states change hands and 20 more follow."""
    ours, theirs = model(device=device), model(device=device)
    theirs_kind = torch.optim.AdamW if adamw else torch.optim.Adam
    a = FusedAdam(ours.parameters(), adam_w_mode=adamw, capturable=capturable, **ADAM)
    b = theirs_kind(theirs.parameters(), **ADAM)
    largest = 0.0
    for step in range(120):
        if step == 100:
            saved, a_state = b.state_dict(), copy.deepcopy(a.state_dict())
            if device == "cpu":  # where torch's own refuses it
                a_state["param_groups"][0]["capturable"] = False
            b = theirs_kind(theirs.parameters())
            b.load_state_dict(a_state)
            a = FusedAdam(ours.parameters(), adam_w_mode=adamw)
            a.load_state_dict(saved)
        backward(ours, step)
        give(ours, theirs)
        a.step()
        b.step()
        largest = max(largest, *(p.abs().max().item() for p in theirs.parameters()))
    for p, q in zip(ours.parameters(), theirs.parameters()):
        case.assertLess((p - q).abs().max().item(), adam_bound(120, largest))
        case.assertEqual(a.state[p]["step"].item(), 120)
    return a, b
