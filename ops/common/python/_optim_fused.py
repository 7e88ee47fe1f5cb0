# SPDX-License-Identifier: Apache-2.0
"""Optimizers for PyTorch on NVIDIA GPUs; see ``ds_ops.optim``."""
from __future__ import annotations

import functools
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch

import ds_ops
from ds_ops import _adam
from ds_ops._optim import Optimizer, defaults_like, mark_written, step_number, step_tensor

_op = functools.lru_cache(None)(ds_ops.load)


class _Call(NamedTuple):
    """What goes to an op at once: parameters of one group, GPU, type and step."""

    group: Dict[str, Any]
    cache: Any
    lists: Dict[str, List[torch.Tensor]]
    steps: List[torch.Tensor]
    places: List[int]  # of each parameter among those of all calls
    number: Optional[int]  # of this step; None: `steps` are on the GPU and know it


class _FusedOptimizer(Optimizer):
    """Gathers what has a gradient, hands it to an op in few calls, counts the steps."""

    _states = ("exp_avg", "exp_avg_sq")
    _op_name = ""
    # GradScaler then leaves the scale and its flag to us; before torch 2 it did so in another way.
    _step_supports_amp_scaling = int(torch.__version__.partition(".")[0]) >= 2
    _device = "cuda"

    def _take(self, call: _Call, **values: Any) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        """Queues one step for all parameters that have a gradient, on the current stream of their
        GPU; returns what ``closure`` does.

        With a ``torch.amp.GradScaler`` gradients are divided by the scale, and nothing changes if
        one of them is not finite; that costs a wait for the GPU unless ``capturable`` is on.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        # All is gathered first, so that what is refused leaves everything as it was.
        calls = self._gather()
        for call in calls:
            flag = found_inf
            if call.number is not None and flag is not None:
                # The number on the host must know whether the step was taken.
                if flag.item() != 0:
                    continue
                flag = None
            self._run(call, scale, flag)
        return loss

    def _run(self, call: _Call, scale: Optional[torch.Tensor],
             found_inf: Optional[torch.Tensor]) -> None:
        device = call.lists["params"][0].device
        if scale is not None:
            scale = scale.to(device, non_blocking=True).double().reciprocal().float()
        if found_inf is not None:
            found_inf = found_inf.to(device, non_blocking=True)
        lr = call.group["lr"]
        if isinstance(lr, torch.Tensor):
            lr = float(lr) if lr.device.type == "cpu" else lr.to(device, torch.float32)
        torch._foreach_add_(call.steps, 1.0)
        try:
            self._take(call, step=call.steps if call.number is None else call.number, lr=lr,
                       betas=tuple(float(beta) for beta in call.group["betas"]),
                       eps=float(call.group["eps"]),
                       weight_decay=float(call.group["weight_decay"]), inv_scale=scale,
                       noop_flag=found_inf, cache=call.cache)
        except Exception:
            torch._foreach_sub_(call.steps, 1.0)
            raise
        if found_inf is not None:
            skipped = (found_inf != 0).to(torch.float32).reshape(())
            torch._foreach_sub_(call.steps, [skipped] * len(call.steps))
        mark_written(call.lists["params"])

    def _gather(self) -> List[_Call]:
        calls: List[_Call] = []
        place = 0
        captured = (self._device == "cuda" and torch.cuda.is_available()
                    and torch.cuda.is_current_stream_capturing())
        for at, group in enumerate(self.param_groups):
            if captured and not group["capturable"]:
                raise RuntimeError(f"{type(self).__name__}: a CUDA graph is being captured, and "
                                   "capturable is not on: every replay would be the same step")
            found: Dict[Any, _Call] = {}
            for param in group["params"]:
                if param.grad is not None:
                    self._add(found, at, group, param).places.append(place)
                    place += 1
            calls += found.values()
        return calls

    def _add(self, found: Dict[Any, _Call], at: int, group: Dict[str, Any],
             param: torch.Tensor) -> _Call:
        """Puts a parameter into the call that it belongs to."""
        self._check_param(param)
        if param.grad.layout != torch.strided:
            raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
        state = self._state_of(param, group)
        number = None if group["capturable"] else step_number(state["step"]) + 1
        key = (param.device, param.dtype, number)
        if key not in found:
            cache = self._caches.setdefault((at, len(found)), _op(self._op_name).Cache())
            found[key] = _Call(group, cache,
                               {name: [] for name in ("params", "grads", *self._states)}, [],
                               [], number)
        found[key].steps.append(state["step"])
        for name, tensor in self._in_order(param, state).items():
            found[key].lists[name].append(tensor)
        return found[key]

    def _state_of(self, param: torch.Tensor, group: Dict[str, Any]) -> Dict[str, Any]:
        state = self.state[param]
        if not state:
            state["step"] = (torch.zeros((), dtype=torch.float32, device=param.device)
                             if group["capturable"] else step_tensor())
            for key in self._states:
                state[key] = torch.zeros_like(param, memory_format=torch.preserve_format)
        return state

    @property
    def _caches(self) -> Dict[Tuple[int, int], Any]:
        # Not a part of the state: a copy of the optimizer begins with none.
        return self.__dict__.setdefault("_cache_of_call", {})

    def _check_param(self, param: torch.Tensor) -> None:
        if param.device.type != self._device:
            raise ValueError(f"params: one is on {param.device}, and {type(self).__name__} works "
                             "on NVIDIA GPUs; use ds_ops.optim.CPUAdam in CPU memory")
        if str(param.dtype).rpartition(".")[2] not in _adam.DTYPES:
            raise TypeError(f"params: one has elements of type {param.dtype}; "
                            f"{type(self).__name__} has {', '.join(_adam.DTYPES)}")

    def _state_dtype(self, param: torch.Tensor) -> torch.dtype:
        return param.dtype

    def _check_options(self, group: Dict[str, Any]) -> None:
        super()._check_options(group)
        _adam.options(1, float(group["lr"]), tuple(float(beta) for beta in group["betas"]),
                      float(group["eps"]), float(group["weight_decay"]), True, True)

    def __setstate__(self, state: Dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for param in group["params"] if group["capturable"] else ():
                kept = self.state.get(param)
                if kept:
                    kept["step"] = kept["step"].to(param.device, torch.float32)


class FusedAdam(_FusedOptimizer):
    """Adam and AdamW by ``ds_ops.fused_adam``, for parameters on GPUs, in one launch for many.

    The arguments are those of DeepSpeed's FusedAdam. ``adam_w_mode=True`` is AdamW, ``False`` Adam
    with L2 regularisation. ``bias_correction=False`` takes the moments as they are.
    ``capturable``: steps are counted on the GPU, and ``lr`` may be a tensor there, so that a CUDA
    graph may hold ``step()``. ``amsgrad=True`` is refused. The state and the groups have the keys
    and types of torch.optim.AdamW's or Adam's, and load into them and from them.

    Parameters: float32, float16, bfloat16 or float64, moments of the same type, of any dense memory
    format.
    """

    _op_name = "fused_adam"
    _attributes = ("adam_w_mode", "bias_correction")
    _instead = "torch.optim.Adam or AdamW"

    def __init__(self, params: Any, lr: Any = 1e-3, bias_correction: bool = True,
                 betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 adam_w_mode: bool = True, weight_decay: float = 0, amsgrad: bool = False,
                 capturable: bool = False) -> None:
        self.adam_w_mode, self.bias_correction = bool(adam_w_mode), bool(bias_correction)
        _op(self._op_name)
        super().__init__(params, defaults_like(
            torch.optim.AdamW if adam_w_mode else torch.optim.Adam, lr=lr, betas=betas, eps=eps,
            weight_decay=weight_decay, amsgrad=amsgrad, capturable=bool(capturable),
            decoupled_weight_decay=self.adam_w_mode))

    def _check_group(self, group: Dict[str, Any]) -> None:
        super()._check_group(group)
        if "decoupled_weight_decay" in self.defaults:
            group["decoupled_weight_decay"] = self.adam_w_mode

    def _take(self, call: _Call, **values: Any) -> None:
        # DeepSpeed's own keeps bias_correction in its groups.
        _op(self._op_name).step(
            call.lists["params"], call.lists["grads"], call.lists["exp_avg"],
            call.lists["exp_avg_sq"], adamw=self.adam_w_mode,
            bias_correction=call.group.get("bias_correction", self.bias_correction), **values)


class FusedLamb(_FusedOptimizer):
    """LAMB by ``ds_ops.fused_lamb``, for parameters on GPUs, in two launches for many.

    The formula is the paper's (arXiv:1904.00962). ``bias_correction="step"`` is DeepSpeed's: the
    step size alone is corrected. ``min_coeff`` and ``max_coeff`` bound the trust ratio,
    ``eps_inside_sqrt`` puts eps under the root. ``capturable`` and the types of parameters are
    those of FusedAdam. The state has the keys and types of torch.optim.Adam's, and loads into it
    and from it. ``amsgrad=True`` is refused.
    """

    _op_name = "fused_lamb"
    _instead = "torch.optim.Adam"

    def __init__(self, params: Any, lr: Any = 1e-3, bias_correction: Any = True,
                 betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 eps_inside_sqrt: bool = False, weight_decay: float = 0, max_coeff: float = 10.0,
                 min_coeff: float = 0.01, amsgrad: bool = False, capturable: bool = False) -> None:
        _op(self._op_name)
        self._ratios: List[Tuple[List[int], torch.Tensor]] = []
        super().__init__(params, {
            "lr": lr, "bias_correction": bias_correction, "betas": betas, "eps": eps,
            "eps_inside_sqrt": bool(eps_inside_sqrt), "weight_decay": weight_decay,
            "max_coeff": max_coeff, "min_coeff": min_coeff, "amsgrad": amsgrad,
            "capturable": bool(capturable)})

    def get_lamb_coeffs(self) -> List[float]:
        """The trust ratios of the last step, in the order of the parameters that had a gradient;
        waits for it."""
        found = {place: ratio for places, ratios in self._ratios
                 for place, ratio in zip(places, ratios.tolist())}
        return [found[place] for place in sorted(found)]

    def _check_options(self, group: Dict[str, Any]) -> None:
        super()._check_options(group)
        if not 0 <= group["min_coeff"] <= group["max_coeff"]:
            raise ValueError("min_coeff, max_coeff: must be 0 <= min_coeff <= max_coeff, are "
                             f"{group['min_coeff']!r} and {group['max_coeff']!r}")
        if group["bias_correction"] not in (True, False, "step"):
            raise ValueError("bias_correction: must be True, False or 'step', is "
                             f"{group['bias_correction']!r}")

    def _gather(self) -> List[_Call]:
        calls = super()._gather()
        self._ratios = []
        return calls

    def _take(self, call: _Call, **values: Any) -> None:
        params = call.lists["params"]
        ratios = torch.ones(len(params), dtype=torch.float32, device=params[0].device)
        self._ratios.append((call.places, ratios))
        group = call.group
        _op(self._op_name).step(
            params, call.lists["grads"], call.lists["exp_avg"], call.lists["exp_avg_sq"],
            bias_correction=group["bias_correction"], min_coeff=float(group["min_coeff"]),
            max_coeff=float(group["max_coeff"]), eps_inside_sqrt=group["eps_inside_sqrt"],
            trust_ratios=ratios, **values)
