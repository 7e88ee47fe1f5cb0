# SPDX-License-Identifier: Apache-2.0
"""LAMB on the GPU, in place, for many tensors in two launches.

You et al. 2020, arXiv:1904.00962, algorithm 2. With m and v the moments of Adam, their bias
corrected, and the Euclidean norms of whole parameters:

    u = m / (sqrt(v) + eps) + weight_decay * p
    p = p - lr * ratio * u,    ratio = |p| / |u|, within [min_coeff, max_coeff]; 1 if a norm is 0

``params``, ``exp_avg`` and ``exp_avg_sq`` have one element type: float32, float16, bfloat16
(arithmetic and sums in float32) or float64 (in double); gradients the same, or float16 or bfloat16
for float32 parameters, which may then also be copied out in 16 bits. The sums are formed in an
order that depends only on sizes, chunk size and alignment: the same call gives the same bits.

u is not kept between the launches but worked out again, so there is no buffer of the parameters'
size; a workspace of a few KiB holds the sums.
"""
from __future__ import annotations

import ctypes
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

from ds_ops import _adam, _arrays, _cuda, _multi_tensor
from ds_ops._library import check
from ds_ops._multi_tensor import Cache

__all__ = ["Cache", "lamb", "self_test", "step", "workspace_size"]

_lib = _cuda.load_cuda(__file__)
_void, _i32, _i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_double, _list = ctypes.c_double, _multi_tensor.LIST
_CORRECTIONS = {False: 0, True: 1, "step": 2}


class _Options(ctypes.Structure):
    """``ds_ops_lamb_options`` of fused_lamb.h."""

    _fields_ = [("lr", _double), ("beta1", _double), ("beta2", _double), ("eps", _double),
                ("weight_decay", _double), ("min_coeff", _double), ("max_coeff", _double),
                ("grad_scale", _double), ("step", _i64), ("correction", _i32),
                ("eps_inside", _i32)]


class _Arrays(ctypes.Structure):
    """``ds_ops_lamb_arrays`` of fused_lamb.h."""

    _fields_ = [("count", _i64), ("grads", _list), ("params", _list), ("exp_avg", _list),
                ("exp_avg_sq", _list), ("params_copy", _list), ("sizes", _multi_tensor.SIZES),
                ("dtype", _i32), ("grad_dtype", _i32), ("copy_dtype", _i32),
                ("trust_ratios", _void), ("workspace", _void), ("workspace_bytes", _i64)]


_lib.ds_ops_fused_lamb_workspace.argtypes = [_i64, _multi_tensor.SIZES, _i32, _i32,
                                             ctypes.POINTER(_i64)]
_lib.ds_ops_fused_lamb_step.argtypes = [
    _i32, ctypes.POINTER(_Arrays), ctypes.POINTER(_Options),
    ctypes.POINTER(_multi_tensor.DeviceValues), _i32, _void]


def workspace_size(sizes: Sequence[int], dtype: str = "float32", chunk_size: int = 0) -> int:
    """Bytes of workspace that ``step`` needs for parameters with these numbers of elements."""
    found = _i64()
    check(_lib, "ds_ops_fused_lamb_workspace", _lib.ds_ops_fused_lamb_workspace(
        len(sizes), (_i64 * len(sizes))(*sizes), _adam.DTYPES[dtype], chunk_size,
        ctypes.byref(found)))
    return found.value


def step(params: Any, grads: Any, exp_avg: Any, exp_avg_sq: Any, *, step: Any, lr: Any = 1e-3,
         betas: Tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
         min_coeff: float = 0.01, max_coeff: float = 10.0,
         bias_correction: Union[bool, str] = True, eps_inside_sqrt: bool = False,
         params_copy: Any = None, trust_ratios: Any = None, workspace: Any = None,
         grad_scale: float = 1.0, inv_scale: Any = None, noop_flag: Any = None,
         stream: Optional[int] = None, dtype: Optional[str] = None, chunk_size: int = 0,
         cache: Optional[Cache] = None) -> None:
    """Queues one step; ``params``, ``exp_avg`` and ``exp_avg_sq`` are changed in place.

    Each of the first four is one array or a list of arrays, contiguous, on one GPU, all four of a
    parameter with the same shape. ``params_copy``: arrays like them that receive the new parameters
    as float16 or bfloat16, for float32 parameters. ``trust_ratios``: a float32 array with one
    element per parameter, written. ``dtype``: what uint16 arrays hold.

    ``workspace``: an array of ``workspace_size`` bytes or more, at a multiple of 8; what it holds
    is lost. PyTorch tensors do without: its allocator gives the memory.

    ``min_coeff``, ``max_coeff``: bounds of the trust ratio. ``bias_correction``: True, as in the
    paper; False; or "step": as DeepSpeed, in the step size alone, so that the trust ratio and
    ``eps`` see the moments as they are. ``eps_inside_sqrt``: sqrt(v + eps) instead of sqrt(v) +
    eps. ``grad_scale``: gradients are divided by it.

    The other arguments are those of ``ds_ops.fused_adam.step``; where ``noop_flag`` says that
    nothing is to be changed, the trust ratios are left too.

    TypeError and ValueError name the argument that is wrong; OpError is CUDA's. It returns when
    the work is queued.
    """
    if not 0 <= chunk_size < 2**31:
        raise ValueError(f"chunk_size: must be from 0 to {2**31 - 1}, is {chunk_size!r}")
    columns = [params, grads, exp_avg, exp_avg_sq, *([] if params_copy is None else [params_copy])]
    lists = _multi_tensor.lists_of(columns, lambda: _lists(columns, dtype), cache)
    values, step, lr, views = _multi_tensor.device_values(lists.count, step, lr, inv_scale,
                                                          noop_flag)
    settings = _options(step, lr, betas, eps, weight_decay, (min_coeff, max_coeff), grad_scale,
                        bias_correction, eps_inside_sqrt)
    outputs = _outputs(lists, trust_ratios, workspace, params, chunk_size)
    _multi_tensor.check_values(views + outputs.views, lists)
    _arrays.check_overlap(views, outputs.views)
    if not lists.count:
        return
    p, g, m, v, *copy = lists.columns
    types = [_adam.DTYPES[name] for name in lists.dtypes]
    given = _Arrays(lists.count, g, p, m, v, copy[0] if copy else None, lists.sizes, types[0],
                    types[1], types[4] if copy else 0, outputs.trust_ratios, outputs.workspace,
                    outputs.workspace_bytes)
    code = _lib.ds_ops_fused_lamb_step(
        lists.device, ctypes.byref(given), ctypes.byref(settings), ctypes.byref(values),
        chunk_size, lists.stream(views + outputs.views) if stream is None else stream)
    check(_lib, "ds_ops_fused_lamb_step", code)


_take_step = step  # where an argument is called step too


def lamb(p: Any, p_copy: Any, m: Any, v: Any, g: Any, lr: float, beta1: float, beta2: float,
         max_coeff: float, min_coeff: float, eps: float, grad_scale: float, step: int, mode: int,
         bias_correction: int, decay: float) -> Any:
    """``step`` for one PyTorch tensor, with DeepSpeed's name, arguments and formula.

    ``p_copy`` may have no elements. ``mode`` is 0 for eps under the root, 1 outside.
    ``bias_correction``: that of the step size. Returns a float32 tensor with the trust ratio.
    """
    if mode not in (0, 1):
        raise ValueError(f"mode: must be 0 (eps inside the root) or 1 (outside), is {mode!r}")
    ratio = _arrays.library_of(p).empty(1, dtype=_arrays.library_of(p).float32, device=p.device)
    # DeepSpeed gives a copy for float32 gradients too, and does not write it.
    copies = p_copy.numel() > 0 and p_copy.dtype != p.dtype
    _take_step(p, g, m, v, step=step, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay,
               min_coeff=min_coeff, max_coeff=max_coeff, grad_scale=grad_scale,
               bias_correction="step" if bias_correction else False, eps_inside_sqrt=mode == 0,
               params_copy=p_copy if copies else None, trust_ratios=ratio)
    return ratio


class _Outputs(NamedTuple):
    """What a step writes beside the lists."""

    trust_ratios: Optional[int]
    workspace: int
    workspace_bytes: int
    views: List[_arrays.View]


def _outputs(lists: _multi_tensor.Lists, trust_ratios: Any, workspace: Any, params: Any,
             chunk_size: int) -> _Outputs:
    if not lists.count:
        return _Outputs(None, 0, 0, [])
    needed = workspace_size(lists.sizes, lists.dtypes[0], chunk_size)
    if workspace is None:
        tensor = params[0] if isinstance(params, (list, tuple)) else params
        if not _arrays.is_tensor(tensor):
            raise ValueError(f"workspace: must be given, {needed} bytes, where the parameters are "
                             "no PyTorch tensors")
        torch = _arrays.library_of(tensor)
        workspace = torch.empty(needed, dtype=torch.uint8, device=tensor.device)
    room = _arrays.view("workspace", workspace, writable=True, device="cuda")
    if room.nbytes < needed:
        raise ValueError(f"workspace: has {room.nbytes} bytes, {needed} are needed")
    if room.pointer % 8:
        raise ValueError("workspace: must begin at a multiple of 8 bytes")
    if trust_ratios is None:
        return _Outputs(None, room.pointer, room.nbytes, [room])
    ratios = _arrays.view("trust_ratios", trust_ratios, dtype="float32", writable=True,
                          device="cuda")
    if ratios.size != lists.count:
        raise ValueError(f"trust_ratios: has {ratios.size} elements, params has {lists.count} "
                         "arrays")
    return _Outputs(ratios.pointer, room.pointer, room.nbytes, [room, ratios])


def _options(step: int, lr: float, betas: Tuple[float, float], eps: float, weight_decay: float,
             coefficients: Tuple[float, float], grad_scale: float, correction: Union[bool, str],
             eps_inside: bool) -> _Options:
    _adam.options(step, lr, betas, eps, weight_decay, False, True)
    least, most = coefficients
    if not least >= 0:
        raise ValueError(f"min_coeff: must be 0 or more, is {least!r}")
    if not most >= least:
        raise ValueError(f"max_coeff: must be no less than min_coeff, is {most!r}")
    if not 0 < grad_scale < float("inf"):
        raise ValueError(f"grad_scale: must be finite and more than 0, is {grad_scale!r}")
    if correction not in _CORRECTIONS:
        raise ValueError(f"bias_correction: must be True, False or 'step', is {correction!r}")
    return _Options(lr, *betas, eps, weight_decay, least, most, grad_scale, int(step),
                    _CORRECTIONS[correction], int(bool(eps_inside)))


def _lists(columns: List[Any], dtype: Optional[str]) -> _multi_tensor.Lists:
    names = ("params", "grads", "exp_avg", "exp_avg_sq")
    arrays = dict(zip(names, columns))
    rows = _arrays.collect(arrays, {name: _multi_tensor.held(name, column, dtype)
                                    for name, column in arrays.items()}, "cuda",
                           read_only=("grads",))
    if rows:
        _check_dtypes(rows)
    if len(columns) == 5:
        rows = _with_copies(rows, columns[4], dtype)
    return _multi_tensor.Lists(rows, _lib)


def _check_dtypes(rows: Sequence[Tuple[_arrays.View, ...]]) -> None:
    kind = rows[0][0].dtype
    _multi_tensor.same_dtype("params", [v for row in rows for v in (row[0], *row[2:])],
                             tuple(_adam.DTYPES))
    _multi_tensor.same_dtype("grads", [row[1] for row in rows],
                             ("float32", "float16", "bfloat16") if kind == "float32" else (kind,))


def _with_copies(rows: Sequence[Tuple[_arrays.View, ...]], arrays: Any,
                 dtype: Optional[str]) -> List[Tuple[_arrays.View, ...]]:
    """The rows with a column more."""
    dtype = _multi_tensor.held("params_copy", arrays, dtype)
    copies = [_arrays.view(name, array, dtype=dtype, writable=True, device="cuda")
              for name, array in _arrays.as_list("params_copy", arrays)]
    if len(copies) != len(rows):
        raise ValueError(f"params_copy: has {len(copies)} arrays, params has {len(rows)}")
    for row, copy in zip(rows, copies):
        if copy.shape != row[0].shape:
            raise ValueError(f"{copy.name}: has shape {copy.shape}, {row[0].name} has "
                             f"{row[0].shape}")
    if rows and rows[0][0].dtype != "float32":
        raise TypeError(f"params_copy: is for parameters of type float32, {rows[0][0].name} has "
                        f"{rows[0][0].dtype}")
    _multi_tensor.same_dtype("params_copy", copies, ("float16", "bfloat16"))
    _arrays.check_overlap([v for row in rows for v in row], copies)
    return [(*row, copy) for row, copy in zip(rows, copies)]


def self_test() -> None:
    """Compares one step on the first GPU with the paper in double; CannotRun without a GPU."""
    _cuda.need_gpu(_lib)
    n = 37
    start = ([(i - 18) / 7 for i in range(n)], [(5 * i % 11 - 5) / 9 for i in range(n)],
             [(3 * i % 7 - 3) / 50 for i in range(n)], [(i % 5) / 40 for i in range(n)])
    expected, ratio = reference(*start, step=3, lr=1e-2, weight_decay=0.1)
    arrays = [_cuda.Memory(_lib, values) for values in (*start, [0.0], [0.0] * 4)]
    try:
        step(*arrays[:4], step=3, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1,
             trust_ratios=arrays[4], workspace=arrays[5])
        found = [arrays[i].read() for i in (0, 2, 3)]
        _adam.check_close(found, expected)
        _adam.check_close([arrays[4].read()], [(ratio,)])
    finally:
        for memory in arrays:
            memory.free()


def reference(params: Sequence[float], grads: Sequence[float], exp_avg: Sequence[float],
              exp_avg_sq: Sequence[float], *, step: int, lr: float, weight_decay: float,
              betas: Tuple[float, float] = (0.9, 0.99), eps: float = 1e-8,
              bounds: Tuple[float, float] = (0.01, 10.0)) -> Tuple[List[tuple], float]:
    """One step in double, straight from the paper: (param, exp_avg, exp_avg_sq) per element, and
    the trust ratio."""
    m = [betas[0] * a + (1 - betas[0]) * g for a, g in zip(exp_avg, grads)]
    v = [betas[1] * a + (1 - betas[1]) * g * g for a, g in zip(exp_avg_sq, grads)]
    first, second = 1 - betas[0]**step, 1 - betas[1]**step
    u = [a / first / ((b / second)**0.5 + eps) + weight_decay * p
         for a, b, p in zip(m, v, params)]
    norms = [sum(x * x for x in values)**0.5 for values in (params, u)]
    ratio = min(max(norms[0] / norms[1], bounds[0]), bounds[1]) if all(norms) else 1.0
    return [(p - lr * ratio * x, a, b) for p, x, a, b in zip(params, u, m, v)], ratio
