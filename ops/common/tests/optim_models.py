# SPDX-License-Identifier: Apache-2.0
"""A small model and the optimizers of the tests with PyTorch; ``torch`` is None without it."""
import warnings

import ds_ops

try:
    with warnings.catch_warnings():
        # An old torch beside a new NumPy says so.
        warnings.simplefilter("ignore")
        import torch
except ImportError:
    torch = None

if torch is not None:
    from ds_ops.optim import CPUAdagrad, CPUAdam
    torch.set_num_threads(1)  # the model is small, and other tests run beside it

U = 2.0**-24
ADAM = dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.05)
ADAGRAD = dict(lr=5e-2, eps=1e-10, weight_decay=0.05, lr_decay=0.01,
               initial_accumulator_value=0.1)


def missing():
    if torch is None:
        return "PyTorch is not installed (DS_DEPLOY_TORCH=1 tests/run)"
    lacking = {"cpu_adam", "cpu_adagrad"} - set(ds_ops.ops())
    return f"not installed: {', '.join(sorted(lacking))}" if lacking else None


def kinds():
    """Name, ours, torch's; each makes an optimizer of parameters and options."""
    return (
        ("AdamW", lambda p, **more: CPUAdam(p, **{**ADAM, **more}),
         lambda p, **more: torch.optim.AdamW(p, **{**ADAM, **more})),
        ("Adam", lambda p, **more: CPUAdam(p, adamw_mode=False, **{**ADAM, **more}),
         lambda p, **more: torch.optim.Adam(p, **{**ADAM, **more})),
        ("Adagrad", lambda p, **more: CPUAdagrad(p, **{**ADAGRAD, **more}),
         lambda p, **more: torch.optim.Adagrad(p, **{**ADAGRAD, **more})))


def model(dtype=None):
    torch.manual_seed(1)
    layers = torch.nn.Sequential(torch.nn.Linear(13, 31), torch.nn.Tanh(), torch.nn.Linear(31, 3))
    return layers.to(dtype) if dtype else layers


def loss_of(network, step=0):
    """The loss on a batch that depends on the step."""
    generator = torch.Generator().manual_seed(step % 10)
    dtype = next(network.parameters()).dtype
    x = torch.randn(64, 13, generator=generator).to(dtype)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin(), x.sum(1) / 4], 1)
    return ((network(x) - y)**2).mean()
