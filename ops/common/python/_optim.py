# SPDX-License-Identifier: Apache-2.0
"""What the optimizers for PyTorch share; see ``ds_ops.optim``."""
from __future__ import annotations

from typing import Any, Dict, Iterable, Optional, Tuple

import torch


def defaults_like(kind: Any, **values: Any) -> Dict[str, Any]:
    """The defaults that the optimizer ``kind`` of this torch has, with ``values`` in place of its
    own: so a group has the keys that torch's own has in each version, and no others."""
    own = kind([torch.zeros(1, device="cpu")]).defaults
    return {key: values.get(key, value) for key, value in own.items()}


def step_number(step: Any) -> int:
    """The number of steps taken, from a state's ``step``, which is a tensor or a number."""
    return int(step.item()) if isinstance(step, torch.Tensor) else int(step)


def step_tensor(step: Any = 0) -> torch.Tensor:
    """A state's ``step`` as torch's optimizers keep it."""
    wide = torch.get_default_dtype() == torch.float64
    return torch.tensor(float(step_number(step)), device="cpu",
                        dtype=torch.float64 if wide else torch.float32)


def mark_written(tensors: Iterable[torch.Tensor]) -> None:
    """Tells autograd that ``tensors`` were written to, so that a backward pass that needs the old
    values raises."""
    increment = getattr(torch.autograd.graph, "increment_version", None)  # from 2.1 on
    for tensor in tensors:
        if increment is not None:
            increment(tensor)
        else:
            tensor.detach().unsqueeze(0).narrow(0, 0, 0).zero_()  # writes to none of its elements


def storage_order(param: torch.Tensor) -> Tuple[int, ...]:
    """The order of the dimensions in which a dense ``param`` lies in memory row by row."""
    return tuple(sorted(range(param.dim()), key=lambda d: (param.stride(d), param.shape[d]),
                        reverse=True))


class Optimizer(torch.optim.Optimizer):
    """An optimizer whose steps are taken by an op.

    A subclass names its ``_states`` and the options of torch's that it refuses.
    """

    _states: Tuple[str, ...] = ()
    _refused: Tuple[str, ...] = ("amsgrad", "maximize", "differentiable")
    _instead = ""
    _attributes: Tuple[str, ...] = ()

    def add_param_group(self, param_group: Dict[str, Any]) -> None:
        """As torch's; ValueError or TypeError for parameters and options that do not work here,
        and nothing has been added then."""
        super().add_param_group(param_group)
        try:
            self._check_group(self.param_groups[-1])
        except Exception:
            self.param_groups.pop()
            raise

    def _check_group(self, group: Dict[str, Any]) -> None:
        self._check_options(group)
        for param in group["params"]:
            self._check_param(param)

    def _check_options(self, group: Dict[str, Any]) -> None:
        for name in self._refused:
            if group.get(name):
                raise ValueError(f"{name}: {type(self).__name__} does not have it; use "
                                 f"{self._instead}")

    def _in_order(self, param: torch.Tensor, state: Dict[str, Any],
                  copy: Optional[torch.Tensor] = None) -> Dict[str, torch.Tensor]:
        """The tensors of a parameter, and of a copy of it, as views that are row-major, whatever
        its memory format."""
        tensors = {"params": param, "grads": param.grad, **{k: state[k] for k in self._states}}
        if copy is not None:
            tensors["param_copy"] = copy
        if all(tensor.is_contiguous() for tensor in tensors.values()):
            return tensors
        order = storage_order(param)
        for key in self._states:
            if not state[key].permute(order).is_contiguous():
                state[key] = tensors[key] = torch.empty_like(param, dtype=state[key].dtype).copy_(
                    state[key])
        tensors = {key: tensor.permute(order) for key, tensor in tensors.items()}
        tensors["grads"] = tensors["grads"].contiguous()
        return tensors

    def _check_param(self, param: torch.Tensor) -> None:
        raise NotImplementedError

    def _state_dtype(self, param: torch.Tensor) -> torch.dtype:
        raise NotImplementedError

    def __getstate__(self) -> Dict[str, Any]:
        return {**super().__getstate__(),
                **{name: getattr(self, name) for name in self._attributes}}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for key, value in self.defaults.items():
                group.setdefault(key, value)
            self._check_group(group)
            for param in group["params"]:
                kept = self.state.get(param)
                # Older versions kept a number, a run on a GPU a tensor there.
                if kept and "step" in kept and not (isinstance(kept["step"], torch.Tensor)
                                                    and kept["step"].device.type == "cpu"):
                    kept["step"] = step_tensor(kept["step"])

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Takes what ``state_dict()`` of this optimizer or of torch's own gave. ValueError for
        options that do not work here, before anything has changed."""
        for group in state_dict["param_groups"]:
            self._check_options({**self.defaults, **group})
        super().load_state_dict(state_dict)
        # torch rounds all states to the type of their parameter.
        saved = state_dict["state"]
        numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for number, param in zip(numbers, params):
            for key in self._states:
                value = saved.get(number, {}).get(key)
                dtype = self._state_dtype(param)
                if value is not None and self.state[param][key].dtype != dtype:
                    self.state[param][key] = value.detach().to(param.device, dtype, copy=True)
