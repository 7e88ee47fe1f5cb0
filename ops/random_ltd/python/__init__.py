# SPDX-License-Identifier: Apache-2.0
"""What random layer token dropping does with tokens and attention masks, on GPU and CPU.

Random-LTD: Yao et al. 2022, arXiv:2211.11586. A layer sees R of S tokens of each of N sequences:

    token_sort_       the chosen indices, each row ascending, in place
    token_gather      out[n, r, :] = activations[n, indices[n, r], :]
    token_scatter_    all_activations[n, indices[n, r], :] = layer_activations[n, r, :]
    mask_gather_bert  out[l, n, 0, i, j] = mask[n, 0, indices[l, n, i], indices[l, n, j]]
    mask_gather_gpt   out[n, 0, i, j] = mask[n, 0, i, j] for i, j < R

The names and arguments are those of DeepSpeed's ``random_ltd`` op. Any number of tokens and of
channels; elements of any type, for they are only moved. ``mask_gather_bert`` takes each layer's own
indices; DeepSpeed's kernel takes those of layer 0 for all layers.

Indices are int32, contiguous. Wrong ones (below 0, or not below the number of tokens; for
``token_sort_`` and ``token_scatter_`` also one that is there twice) are a ValueError on the CPU,
and nothing has been written. A GPU finds them while it works, and never reads or writes outside an
array: what each function does instead is said there. ``status``, one int32 on the GPU that is 0
before, then has bit 0 set (a wrong index) or bit 1 (one that is there twice, in ``token_sort_``).

Arrays of PyTorch, NumPy, CuPy, the standard library, and whatever has DLPack or
``__cuda_array_interface__`` work, none is copied. ``stream``: the CUDA stream as a number; without
it PyTorch's current stream for tensors, the stream that the arrays name, or the default stream.
TypeError and ValueError name the argument that is wrong; OpError is CUDA's. On a GPU functions
return when the work is queued. Results have no gradient. GPU and CPU give the same bits.
"""
from __future__ import annotations

import ctypes
import operator
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ds_ops import _arrays, _cuda
from ds_ops._library import check

__all__ = ["mask_gather_bert", "mask_gather_gpt", "self_test", "token_gather", "token_scatter_",
           "token_sort_"]

_BAD_INDEX, _SAME_INDEX = 30, 31  # DS_OPS_BAD_INDEX, DS_OPS_SAME_INDEX of ds_ops/abi.h
_void, _i32, _i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


class _Tokens(ctypes.Structure):
    _fields_ = [("all", _void), ("all_batch_stride", _i64), ("all_token_stride", _i64),
                ("part", _void), ("part_batch_stride", _i64), ("part_token_stride", _i64),
                ("indices", _void), ("batch", _i64), ("tokens", _i64), ("kept", _i64),
                ("channels", _i64), ("element_size", _i64)]


class _Masks(ctypes.Structure):
    _fields_ = [("out", _void), ("mask", _void), ("indices", _void), ("layers", _i64),
                ("batch", _i64), ("tokens", _i64), ("kept", _i64), ("element_size", _i64)]


_lib = _cuda.load_cuda(__file__)
_lib.ds_ops_random_ltd_sort.argtypes = [_i32, _void, _i64, _i64, _i64, _void, _void]
_lib.ds_ops_random_ltd_sort_cpu.argtypes = [_void, _i64, _i64, _i64]
for _name, _struct in (("gather", _Tokens), ("scatter", _Tokens), ("mask", _Masks)):
    _function = getattr(_lib, f"ds_ops_random_ltd_{_name}")
    _function.argtypes = [_i32, ctypes.POINTER(_struct), _void, _void]
    _function = getattr(_lib, f"ds_ops_random_ltd_{_name}_cpu")
    _function.argtypes = [ctypes.POINTER(_struct)]


def token_sort_(unsorted_token_ids: Any, original_tokens: int, *, status: Any = None,
                stream: Optional[int] = None) -> Any:
    """Sorts each row (last axis) in place, ascending, and returns the array.

    ``unsorted_token_ids``: int32 [layers, N, R] or [..., R], distinct in a row and below
    ``original_tokens``. No memory is allocated. A GPU leaves a row with a wrong index as it is.
    """
    ids = _arrays.view("unsorted_token_ids", unsorted_token_ids, dtype="int32", writable=True,
                       device=None)
    tokens = _count("original_tokens", original_tokens)
    if not ids.shape:
        raise ValueError("unsorted_token_ids: has no axis, so no rows")
    kept = ids.shape[-1]
    if kept > tokens and ids.size:
        raise ValueError(f"unsorted_token_ids: has {kept} indices in a row, original_tokens is "
                         f"{tokens}")
    _run("sort", "unsorted_token_ids", [ids], [ids], status, stream,
         [ids.pointer, ids.size // max(kept, 1), kept, tokens])
    return unsorted_token_ids


def token_gather(activations: Any, sorted_indices: Any, batch_first: bool, *, out: Any = None,
                 status: Any = None, stream: Optional[int] = None) -> Any:
    """The kept tokens; returns ``out``, or a new array of the library of ``activations``.

    ``activations``: [N, S, C] if ``batch_first``, else [S, N, C], contiguous, or with its first two
    axes exchanged. ``sorted_indices``: int32 [N, R]; they need not be sorted. ``out``: [N, R, C]
    or [R, N, C], of the same type. A GPU writes zeros for a token whose index is wrong.
    """
    every = _layout("activations", activations, batch_first)
    indices = _indices(sorted_indices, every.view, every.batch)
    kept = indices.shape[1]
    shape = (every.batch, kept) if batch_first else (kept, every.batch)
    shape = (*shape, every.channels)
    result = _arrays.new_like(activations, shape) if out is None else out
    if out is None and 0 in shape:
        return result  # a memoryview without elements cannot have this shape
    part = _part("out", result, batch_first, every, kept, writable=True)
    _move("gather", every, part, indices, [part.view], status, stream)
    return result


def token_scatter_(all_activations: Any, layer_activations: Any, sorted_indices: Any,
                   batch_first: bool, *, status: Any = None, stream: Optional[int] = None) -> Any:
    """Puts the kept tokens back into ``all_activations``, which it returns.

    ``all_activations``: as in ``token_gather``; tokens that are not named stay as they are.
    ``layer_activations``: [N, R, C] if ``batch_first``, else [R, N, C]. ``sorted_indices``: int32
    [N, R], distinct in a row; they need not be sorted. A GPU leaves out a token whose index is
    wrong; where one is there twice, the token has pieces of one or the other.
    """
    every = _layout("all_activations", all_activations, batch_first, writable=True)
    indices = _indices(sorted_indices, every.view, every.batch)
    part = _part("layer_activations", layer_activations, batch_first, every, indices.shape[1])
    _move("scatter", every, part, indices, [every.view], status, stream)
    return all_activations


def mask_gather_bert(dense_mask: Any, sorted_indices: Any, *, out: Any = None, status: Any = None,
                     stream: Optional[int] = None) -> Any:
    """The masks of the kept tokens of each layer: ``out``, or a new array [layers, N, 1, R, R].

    ``dense_mask``: [N, 1, S, S]. ``sorted_indices``: int32 [layers, N, R]. A GPU writes 0 for a
    pair with a wrong index.
    """
    mask = _mask(dense_mask)
    indices = _arrays.view("sorted_indices", sorted_indices, dtype="int32", device=mask.device)
    if len(indices.shape) != 3 or indices.shape[1] != mask.shape[0]:
        raise ValueError(f"sorted_indices: has shape {indices.shape}, must have (layers, "
                         f"{mask.shape[0]}, R)")
    layers, batch, kept = indices.shape
    shape = (layers, batch, 1, kept, kept)
    result = _arrays.new_like(dense_mask, shape) if out is None else out
    if out is None and 0 in shape:
        return result
    to = _output(result, shape, mask)
    masks = _Masks(to.pointer, mask.pointer, indices.pointer, layers, batch, mask.shape[3], kept,
                   _arrays.item_size("dense_mask", mask.dtype))
    _run("mask", "sorted_indices", [mask, indices, to], [to], status, stream,
         [ctypes.byref(masks)])
    return result


def mask_gather_gpt(dense_mask: Any, truncated_seq_len: int, *, out: Any = None,
                    stream: Optional[int] = None) -> Any:
    """The first R rows and columns of each mask: ``out``, or a new array [N, 1, R, R].

    ``dense_mask``: [N, 1, S, S]. ``truncated_seq_len``: R, at most S.
    """
    mask = _mask(dense_mask)
    kept = _count("truncated_seq_len", truncated_seq_len)
    batch, _, _, tokens = mask.shape
    if kept > tokens:
        raise ValueError(f"truncated_seq_len: is {kept}, dense_mask has {tokens} tokens")
    shape = (batch, 1, kept, kept)
    result = _arrays.new_like(dense_mask, shape) if out is None else out
    if out is None and 0 in shape:
        return result
    to = _output(result, shape, mask)
    masks = _Tokens(mask.pointer, tokens * tokens, tokens, to.pointer, kept * kept, kept, None,
                    batch, tokens, kept, kept, _arrays.item_size("dense_mask", mask.dtype))
    _run("gather", "truncated_seq_len", [mask, to], [to], None, stream, [ctypes.byref(masks)])
    return result


class _Layout(NamedTuple):
    """An array of tokens; strides count elements."""

    view: _arrays.View
    batch: int
    tokens: int
    channels: int
    batch_stride: int
    token_stride: int


def _layout(name: str, array: Any, batch_first: bool, device: Optional[str] = None,
            writable: bool = False) -> _Layout:
    found, exchanged = _either_way(name, array, device, writable)
    if len(found.shape) != 3:
        axes = "(N, S, C)" if batch_first else "(S, N, C)"
        raise ValueError(f"{name}: has shape {found.shape}, must have {axes}")
    outer, inner, channels = found.shape
    by_outer = (outer, inner * channels)
    by_inner = (inner, channels)
    batch, tokens = (by_outer, by_inner) if bool(batch_first) != exchanged else (by_inner, by_outer)
    return _Layout(found, batch[0], tokens[0], channels, batch[1], tokens[1])


def _either_way(name: str, array: Any, device: Optional[str],
                writable: bool) -> Tuple[_arrays.View, bool]:
    """A view of a row-major array, and whether its first two axes are exchanged for it."""
    try:
        return _arrays.view(name, array, device=device, writable=writable), False
    except ValueError:
        if len(getattr(array, "shape", ())) != 3 or not hasattr(array, "swapaxes"):
            raise
        try:
            turned = array.swapaxes(0, 1)
            return _arrays.view(name, turned, device=device, writable=writable), True
        except ValueError:
            pass
        raise


def _part(name: str, array: Any, batch_first: bool, every: _Layout, kept: int,
          writable: bool = False) -> _Layout:
    part = _layout(name, array, batch_first, every.view.device, writable)
    _check_type(part.view, every.view)
    if (part.batch, part.tokens, part.channels) != (every.batch, kept, every.channels):
        raise ValueError(f"{name}: has {part.batch} sequences of {part.tokens} tokens with "
                         f"{part.channels} channels, must have {every.batch} of {kept} with "
                         f"{every.channels}")
    return part


def _indices(array: Any, activations: _arrays.View, batch: int) -> _arrays.View:
    found = _arrays.view("sorted_indices", array, dtype="int32", device=activations.device)
    if len(found.shape) != 2 or found.shape[0] != batch:
        raise ValueError(f"sorted_indices: has shape {found.shape}, must have ({batch}, R) for "
                         f"{activations.name} with {batch} sequences")
    return found


def _mask(array: Any) -> _arrays.View:
    found = _arrays.view("dense_mask", array, device=None)
    if len(found.shape) != 4 or found.shape[1] != 1 or found.shape[2] != found.shape[3]:
        raise ValueError(f"dense_mask: has shape {found.shape}, must have (N, 1, S, S)")
    return found


def _output(array: Any, shape: Sequence[int], like: _arrays.View) -> _arrays.View:
    found = _arrays.view("out", array, writable=True, device=like.device)
    _check_type(found, like)
    if found.shape != tuple(shape):
        raise ValueError(f"out: has shape {found.shape}, must have {tuple(shape)}")
    return found


def _check_type(found: _arrays.View, like: _arrays.View) -> None:
    if found.dtype != like.dtype:
        raise TypeError(f"{found.name}: has elements of type {found.dtype}, {like.name} has "
                        f"{like.dtype}")


def _count(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: must be a whole number, is {value!r}") from None
    if not 0 <= number < 2**63:
        raise ValueError(f"{name}: must be from 0 to {2**63 - 1}, is {number}")
    return number


def _move(function: str, every: _Layout, part: _Layout, indices: _arrays.View,
          outputs: List[_arrays.View], status: Any, stream: Optional[int]) -> None:
    tokens = _Tokens(every.view.pointer, every.batch_stride, every.token_stride, part.view.pointer,
                     part.batch_stride, part.token_stride, indices.pointer, every.batch,
                     every.tokens, part.tokens, every.channels,
                     _arrays.item_size(every.view.name, every.view.dtype))
    _run(function, "sorted_indices", [every.view, part.view, indices], outputs, status, stream,
         [ctypes.byref(tokens)])


def _run(function: str, indices_name: str, views: List[_arrays.View], outputs: List[_arrays.View],
         status: Any, stream: Optional[int], arguments: List[Any]) -> None:
    function = f"ds_ops_random_ltd_{function}"
    inputs = [v for v in views if v not in outputs]
    if views[0].device == "cpu":
        if status is not None:
            raise ValueError("status: is for arrays on a GPU; on the CPU a wrong index is an error")
        _arrays.check_overlap(inputs, outputs)
        code = getattr(_lib, f"{function}_cpu")(*arguments)
        if code in (_BAD_INDEX, _SAME_INDEX):
            raise ValueError(f"{indices_name}: {_lib.ds_ops_error_text(code).decode()}")
        check(_lib, f"{function}_cpu", code)
        return
    flag = None if status is None else _cuda.scalar("status", status, "int32")
    flags = [] if flag is None else [flag]
    if flag and flag.readonly:
        raise ValueError("status: is read-only, and would be written to")
    _arrays.check_overlap(inputs, outputs + flags)
    device = _cuda.device_of(views + flags)
    queue = _cuda.stream_of(_lib, views + flags, device) if stream is None else stream
    check(_lib, function, getattr(_lib, function)(
        device, *arguments, flag.pointer if flag else None, queue))


class _OnCpu:
    """A flat array for the self-test."""

    def __init__(self, values: Sequence[Any], dtype: str) -> None:
        import array
        self.values = array.array("i" if dtype == "int32" else "f", values)

    def shaped(self, *shape: int) -> memoryview:
        return memoryview(self.values).cast("B").cast(self.values.typecode, shape)

    def read(self) -> List[Any]:
        return list(self.values)

    def free(self) -> None:
        """Nothing to do."""


class _OnGpu(_cuda.Memory):
    def __init__(self, values: Sequence[Any], dtype: str) -> None:
        super().__init__(_lib, values, dtype)

    def shaped(self, *shape: int) -> _cuda.Shaped:
        return _cuda.Shaped(self, shape)


def _compare(make: Any) -> None:
    """Calls every function with arrays that ``make`` makes, and looks at what they did."""
    n, seen, kept = 2, 5, 3
    chosen = [[0, 3, 4], [0, 1, 2]]
    numbers = [float(i) for i in range(n * seen * seen)]
    arrays = [make([4, 0, 3, 2, 1, 0], "int32"), make(numbers, "float32")]
    arrays += [make([-1.0] * size, "float32")
               for size in (n * kept * seen, n * seen * seen, n * kept * kept, n * kept * kept)]
    ids, source, part, back, bert, gpt = arrays
    every, mask = source.shaped(n, seen, seen), source.shaped(n, 1, seen, seen)
    try:
        token_sort_(ids.shaped(1, n, kept), seen)
        token_gather(every, ids.shaped(n, kept), True, out=part.shaped(n, kept, seen))
        token_scatter_(back.shaped(n, seen, seen), part.shaped(n, kept, seen),
                       ids.shaped(n, kept), True)
        mask_gather_bert(mask, ids.shaped(1, n, kept), out=bert.shaped(1, n, 1, kept, kept))
        mask_gather_gpt(mask, kept, out=gpt.shaped(n, 1, kept, kept))
        found = [one.read() for one in arrays]
    finally:
        for one in arrays:
            one.free()

    def row(i: int, s: int) -> List[float]:
        return numbers[(i * seen + s) * seen:][:seen]
    right = [sum(chosen, []), numbers,
             [v for i in range(n) for s in chosen[i] for v in row(i, s)],
             [v for i in range(n) for s in range(seen)
              for v in (row(i, s) if s in chosen[i] else [-1.0] * seen)],
             [row(i, s)[t] for i in range(n) for s in chosen[i] for t in chosen[i]],
             [row(i, s)[t] for i in range(n) for s in range(kept) for t in range(kept)]]
    names = ("token_sort_", "the source", "token_gather", "token_scatter_", "mask_gather_bert",
             "mask_gather_gpt")
    for name, one, expected in zip(names, found, right):
        assert one == expected, f"{name} gave {one}, should give {expected}"


def self_test() -> None:
    """Calls every function on the CPU, then on the first GPU, and compares with what is known.

    CannotRun without a GPU.
    """
    _compare(_OnCpu)
    _cuda.need_gpu(_lib)
    _compare(_OnGpu)
