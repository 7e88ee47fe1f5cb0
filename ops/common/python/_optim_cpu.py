# SPDX-License-Identifier: Apache-2.0
"""Optimizers for PyTorch on the CPU; see ``ds_ops.optim``."""
from __future__ import annotations

import functools
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch

import ds_ops
from ds_ops import _adam
from ds_ops._optim import Optimizer, defaults_like, mark_written, step_number, step_tensor

_op = functools.lru_cache(None)(ds_ops.load)
_Copies = Optional[Sequence[Sequence[Optional[torch.Tensor]]]]


class _CPUOptimizer(Optimizer):
    """Gathers what has a gradient, hands it to an op in few calls, counts the steps."""

    _attributes = ("fp32_optimizer_states",)
    _on_gpu = ""
    fp32_optimizer_states = True

    def _take(self, group: Dict[str, Any], number: int, lists: Dict[str, List[torch.Tensor]],
              undo: bool) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None,
             param_copies: _Copies = None) -> Any:
        """Takes one step for all parameters that have a gradient; returns what ``closure`` does.

        ``param_copies``: for each group a list with a tensor, or None, for each of its parameters,
        in CPU memory, float32, float16 or bfloat16, of the same shape. It gets the new parameter in
        the same pass over the memory.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._run(param_copies, undo=False)
        return loss

    def _run(self, copies: _Copies, undo: bool) -> None:
        # All is gathered first, so that what is refused leaves everything as it was.
        if copies is not None and len(copies) != len(self.param_groups):
            raise ValueError(f"param_copies: has {len(copies)} lists for "
                             f"{len(self.param_groups)} groups")
        calls = []
        for at, group in enumerate(self.param_groups):
            calls += [(group, *key, lists) for key, lists in
                      self._gather(group, None if copies is None else copies[at], undo).items()]
        for group, number, _, lists in calls:
            steps = lists.pop("step")
            self._take(group, number, lists, undo)
            torch._foreach_add_(steps, -1.0 if undo else 1.0)
            mark_written(lists["params"])

    def _gather(self, group: Dict[str, Any], copies: Optional[Sequence[Optional[torch.Tensor]]],
                undo: bool) -> Dict[Tuple[int, bool], Dict[str, List[torch.Tensor]]]:
        """The tensors of a group by the number of the step that is taken or undone, and by whether
        there is a copy."""
        if copies is not None and len(copies) != len(group["params"]):
            raise ValueError(f"param_copies: has {len(copies)} for a group of "
                             f"{len(group['params'])} parameters")
        gathered: Dict[Tuple[int, bool], Dict[str, List[torch.Tensor]]] = {}
        for i, param in enumerate(group["params"]):
            if param.grad is None:
                continue
            self._check_param(param)
            if param.grad.layout != torch.strided:
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
            copy = None if copies is None else copies[i]
            state = self._state_of(param, group)
            number = step_number(state["step"]) + (0 if undo else 1)
            if number < 1:
                raise RuntimeError("there is no step that could be undone")
            lists = gathered.setdefault((number, copy is not None), {
                key: [] for key in ("params", "grads", *self._states, "param_copy", "step")})
            lists["step"].append(state["step"])
            for key, tensor in self._in_order(param, state, copy).items():
                lists[key].append(tensor)
        return gathered

    def _state_of(self, param: torch.Tensor, group: Dict[str, Any]) -> Dict[str, Any]:
        state = self.state[param]
        if not state:
            state["step"] = step_tensor()
            for key in self._states:
                state[key] = torch.zeros_like(param, dtype=self._state_dtype(param),
                                              memory_format=torch.preserve_format)
        return state

    def _check_param(self, param: torch.Tensor) -> None:
        if param.device.type != "cpu":
            raise ValueError(f"params: one is on {param.device}, and {type(self).__name__} works "
                             f"in CPU memory{self._on_gpu}")
        if param.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise TypeError(f"params: one has elements of type {param.dtype}; "
                            f"{type(self).__name__} has float32, float16 and bfloat16")

    def _state_dtype(self, param: torch.Tensor) -> torch.dtype:
        return torch.float32 if self.fp32_optimizer_states else param.dtype


class CPUAdam(_CPUOptimizer):
    """Adam and AdamW by ``ds_ops.cpu_adam``, for parameters in CPU memory.

    The arguments are those of DeepSpeed's DeepSpeedCPUAdam. ``adamw_mode=True`` is AdamW,
    ``False`` Adam with L2 regularisation. ``bias_correction=False`` takes the moments as they are.
    Moments are float32 or, with ``fp32_optimizer_states=False``, of the parameter's type.
    ``amsgrad=True`` is refused. The state and the groups have the keys and types of
    torch.optim.AdamW's or Adam's, and load into them and from them.

    Parameters: float32, float16 or bfloat16, of any dense memory format. Threads: as many as
    torch.get_num_threads().
    """

    _states = ("exp_avg", "exp_avg_sq")
    _attributes = ("fp32_optimizer_states", "adamw_mode", "bias_correction")
    _instead = "torch.optim.Adam or AdamW"
    _on_gpu = "; use ds_ops.optim.FusedAdam there"

    def __init__(self, params: Any, lr: float = 1e-3, bias_correction: bool = True,
                 betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, adamw_mode: bool = True,
                 fp32_optimizer_states: bool = True) -> None:
        self.adamw_mode, self.bias_correction = bool(adamw_mode), bool(bias_correction)
        self.fp32_optimizer_states = bool(fp32_optimizer_states)
        _op("cpu_adam")
        like = torch.optim.AdamW if adamw_mode else torch.optim.Adam
        super().__init__(params, defaults_like(
            like, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
            decoupled_weight_decay=self.adamw_mode))

    def _check_options(self, group: Dict[str, Any]) -> None:
        super()._check_options(group)
        _adam.options(1, **self._settings(group), adamw=True, bias_correction=True)

    def _check_group(self, group: Dict[str, Any]) -> None:
        super()._check_group(group)
        if "decoupled_weight_decay" in self.defaults:
            group["decoupled_weight_decay"] = self.adamw_mode

    def _settings(self, group: Dict[str, Any]) -> Dict[str, Any]:
        return {"lr": float(group["lr"]), "betas": tuple(float(beta) for beta in group["betas"]),
                "eps": float(group["eps"]), "weight_decay": float(group["weight_decay"])}

    def _take(self, group: Dict[str, Any], number: int, lists: Dict[str, List[torch.Tensor]],
              undo: bool) -> None:
        function = _op("cpu_adam").rollback if undo else _op("cpu_adam").step
        # DeepSpeed's own keeps bias_correction in its groups.
        function(lists["params"], lists["grads"], lists["exp_avg"], lists["exp_avg_sq"],
                 step=number, adamw=self.adamw_mode, param_copy=lists["param_copy"] or None,
                 bias_correction=group.get("bias_correction", self.bias_correction),
                 **self._settings(group))

    @torch.no_grad()
    def rollback(self, param_copies: _Copies = None) -> None:
        """Undoes the last ``step``, whose gradients must still be there; see
        ``ds_ops.cpu_adam.rollback`` for what it cannot bring back. RuntimeError: no step was taken.
        """
        self._run(param_copies, undo=True)


class CPUAdagrad(_CPUOptimizer):
    """Adagrad by ``ds_ops.cpu_adagrad``, for parameters in CPU memory.

    The arguments are those of torch.optim.Adagrad, and DeepSpeed's ``amsgrad`` (refused) and
    ``fp32_optimizer_states``. The sum of squares is float32 or, with
    ``fp32_optimizer_states=False``, of the parameter's type. The state and the groups have the keys
    and types of torch.optim.Adagrad's, and load into it and from it.

    Parameters: float32, float16 or bfloat16, of any dense memory format. Threads: as many as
    torch.get_num_threads().
    """

    _states = ("sum",)
    _instead = "torch.optim.Adagrad"

    def __init__(self, params: Any, lr: float = 1e-2, eps: float = 1e-10,
                 weight_decay: float = 0, amsgrad: bool = False, lr_decay: float = 0,
                 initial_accumulator_value: float = 0,
                 fp32_optimizer_states: bool = True) -> None:
        if amsgrad:
            raise ValueError("amsgrad: Adagrad has no such variant")
        self.fp32_optimizer_states = bool(fp32_optimizer_states)
        _op("cpu_adagrad")
        super().__init__(params, defaults_like(
            torch.optim.Adagrad, lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value))

    def add_param_group(self, param_group: Dict[str, Any]) -> None:
        """As torch's; ValueError or TypeError for parameters and options that do not work here,
        and nothing has been added then."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for param in group["params"]:
            self._state_of(param, group)

    def _check_options(self, group: Dict[str, Any]) -> None:
        super()._check_options(group)
        for name in ("lr", "eps", "weight_decay", "lr_decay", "initial_accumulator_value"):
            # Written so that a NaN is refused too.
            if not 0 <= float(group[name]) < float("inf"):
                raise ValueError(f"{name}: must be finite and not negative, is {group[name]!r}")

    def _state_of(self, param: torch.Tensor, group: Dict[str, Any]) -> Dict[str, Any]:
        fresh = not self.state[param]
        state = super()._state_of(param, group)
        if fresh:
            state["sum"].fill_(group["initial_accumulator_value"])
        return state

    def _take(self, group: Dict[str, Any], number: int, lists: Dict[str, List[torch.Tensor]],
              undo: bool) -> None:
        lr = float(group["lr"]) / (1 + (number - 1) * float(group["lr_decay"]))
        _op("cpu_adagrad").step(lists["params"], lists["grads"], lists["sum"], lr=lr,
                        eps=float(group["eps"]), weight_decay=float(group["weight_decay"]),
                        param_copy=lists["param_copy"] or None)
