# SPDX-License-Identifier: Apache-2.0
"""FusedAdam and FusedLamb beside torch's optimizers and the paper. Where there is no GPU the ops
are played by their formulas in torch, on the CPU: all that is ours in Python runs."""
import copy
import io
import unittest
from unittest import mock

import ds_ops
from optim_fused_case import (ADAM, LARGEST, U, OnCpu, backward, follow, give, lamb_formula,
                              missing, model, no_gpu, torch)

if torch is not None:
    from ds_ops import _optim_fused
    from ds_ops._optim_fused import FusedAdam, FusedLamb


@unittest.skipIf(missing(), missing())
class Training(OnCpu):
    def test_adam_follows_torch(self):
        for adamw in (True, False):
            for capturable in (True, False):
                with self.subTest(adamw=adamw, capturable=capturable):
                    a, b = follow(self, adamw, capturable)
                    self.assertEqual([set(s) for s in a.state.values()],
                                     [set(s) for s in b.state.values()])
                    self.assertLessEqual(set(b.param_groups[0]), set(a.param_groups[0]))
                    for p, q in zip(a.state.values(), b.state.values()):
                        self.assertEqual({k: (v.dtype, v.shape) for k, v in p.items()},
                                         {k: (v.dtype, v.shape) for k, v in q.items()})
        # One call for all parameters.
        self.assertEqual({call["count"] for call in self.adam.calls}, {4})

    def test_lamb_follows_the_paper(self):
        """The bound is carried on: the error of p's norm and that of u's each change the ratio, and
        an error of p is one of u by weight decay; u's own is that of Adam's quotient."""
        network = model()
        optimizer = FusedLamb(network.parameters(), **ADAM)
        right = [p.detach().clone() for p in network.parameters()]
        m, v = ([torch.zeros_like(p) for p in right] for _ in range(2))
        off = [0.0] * len(right)
        lr, (beta1, beta2), eps, decay = ADAM.values()
        for t in range(1, 101):
            backward(network, t)
            grads = [p.grad.clone() for p in network.parameters()]
            optimizer.step()
            ratios = optimizer.get_lamb_coeffs()
            for i, (p, g) in enumerate(zip(right, grads)):
                m[i], v[i] = beta1 * m[i] + (1 - beta1) * g, beta2 * v[i] + (1 - beta2) * g**2
                root = (v[i] / (1 - beta2**t)).sqrt() + eps
                u = m[i] / (1 - beta1**t) / root + decay * p
                p_norm, u_norm = p.norm().item(), u.norm().item()
                ratio = min(max(p_norm / u_norm, 0.01), 10.0)
                u_off = (6 * t + 10) * LARGEST * p.numel()**0.5 * U + decay * off[i]
                part = off[i] / p_norm + u_off / u_norm + (p.numel() + 4) * U
                off[i] += lr * ratio * (u_off + u_norm * part) + 4 * U * p_norm
                # Ratios are float32.
                self.assertLess(abs(ratios[i] - ratio), ratio * (2 * part + 2.0**-24))
                p -= lr * ratio * u
        for p, q, bound in zip(network.parameters(), right, off):
            self.assertLess((p - q).norm().item(), 2 * bound)
            self.assertLess(bound, 1e-9)

    def test_lamb_and_adam_share_states(self):
        network = model()
        lamb = FusedLamb(network.parameters(), max_coeff=7.0, **ADAM)
        adam = torch.optim.Adam(network.parameters())
        for optimizer, other in ((lamb, adam), (adam, lamb), (lamb, adam)):
            other.load_state_dict(optimizer.state_dict())
            backward(network, 1)
            other.step()
            self.assertEqual(other.param_groups[0]["lr"], 1e-2)
        self.assertEqual(adam.state[network[0].weight]["step"].item(), 3)
        self.assertEqual(lamb.param_groups[0]["max_coeff"], 7.0)


@unittest.skipIf(missing(), missing())
class Behaviour(OnCpu):
    def run_one(self, optimizer, network, step=0):
        backward(network, step)
        return optimizer.step()

    def test_groups_schedulers_closures(self):
        network = model()
        optimizer = FusedAdam([{"params": network[0].parameters(), "lr": 0.5}], lr=1.0)
        optimizer.add_param_group({"params": network[2].parameters(), "betas": (0.5, 0.6)})
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

        def closure():
            backward(network, 0)
            return torch.tensor(3.0)
        self.assertEqual(optimizer.step(closure).item(), 3.0)
        scheduler.step()
        network[2].bias.grad = None
        optimizer.step()
        seen = [(c["lr"], c["betas"], c["count"], c["step"]) for c in self.adam.calls]
        self.assertEqual(seen, [(0.5, (0.9, 0.999), 2, 1), (1.0, (0.5, 0.6), 2, 1),
                                (0.25, (0.9, 0.999), 2, 2), (0.5, (0.5, 0.6), 1, 2)])
        # Now that parameters differ in their step, they are two calls.
        self.run_one(optimizer, network)
        self.assertEqual([(c["count"], c["step"]) for c in self.adam.calls[4:]],
                         [(2, 3), (1, 3), (1, 2)])

    def test_types_are_calls_of_their_own(self):
        params = [torch.nn.Parameter(torch.ones(2, dtype=dtype))
                  for dtype in (torch.float32, torch.float64, torch.float32)]
        optimizer = FusedLamb(params, weight_decay=0.0)
        for i, p in enumerate(params):
            p.grad = torch.ones_like(p) * i
        optimizer.step()
        self.assertEqual([c["count"] for c in self.lamb.calls], [2, 1])
        # u is 0 for the first, 1 for the others: both ratios are 1, in the parameters' order.
        self.assertEqual(optimizer.get_lamb_coeffs(), [1.0] * 3)
        self.assertEqual(optimizer.state[params[1]]["exp_avg"].dtype, torch.float64)

    def test_memory_formats(self):
        weight = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(1))
        rows = torch.nn.Parameter(weight.clone())
        last = torch.nn.Parameter(weight.clone().contiguous(memory_format=torch.channels_last))
        optimizer = FusedAdam([rows, last])
        for _ in range(2):
            rows.grad = weight * 2
            last.grad = weight * 2  # of another format than its parameter
            optimizer.step()
        self.assertTrue(torch.equal(rows, last))
        self.assertTrue(last.is_contiguous(memory_format=torch.channels_last))
        empty = FusedLamb([torch.nn.Parameter(torch.empty(0))])
        empty.param_groups[0]["params"][0].grad = torch.empty(0)
        empty.step()

    def test_what_is_refused(self):
        p = torch.nn.Parameter(torch.ones(3))
        for kind in (FusedAdam, FusedLamb):
            for options, pattern in (
                    (dict(amsgrad=True), f"^amsgrad: {kind.__name__} does not have it; use torch."),
                    (dict(lr=-1.0), "^lr:"), (dict(betas=(1.0, 0.9)), r"^betas\[0\]"),
                    (dict(eps=float("nan")), "^eps:"), (dict(weight_decay=-1), "^weight_decay:")):
                with self.assertRaisesRegex(ValueError, pattern):
                    kind([p], **options)
            with self.assertRaisesRegex(TypeError, "elements of type torch.complex64"):
                kind([torch.nn.Parameter(torch.ones(1, dtype=torch.complex64))])
            with self.assertRaisesRegex(ValueError, "^amsgrad"):
                kind([p]).load_state_dict(torch.optim.Adam([p], amsgrad=True).state_dict())
            optimizer = kind([p])
            p.grad = torch.eye(3)[0].to_sparse()
            with self.assertRaisesRegex(RuntimeError, "does not support sparse gradients"):
                optimizer.step()
            p.grad = None
        with self.assertRaisesRegex(ValueError, "^min_coeff, max_coeff:"):
            FusedLamb([p], min_coeff=2, max_coeff=1)
        with self.assertRaisesRegex(ValueError, "^bias_correction:"):
            FusedLamb([p], bias_correction="both")

    def test_cpu_params_are_sent_to_cpu_adam(self):
        with mock.patch.object(_optim_fused._FusedOptimizer, "_device", "cuda"):
            for kind in (FusedAdam, FusedLamb):
                with self.assertRaisesRegex(ValueError, "on cpu, .* use ds_ops.optim.CPUAdam"):
                    kind([torch.nn.Parameter(torch.ones(3))])

    def test_a_call_that_fails_is_no_step(self):
        for capturable in (True, False):
            network = model()
            optimizer = FusedAdam(network.parameters(), capturable=capturable)
            self.run_one(optimizer, network)
            self.adam.refuse = ds_ops.OpError("f", 1002, "out of memory")
            with self.assertRaises(ds_ops.OpError):
                optimizer.step()
            self.adam.refuse = None
            self.assertEqual(optimizer.state[network[0].weight]["step"].item(), 1)

    def test_version_counter(self):
        p = torch.nn.Parameter(torch.ones(3))
        used = (p * p).sum()
        p.grad = torch.ones(3)
        FusedAdam([p]).step()
        with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
            used.backward()

    def test_copies_and_files(self):
        network = model()
        for optimizer in (FusedAdam(network.parameters(), adam_w_mode=False, capturable=True),
                          FusedLamb(network.parameters())):
            self.run_one(optimizer, network)
            again = copy.deepcopy(optimizer)
            kept = io.BytesIO()
            torch.save(optimizer.state_dict(), kept)
            kept.seek(0)
            optimizer.load_state_dict(torch.load(kept))
            for other in (again, optimizer):
                for p in other.param_groups[0]["params"]:
                    p.grad = torch.ones_like(p)
                other.step()
                self.assertEqual([s["step"].item() for s in other.state.values()], [2.0] * 4)

    def test_capturable_counts_where_the_parameters_are(self):
        network = model()
        plain = FusedAdam(network.parameters())
        self.run_one(plain, network)
        self.assertEqual(self.adam.calls[-1]["step"], 1)
        optimizer = FusedAdam(network.parameters(), capturable=True, lr=torch.tensor(0.5))
        state = plain.state_dict()
        state["param_groups"][0]["capturable"] = True
        optimizer.load_state_dict(state)
        self.run_one(optimizer, network)
        steps = self.adam.calls[-1]["step"]
        self.assertIs(steps[0], optimizer.state[network[0].weight]["step"])
        self.assertEqual([(s.item(), s.dtype) for s in steps], [(2.0, torch.float32)] * 4)


@unittest.skipIf(missing(), missing())
class Scaling(OnCpu):
    """What torch.amp.GradScaler wants of an optimizer that scales by itself."""

    def test_scale_and_flag(self):
        for kind in (FusedAdam, FusedLamb):
            for capturable in (True, False):
                networks = model(), model()
                scaled, plain = (kind(n.parameters(), capturable=capturable) for n in networks)
                for flag in (0.0, 2.0, 0.0):
                    backward(networks[1], 1)
                    give(networks[1], networks[0])
                    for p in networks[0].parameters():
                        p.grad *= 1024
                    scaled.grad_scale = torch.tensor(1024.0)
                    scaled.found_inf = torch.tensor(flag)
                    scaled.step()
                    if not flag:
                        plain.step()
                for p, q in zip(*(n.parameters() for n in networks)):
                    self.assertTrue(torch.equal(p, q))
                    self.assertEqual(scaled.state[p]["step"].item(), 2)

    def test_grad_scaler(self):
        try:
            scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=1)
        except (AttributeError, TypeError):
            self.skipTest("this torch has no GradScaler for the CPU")
        network, plain = model(), model()
        optimizer, other = (FusedAdam(n.parameters(), **ADAM) for n in (network, plain))
        for step, broken in enumerate((False, True, False)):
            backward(network, step)
            give(network, plain)
            for p in network.parameters():
                p.grad *= scaler.get_scale()
            scaler.scale(torch.ones(()))
            if broken:
                network[0].bias.grad[3] = float("inf")
            else:
                other.step()
            scaler.step(optimizer)
            scaler.update()
        self.assertEqual(scaler.get_scale(), 512.0)
        for p, q in zip(network.parameters(), plain.parameters()):
            self.assertTrue(torch.equal(p, q))


@unittest.skipIf(no_gpu(), no_gpu())
class OnGpu(unittest.TestCase):
    def test_adam_follows_torch(self):
        for adamw in (True, False):
            for capturable in (True, False):
                with self.subTest(adamw=adamw, capturable=capturable):
                    follow(self, adamw, capturable, "cuda")

    def test_lamb_follows_its_formula(self):
        ours, theirs = model(device="cuda"), model()
        optimizer = FusedLamb(ours.parameters(), **ADAM)
        states = [(torch.zeros_like(p), torch.zeros_like(p)) for p in theirs.parameters()]
        for t in range(1, 101):
            backward(ours, t)
            give(ours, theirs)
            optimizer.step()
            with torch.no_grad():
                for p, (m, v) in zip(theirs.parameters(), states):
                    lamb_formula(0, p, p.grad, m, v, t, min_coeff=0.01, max_coeff=10.0,
                                 bias_correction=True, eps_inside_sqrt=False,
                                 trust_ratios=torch.zeros(1), **ADAM)
        for p, q in zip(ours.parameters(), theirs.parameters()):
            self.assertLess((p.cpu() - q).norm().item(), 1e-9)  # see Training's bound

    def test_graph(self):
        for kind in (FusedAdam, FusedLamb):
            networks = model(device="cuda"), model(device="cuda")
            lr = torch.tensor(1e-2, device="cuda")
            captured = kind(networks[0].parameters(), lr=lr, capturable=True)
            plain = kind(networks[1].parameters(), lr=1e-2)
            backward(networks[0], 0)
            give(*networks)
            captured.step()
            plain.step()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                captured.step()
            for rate in (1e-2, 1e-3):
                lr.fill_(rate)
                plain.param_groups[0]["lr"] = lr.item()
                graph.replay()
                plain.step()
            for p, q in zip(*(n.parameters() for n in networks)):
                # float32 rounds the host's lr as the device's; the rest is the same formula.
                self.assertLess((p - q).abs().max().item(), 1e-12)
            with self.assertRaisesRegex(RuntimeError, "capturable is not on"):
                with torch.cuda.graph(torch.cuda.CUDAGraph()):
                    plain.step()


if __name__ == "__main__":
    unittest.main()
