# SPDX-License-Identifier: Apache-2.0
"""States, groups, memory formats and what is refused: CPUAdam and CPUAdagrad beside torch's own."""
import copy
import os
import pathlib
import pickle
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from optim_models import ADAM, U, kinds, loss_of, missing, model, torch  # noqa: E402

if torch is not None:
    from ds_ops.optim import CPUAdagrad, CPUAdam


@unittest.skipIf(missing(), missing())
class State(unittest.TestCase):
    def train(self, network, optimizer, first, steps):
        for t in range(first, first + steps):
            optimizer.zero_grad()
            loss_of(network, t).backward()
            optimizer.step()

    def test_keys_and_types(self):
        for name, ours_of, theirs_of in kinds():
            with self.subTest(name):
                states = []
                for make in (ours_of, theirs_of):
                    network = model()
                    optimizer = make(network.parameters())
                    self.train(network, optimizer, 0, 2)
                    states.append(optimizer.state_dict())
                ours, theirs = states
                for a, b in zip(ours["param_groups"], theirs["param_groups"]):
                    self.assertEqual(a, b)
                    self.assertEqual({k: type(v) for k, v in a.items()},
                                     {k: type(v) for k, v in b.items()})
                self.assertEqual(list(ours["state"]), list(theirs["state"]))
                for key, state in ours["state"].items():
                    other = theirs["state"][key]
                    self.assertEqual(set(state), set(other))
                    for what, value in state.items():
                        self.assertEqual((type(value), value.dtype, value.shape),
                                         (type(other[what]), other[what].dtype,
                                          other[what].shape))
                    self.assertEqual(state["step"], other["step"])

    def test_both_ways(self):
        """Training that changes the optimizer half way ends where it ends without the change: both
        are within some 1e-6 of torch's after 20 steps (see Training for the bound)."""
        for name, ours_of, theirs_of in kinds():
            plain = model()
            self.train(plain, theirs_of(plain.parameters()), 0, 20)
            for before, after in ((ours_of, theirs_of), (theirs_of, ours_of), (ours_of, ours_of)):
                with self.subTest(name):
                    network = model()
                    optimizer = before(network.parameters())
                    self.train(network, optimizer, 0, 10)
                    saved = copy.deepcopy(optimizer.state_dict())
                    other = after(network.parameters(), lr=9.0)
                    other.load_state_dict(saved)
                    self.assertEqual(other.param_groups[0]["lr"], optimizer.param_groups[0]["lr"])
                    self.train(network, other, 10, 10)
                    for a, b in zip(network.parameters(), plain.parameters()):
                        torch.testing.assert_close(a, b, rtol=0, atol=5e-6)

    def test_states_are_not_rounded(self):
        for dtype in (torch.float16, torch.bfloat16):
            param = torch.nn.Parameter(torch.ones(9, dtype=dtype))
            param.grad = torch.full((9,), 0.3, dtype=dtype)
            for make, key in ((CPUAdam, "exp_avg"), (CPUAdagrad, "sum")):
                optimizer, other = make([param]), make([param])
                optimizer.step()
                other.load_state_dict(optimizer.state_dict())
                kept = other.state[param][key]
                self.assertEqual(kept.dtype, torch.float32)
                self.assertTrue(torch.equal(kept, optimizer.state[param][key]))
                narrow = make([param], fp32_optimizer_states=False)
                narrow.step()
                self.assertEqual(narrow.state[param][key].dtype, dtype)
                narrow.load_state_dict(optimizer.state_dict())
                self.assertEqual(narrow.state[param][key].dtype, dtype)
                narrow.step()

    def test_older_states(self):
        """A number for a step, and none of the newer keys."""
        param = torch.nn.Parameter(torch.ones(3))
        optimizer = CPUAdam([param], adamw_mode=False)
        optimizer.load_state_dict({
            "state": {0: {"step": 7, "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}},
            "param_groups": [{"params": [0], "lr": 0.5, "betas": (0.9, 0.99), "eps": 1e-8,
                              "weight_decay": 0, "bias_correction": False}]})
        param.grad = torch.ones(3)
        optimizer.step()
        self.assertEqual(float(optimizer.state[param]["step"]), 8.0)
        # Both moments stay 1, and nothing is corrected.
        torch.testing.assert_close(param.detach(), torch.full((3,), 0.5))

    def test_copies(self):
        network = model()
        optimizer = CPUAdam(network.parameters(), adamw_mode=False, bias_correction=False)
        self.train(network, optimizer, 0, 2)
        for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
            self.assertFalse(other.adamw_mode or other.bias_correction)
            self.assertTrue(other.fp32_optimizer_states)
            for p in other.param_groups[0]["params"]:
                p.grad = torch.ones_like(p)
            other.step()


@unittest.skipIf(missing(), missing())
class Steps(unittest.TestCase):
    def test_closure_groups_and_schedule(self):
        for name, ours_of, theirs_of in kinds():
            with self.subTest(name):
                ends = []
                for make in (ours_of, theirs_of):
                    network = model()
                    first, *rest = network.parameters()
                    unused = torch.nn.Parameter(torch.ones(3))
                    optimizer = make([{"params": [first, unused], "lr": 1e-3}, {"params": rest}])
                    extra = torch.nn.Parameter(torch.ones(2, 2))
                    optimizer.add_param_group({"params": [extra], "weight_decay": 0.5, "lr": 1e-3})
                    if name == "Adagrad" and make is theirs_of and not optimizer.state[extra]:
                        # torch's own makes the state of the first groups only.
                        optimizer.state[extra].update(
                            step=torch.tensor(0.0), sum=torch.full((2, 2), 0.1))
                    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

                    def closure():
                        optimizer.zero_grad()
                        loss = loss_of(network) + (extra**2).sum()
                        loss.backward()
                        return loss
                    losses = []
                    for _ in range(3):
                        losses.append(optimizer.step(closure).item())
                        schedule.step()
                    self.assertEqual(unused.detach().tolist(), [1.0] * 3)
                    ends.append((losses, [first, extra, *rest]))
                self.assertGreater(ends[0][0][0], ends[0][0][-1])
                for a, b in zip(ends[0][1], ends[1][1]):
                    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)

    def test_memory_formats(self):
        for name, ours_of, theirs_of in kinds():
            with self.subTest(name):
                torch.manual_seed(3)
                start, gradients = torch.randn(4, 5, 3, 2), torch.randn(2, 4, 5, 3, 2)
                ours = torch.nn.Parameter(start.clone().contiguous(
                    memory_format=torch.channels_last))
                turned = torch.nn.Parameter(start[0, 0].clone().t())
                theirs = torch.nn.Parameter(start.clone())
                pair = ours_of([ours, turned]), theirs_of([theirs])
                for g in gradients:
                    ours.grad = theirs.grad = g
                    turned.grad = torch.ones(1).expand(2, 3)
                    for optimizer in pair:
                        optimizer.step()
                torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-6, atol=1e-6)
                self.assertTrue(ours.is_contiguous(memory_format=torch.channels_last))
                # States that came from elsewhere lie otherwise.
                pair[0].load_state_dict({**pair[0].state_dict(), "state": {
                    0: copy.deepcopy(pair[1].state_dict()["state"][0]),
                    1: pair[0].state_dict()["state"][1]}})
                for optimizer in pair:
                    optimizer.step()
                torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-6, atol=1e-6)

    def test_param_copies_and_rollback(self):
        network = model()
        optimizer = CPUAdam(network.parameters(), **ADAM)
        params = list(network.parameters())
        copies = [[torch.zeros_like(p, dtype=torch.bfloat16) if p.dim() > 1 else None
                   for p in params]]
        loss_of(network).backward()
        with self.assertRaisesRegex(RuntimeError, "no step that could be undone"):
            optimizer.rollback()
        start = [p.detach().clone() for p in params]
        optimizer.step(param_copies=copies)
        for p, half in zip(params, copies[0]):
            self.assertTrue(half is None or torch.equal(p.detach().to(torch.bfloat16), half))
        optimizer.rollback(copies)
        for p, half, old in zip(params, copies[0], start):
            # The parameter is below 1 and the change 0.01: some roundings of the one.
            torch.testing.assert_close(p.detach(), old, rtol=0, atol=4 * U)
            self.assertTrue(half is None or torch.equal(p.detach().to(torch.bfloat16), half))
            self.assertEqual(float(optimizer.state[p]["step"]), 0.0)
        for wrong in ([], [[None]]):
            with self.assertRaisesRegex(ValueError, "^param_copies: has "):
                optimizer.step(param_copies=wrong)

    def test_backward_after_a_step_is_refused(self):
        param = torch.nn.Parameter(torch.ones(2))
        for make in (CPUAdam, CPUAdagrad):
            loss = (param * param).sum()
            param.grad = torch.ones(2)
            make([param]).step()
            with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
                loss.backward()

    def test_threads_of_torch(self):
        # One thread for zeros: a newer torch and the op share one runtime and its threads.
        program = ("import os,torch\nfrom ds_ops import cpu_adam\ntorch.set_num_threads(1)\n"
                   "a=[[torch.zeros(2000000)] for _ in range(4)]\ntorch.set_num_threads(%d)\n"
                   "old=len(os.listdir('/proc/self/task'))\ncpu_adam.step(*a,step=1%s)\n"
                   "print(len(os.listdir('/proc/self/task'))-old)")
        cpus = len(os.sched_getaffinity(0))
        for number, given, expected in ((1, "", 0), (2, "", min(2, cpus) - 1),
                                        (1, ",threads=3", 2)):
            done = subprocess.run([sys.executable, "-W", "ignore", "-c", program % (number, given)],
                                  check=True, capture_output=True, text=True,
                                  env={**os.environ, "OMP_NUM_THREADS": "4"})
            self.assertEqual(int(done.stdout), expected)


@unittest.skipIf(missing(), missing())
class Refused(unittest.TestCase):
    def test_options(self):
        params = [torch.nn.Parameter(torch.ones(2))]
        with self.assertRaisesRegex(ValueError, "^amsgrad: CPUAdam does not have it; use torch"):
            CPUAdam(params, amsgrad=True)
        with self.assertRaisesRegex(ValueError, "^amsgrad: "):
            CPUAdagrad(params, amsgrad=True)
        for make in (CPUAdam, CPUAdagrad):
            for name, value in (("lr", -1.0), ("eps", float("nan")), ("weight_decay", -0.1)):
                with self.assertRaisesRegex(ValueError, f"^{name}: "):
                    make(params, **{name: value})
            optimizer = make(params)
            more = [torch.nn.Parameter(torch.ones(2))]
            for wrong in ({"maximize": True}, {"lr": -1.0}):
                with self.assertRaisesRegex(ValueError, f"^{next(iter(wrong))}: "):
                    optimizer.add_param_group({"params": more, **wrong})
            self.assertEqual(len(optimizer.param_groups), 1)
            with self.assertRaisesRegex(TypeError, "^params: one has elements of type .*float64"):
                make([torch.nn.Parameter(torch.ones(2, dtype=torch.float64))])
            with self.assertRaisesRegex(ValueError, "^params: one is on meta, and "):
                make([torch.nn.Parameter(torch.ones(2, device="meta"))])

    def test_states(self):
        param = torch.nn.Parameter(torch.ones(2))
        param.grad = torch.ones(2)
        theirs, ours = torch.optim.Adam([param], amsgrad=True), CPUAdam([param])
        theirs.step()
        before = copy.deepcopy(ours.state_dict())
        with self.assertRaisesRegex(ValueError, "^amsgrad: "):
            ours.load_state_dict(theirs.state_dict())
        self.assertEqual(ours.state_dict(), before)

    def test_gradients(self):
        param, other = (torch.nn.Parameter(torch.ones(4, 2)) for _ in range(2))
        other.grad = torch.ones(4, 2)
        for make in (CPUAdam, CPUAdagrad):
            optimizer = make([other, param])
            param.grad = torch.ones(4, 2).to_sparse()
            with self.assertRaisesRegex(RuntimeError, "does not support sparse gradients"):
                optimizer.step()
            self.assertEqual(other.detach().tolist(), [[1.0, 1.0]] * 4)

    def test_names(self):
        """Tensors that go the short way are named too."""
        from ds_ops import cpu_adam
        p, g, m, v = ([torch.ones(2)] for _ in range(4))
        for error, pattern, arrays in (
                (ValueError, r"params\[0\]|grads\[0\]", (p, p, m, v)),
                (TypeError, r"^exp_avg\[0\]: must have", (p, g, [m[0].half()], [v[0].half()])),
                (TypeError, r"^exp_avg_sq\[0\]: must have", (p, g, m, [v[0].half()])),
                (ValueError, r"^grads\[0\]: has shape", (p, [g[0][:1]], m, v)),
                (ValueError, r"^grads\[0\]: is not contiguous", (p, [torch.ones(4)[::2]], m, v)),
                (ValueError, "^grads: has 0 arrays", (p, [], m, v))):
            with self.assertRaisesRegex(error, pattern):
                cpu_adam.step(*arrays, step=1)


if __name__ == "__main__":
    unittest.main()
