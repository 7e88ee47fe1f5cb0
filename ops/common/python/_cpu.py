# SPDX-License-Identifier: Apache-2.0
"""What the optimizers on the CPU share: levels, threads, element types of a call."""
from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ds_ops import _arrays
from ds_ops._arrays import View
from ds_ops._library import check, load

LEVELS = {"baseline": 1, "avx2": 2, "avx512": 3}
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}


class Op:
    """An op's library with its struct for one parameter.

    ``states`` are the names of its states. The struct has pointers to the parameter, the gradient,
    the states and the copy, then size and types. ``functions`` are those of the library that take
    an array of structs, their number, ``options``, a level and a number of threads.
    """

    def __init__(self, op_file: str, states: Sequence[str], options: Any,
                 functions: Sequence[str]) -> None:
        name = os.path.basename(os.path.dirname(os.path.abspath(op_file)))
        self.library, self.states = load(op_file), tuple(states)
        pointers = ("params", "grads", *states, "param_copy")
        numbers = ("param_dtype", "grad_dtype", "state_dtype", "copy_dtype")
        self.tensor = type("Tensor", (ctypes.Structure,), {"_fields_": [
            *((key, ctypes.c_void_p) for key in pointers), ("size", ctypes.c_int64),
            *((key, ctypes.c_int32) for key in numbers)]})
        self.best_level = getattr(self.library, f"ds_ops_{name}_best_level")
        for function in functions:
            getattr(self.library, function).argtypes = [
                ctypes.POINTER(self.tensor), ctypes.c_int64, ctypes.POINTER(options),
                ctypes.c_int32, ctypes.c_int32]

    def call(self, function: str, arrays: Dict[str, Any], dtypes: Dict[str, Optional[str]],
             settings: ctypes.Structure, cpu_level: Optional[str],
             threads: Optional[int]) -> None:
        """Calls one of its ``functions``. TypeError or ValueError names the argument."""
        _check_threads(threads)
        level, found = self.level(cpu_level), getattr(self.library, function)
        if arrays["param_copy"] is None:
            arrays = {key: value for key, value in arrays.items() if key != "param_copy"}

        def run(tensors: Any, of_torch: bool) -> int:
            count = (torch_threads() if of_torch else 0) if threads is None else threads
            return found(tensors, len(tensors), ctypes.byref(settings), level, int(count))

        tensors = self._of_torch(list(arrays.values()), dtypes)
        if tensors is not None and run(tensors, True) == 0:
            return
        # The long way says by name what was wrong.
        rows = _arrays.collect(arrays, dtypes, "cpu", read_only=("grads",))
        check(self.library, function, run(
            (self.tensor * len(rows))(*(self._tensor(row) for row in rows)),
            bool(rows) and _arrays.is_tensor(rows[0][0].owner)))

    def _of_torch(self, columns: List[Any], dtypes: Dict[str, Optional[str]]) -> Any:
        """The structs for plain tensors of PyTorch, or None: an optimizer with hundreds of
        parameters is bound by what is done here for each."""
        torch = sys.modules.get("torch")
        columns = [column if isinstance(column, list) else [column] for column in columns]
        if (torch is None or any(dtypes.values())
                or len({len(column) for column in columns}) != 1):
            return None
        codes = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
        kinds = (torch.Tensor, torch.nn.Parameter)
        with_copy = len(columns) > 2 + len(self.states)
        tensors = (self.tensor * len(columns[0]))()
        for i, row in enumerate(zip(*columns)):
            shape = getattr(row[0], "shape", None)
            for t in row:
                if not (type(t) in kinds and t.is_cpu and t.layout is torch.strided
                        and t.dtype in codes and t.shape == shape and t.is_contiguous()
                        and not t.is_neg()):
                    return None
            pointers = [t.data_ptr() for t in row]
            if len({t.dtype for t in row[2:2 + len(self.states)]}) != 1:
                return None
            tensors[i] = self.tensor(
                *pointers, *(() if with_copy else (None,)), row[0].numel(), codes[row[0].dtype],
                codes[row[1].dtype], codes[row[2].dtype], codes[row[-1].dtype] if with_copy else 0)
        return tensors

    def levels(self) -> List[str]:
        """What ``cpu_level`` may be on this CPU, slowest first."""
        return [name for name, number in LEVELS.items() if number <= self.best_level()]

    def level(self, name: Optional[str]) -> int:
        """The number of a level; without a name DS_OPS_CPU_LEVEL's, else 0. ValueError."""
        name = name or os.environ.get("DS_OPS_CPU_LEVEL")
        if not name:
            return 0
        if name not in self.levels():
            raise ValueError(f"cpu_level: must be one of {', '.join(self.levels())} on this CPU, "
                             f"is {name!r}")
        return LEVELS[name]

    def _tensor(self, row: Tuple[View, ...]) -> Any:
        params, grads, *states = row
        copy = states.pop() if len(states) > len(self.states) else None
        for v in (params, grads, *([copy] if copy else [])):
            if v.dtype not in DTYPES:
                raise TypeError(f"{v.name}: must have elements of type {', '.join(DTYPES)}, has "
                                f"{v.dtype}")
        for v in states:
            if v.dtype not in (params.dtype, "float32"):
                allowed = " or ".join(dict.fromkeys(("float32", params.dtype)))
                raise TypeError(f"{v.name}: must have elements of type {allowed}, has {v.dtype}")
            if v.dtype != states[0].dtype:
                raise TypeError(f"{v.name}: has elements of type {v.dtype}, {states[0].name} has "
                                f"{states[0].dtype}")
        return self.tensor(*(v.pointer for v in (params, grads, *states)),
                           copy.pointer if copy else None, params.size, DTYPES[params.dtype],
                           DTYPES[grads.dtype], DTYPES[states[0].dtype],
                           DTYPES[copy.dtype] if copy else 0)


def _check_threads(threads: Optional[int]) -> None:
    if threads is not None and (isinstance(threads, bool) or int(threads) != threads
                                or not 0 <= threads < 2**31):
        raise ValueError(f"threads: must be a whole number from 0 on, is {threads!r}")


def torch_threads() -> int:
    """As many threads as PyTorch uses, and no more than the CPUs of this process; 0: unknown.

    PyTorch brings an OpenMP runtime of its own, so that ours does not know torch.set_num_threads.
    """
    torch = sys.modules.get("torch")
    return min(torch.get_num_threads(), len(os.sched_getaffinity(0))) if torch else 0


def created(kind: str, kept: Dict[int, Any], number: int) -> Any:
    """What DeepSpeed's ``create_...`` kept under ``number``; ValueError: nothing."""
    if number not in kept:
        raise ValueError(f"optimizer_id: there is no {kind} optimizer {number!r}; create it first")
    return kept[number]
