# SPDX-License-Identifier: Apache-2.0
"""Points DeepSpeed's own Python classes at our ops; see ``patch_deepspeed``.

DeepSpeed finds an op by a class, ``deepspeed.ops.op_builder.<X>Builder``, whose ``load()`` gives a
module with functions. That method is what is replaced, so that it works for DeepSpeed's optimizers,
ZeRO, its NVMe paths, and whoever else asks, and with versions from 0.8 on.
"""
from __future__ import annotations

import importlib
import logging
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import ds_ops

_log = logging.getLogger("ds_ops")
_OWN = "_ds_ops_own"  # where a class keeps the methods that it had


class _Op(NamedTuple):
    """A builder, our op, whether it needs CUDA, and the functions in groups that share a state or a
    type: a group is replaced if we have all of it."""

    builder: str
    op: str
    cuda: bool
    groups: Tuple[Tuple[str, ...], ...]


_OPS = (
    _Op("AsyncIOBuilder", "async_io", False,
        (("aio_handle",), ("aio_read", "aio_write"), ("deepspeed_memcpy",))),
    _Op("CPUAdagradBuilder", "cpu_adagrad", False,
        (("create_adagrad", "adagrad_update", "destroy_adagrad"),)),
    _Op("CPUAdamBuilder", "cpu_adam", False,
        (("create_adam", "adam_update", "adam_rollback", "destroy_adam"),)),
    _Op("FusedAdamBuilder", "fused_adam", True, (("multi_tensor_adam",),)),
    _Op("FusedLambBuilder", "fused_lamb", True, (("lamb",),)),
    _Op("QuantizerBuilder", "quantizer", True, (
        ("Symmetric", "Asymmetric", "quantize", "dequantize", "dequantize_fp32", "swizzle_quant",
         "quantized_reduction"),
        ("dequantize_int4_to_half_experimental",), ("dequantize_int8_to_half_experimental",),
        ("ds_quantize_fp32",), ("ds_quantize_fp16",), ("ds_sr_quantize_fp32",),
        ("ds_sr_quantize_fp16",), ("ds_quantize_asym_fp32",), ("ds_quantize_asym_fp16",),
        ("ds_sr_quantize_asym_fp32",), ("ds_sr_quantize_asym_fp16",))),
    _Op("RandomLTDBuilder", "random_ltd", True,
        (("token_sort_",), ("token_gather",), ("token_scatter_",), ("mask_gather_bert",),
         ("mask_gather_gpt",))),
    _Op("SpatialInferenceBuilder", "spatial_inference", True,
        (("nhwc_bias_add",), ("nhwc_bias_add_add",), ("nhwc_bias_add_bias_add",))),
    _Op("UtilsBuilder", "utils", False,
        (("flatten", "unflatten"), ("cast_to_byte_tensor",))),
)

# Where DeepSpeed keeps a module once it has loaded it.
_KEPT = (
    ("deepspeed.inference.quantization.utils", "", "quantizer_module", "QuantizerBuilder"),
    ("deepspeed.ops.quantizer.quantizer", "", "quantizer_cuda_module", "QuantizerBuilder"),
    ("deepspeed.ops.random_ltd.dropping_utils", "", "random_ltd_module", "RandomLTDBuilder"),
    ("deepspeed.ops.transformer.inference.bias_add", "", "spatial_cuda_module",
     "SpatialInferenceBuilder"),
    ("deepspeed.runtime.comm.coalesced_collectives", "", "quantizer_module", "QuantizerBuilder"),
    ("deepspeed.runtime.zero.partition_parameters", "CUDAQuantizer", "quantizer_cuda_module",
     "QuantizerBuilder"),
)


class _Module:
    """What a patched ``load()`` gives: our functions, and DeepSpeed's own for all others, built
    when one of them is first asked for."""

    def __init__(self, name: str, functions: Dict[str, Any], own: Callable[[], Any]) -> None:
        self.__name__ = name
        self.__dict__.update(functions)
        self._own = own

    def __getattr__(self, name: str) -> Any:
        # Whoever looks for __file__, say, does not want an op to be built.
        if name.startswith("_"):
            raise AttributeError(f"{self.__name__} has no {name}")
        return getattr(self._own(), name)


def patch_deepspeed() -> Dict[str, str]:
    """Makes DeepSpeed use our ops wherever it loads one of its own, in this process.

    Returns what was replaced, as {"deepspeed.ops.adam.fused_adam_op.multi_tensor_adam":
    "ds_ops.fused_adam.multi_tensor_adam", ...}, and logs it ("ds_ops", INFO), together with what
    was left and why: ops that this installation lacks, CUDA ops where DeepSpeed does not run on
    NVIDIA GPUs. Functions that we lack remain DeepSpeed's own.

    Call it before optimizers and engines are made: those that are there keep what they have. A
    second call says the same. ImportError: there is no DeepSpeed.
    """
    builders = importlib.import_module("deepspeed.ops.op_builder")
    accelerator = importlib.import_module("deepspeed.accelerator").get_accelerator()
    replaced: Dict[str, str] = {}
    for op in _OPS:
        builder = _class_of(builders, op.builder)
        reason = _reason_to_leave(op, builder, accelerator)
        if reason is None:
            found, reason = _replace(op, builder)
            replaced.update(found)
        if reason is not None:
            _log.info("DeepSpeed's %s is left as it is: %s", op.builder, reason)
    for theirs, ours in replaced.items():
        _log.info("DeepSpeed's %s is now %s", theirs, ours)
    return replaced


def _class_of(builders: Any, name: str) -> Optional[type]:
    """The builder, or None: this DeepSpeed, or its accelerator, has no such op."""
    found = getattr(builders, name, None)
    # An accelerator without the op has one class for all of these.
    return found if isinstance(found, type) and found.__name__ == name else None


def _reason_to_leave(op: _Op, builder: Optional[type], accelerator: Any) -> Optional[str]:
    if builder is None:
        return f"this DeepSpeed has no such op for {accelerator._name}"
    if op.op not in ds_ops.ops():
        return f"ds_ops.{op.op} is not installed"
    version = getattr(sys.modules.get("torch"), "version", None)
    if op.cuda and (accelerator._name != "cuda" or getattr(version, "cuda", None) is None):
        return "ours needs NVIDIA GPUs, and DeepSpeed does not run on them here"
    return None


def _replace(op: _Op, builder: Any) -> Tuple[Dict[str, str], Optional[str]]:
    """What was replaced; why nothing was."""
    try:
        ours = ds_ops.load(op.op)
    except ImportError as error:
        return {}, str(error)
    names: List[str] = [name for group in op.groups if all(hasattr(ours, n) for n in group)
                        for name in group]
    if not names:
        return {}, f"{ours.__name__} has none of its functions"
    if _OWN not in builder.__dict__:
        setattr(builder, _OWN, (builder.load, builder.is_compatible))
    own, own_compatible = builder.__dict__[_OWN]
    module = _Module(ours.__name__, {name: getattr(ours, name) for name in names},
                     lambda: own(builder()))

    # Other ops' builders are derived from some of these, such as GDSBuilder from AsyncIOBuilder.
    def load(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return module if type(self) is builder else own(self, *arguments, **keywords)

    def is_compatible(self: Any, *arguments: Any, **keywords: Any) -> bool:
        return type(self) is builder or own_compatible(self, *arguments, **keywords)
    builder.load, builder.is_compatible = load, is_compatible
    for place, holder, attribute, name in _KEPT:
        kept = getattr(sys.modules.get(place), holder, None) if holder else sys.modules.get(place)
        if name == op.builder and getattr(kept, attribute, None) is not None:
            setattr(kept, attribute, module)
    theirs = builder().absolute_name()
    return {f"{theirs}.{name}": f"{ours.__name__}.{name}" for name in names}, None
