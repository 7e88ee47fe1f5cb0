# SPDX-License-Identifier: Apache-2.0
"""patch_deepspeed, on a DeepSpeed that is played and, where it can be imported, on the real one."""
import importlib.util
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import types
import unittest
from unittest import mock

import ds_ops
from ds_ops import _patch


class Builder:
    """DeepSpeed's OpBuilder, as far as it is used."""

    loads = 0

    def load(self, verbose=False):
        type(self).loads += 1
        return types.SimpleNamespace(origin="DeepSpeed", zenflow_adam_create=lambda: "theirs")

    def is_compatible(self, verbose=False):
        return False

    def absolute_name(self):
        return f"deepspeed.ops.{type(self).__name__.replace('Builder', '').lower()}_op"


def played(accelerator="cuda", cuda="13.0"):
    """The modules of a DeepSpeed, by name."""
    names = [op.builder for op in _patch._OPS if op.builder not in ("RandomLTDBuilder",
                                                                    "UtilsBuilder")]
    classes = {name: type(name, (Builder,), {"loads": 0}) for name in names}
    classes["RandomLTDBuilder"] = type("NotImplementedBuilder", (Builder,), {})
    classes["GDSBuilder"] = type("GDSBuilder", (classes["AsyncIOBuilder"],), {})
    builders = types.ModuleType("deepspeed.ops.op_builder")
    builders.__dict__.update(classes, UtilsBuilder=None)
    place = types.ModuleType("deepspeed.accelerator")
    place.get_accelerator = lambda: types.SimpleNamespace(_name=accelerator)
    torch = types.ModuleType("torch")
    torch.version = types.SimpleNamespace(cuda=cuda)
    partition = types.ModuleType("deepspeed.runtime.zero.partition_parameters")
    partition.CUDAQuantizer = type("CUDAQuantizer", (), {"quantizer_cuda_module": "loaded"})
    found = {module.__name__: module for module in (builders, place, torch, partition)}
    for name in ("deepspeed", "deepspeed.ops", "deepspeed.runtime", "deepspeed.runtime.zero"):
        found[name] = types.ModuleType(name)
    return found


OURS = {
    "cpu_adam": ("create_adam", "adam_update", "adam_rollback", "destroy_adam"),
    "cpu_adagrad": ("create_adagrad", "adagrad_update"),  # without destroy_adagrad
    "fused_adam": ("multi_tensor_adam",),
    "async_io": ("aio_handle",),
    "random_ltd": ("token_sort_",),
    "utils": ("flatten", "unflatten", "cast_to_byte_tensor"),
    "quantizer": ("Symmetric", "Asymmetric", "quantize", "dequantize", "dequantize_fp32",
                  "swizzle_quant", "quantized_reduction"),
    "fused_lamb": (),
}


def our_module(name):
    if name == "fused_lamb":
        raise ImportError("its library is broken")
    module = types.ModuleType(f"ds_ops.{name}")
    module.__dict__.update({function: f"ours: {function}" for function in OURS[name]})
    return module


class Played(unittest.TestCase):
    def patch(self, **options):
        modules = played(**options)
        with mock.patch.dict(sys.modules, modules), \
                mock.patch.object(ds_ops, "ops", lambda: sorted(OURS)), \
                mock.patch.object(ds_ops, "load", our_module), \
                self.assertLogs("ds_ops", "INFO") as logged:
            first = ds_ops.patch_deepspeed()
            self.assertEqual(ds_ops.patch_deepspeed(), first)
        half = logged.output[:len(logged.output) // 2]
        self.assertEqual(logged.output[len(half):], half)
        return modules["deepspeed.ops.op_builder"], first, [line.split(":", 2)[2] for line in half]

    def test_statement(self):
        _, replaced, logged = self.patch()
        self.assertEqual(replaced["deepspeed.ops.fusedadam_op.multi_tensor_adam"],
                         "ds_ops.fused_adam.multi_tensor_adam")
        functions = sorted(name.rpartition(".")[2] for name in replaced)
        self.assertEqual(functions, sorted([*OURS["cpu_adam"], *OURS["fused_adam"], "aio_handle",
                                            *OURS["quantizer"]]))
        for line in (
                "DeepSpeed's deepspeed.ops.asyncio_op.aio_handle is now ds_ops.async_io.aio_handle",
                "DeepSpeed's CPUAdagradBuilder is left as it is: ds_ops.cpu_adagrad has none of its"
                " functions",
                "DeepSpeed's FusedLambBuilder is left as it is: its library is broken",
                "DeepSpeed's SpatialInferenceBuilder is left as it is: ds_ops.spatial_inference is "
                "not installed",
                "DeepSpeed's RandomLTDBuilder is left as it is: this DeepSpeed has no such op for "
                "cuda"):
            self.assertIn(line, logged)

    def test_load(self):
        builders, _, _ = self.patch()
        module = builders.CPUAdamBuilder().load(verbose=False)
        self.assertEqual(module.create_adam, "ours: create_adam")
        self.assertIs(builders.CPUAdamBuilder().load(), module)
        self.assertTrue(builders.CPUAdamBuilder().is_compatible())
        self.assertFalse(hasattr(module, "__file__"))
        self.assertEqual(builders.CPUAdamBuilder.loads, 0)
        # What we lack is DeepSpeed's own, loaded when it is asked for.
        self.assertEqual(module.zenflow_adam_create(), "theirs")
        self.assertEqual(builders.CPUAdamBuilder.loads, 1)
        self.assertEqual(builders.CPUAdagradBuilder().load().origin, "DeepSpeed")
        # A builder that is derived from a patched one is another op.
        self.assertEqual(builders.GDSBuilder().load(verbose=False).origin, "DeepSpeed")
        self.assertFalse(builders.GDSBuilder().is_compatible(verbose=False))

    def test_what_was_loaded_before(self):
        modules = played()
        quantizer = modules["deepspeed.runtime.zero.partition_parameters"].CUDAQuantizer
        with mock.patch.dict(sys.modules, modules), \
                mock.patch.object(ds_ops, "ops", lambda: ["quantizer"]), \
                mock.patch.object(ds_ops, "load", our_module):
            ds_ops.patch_deepspeed()
        self.assertEqual(quantizer.quantizer_cuda_module.quantize, "ours: quantize")

    def test_without_nvidia_gpus(self):
        for options in (dict(accelerator="cpu"), dict(cuda=None)):
            builders, replaced, logged = self.patch(**options)
            self.assertEqual(builders.FusedAdamBuilder().load().origin, "DeepSpeed")
            self.assertIn("deepspeed.ops.cpuadam_op.create_adam", replaced)
            self.assertIn("DeepSpeed's FusedAdamBuilder is left as it is: ours needs NVIDIA GPUs, "
                          "and DeepSpeed does not run on them here", logged)

    def test_no_deepspeed(self):
        with mock.patch.dict(sys.modules, {"deepspeed": None}):
            with self.assertRaises(ImportError):
                ds_ops.patch_deepspeed()


REAL = r"""
import sys, torch, ds_ops, deepspeed
from deepspeed.ops import op_builder
accelerator = sys.argv[1]
replaced = ds_ops.patch_deepspeed()
for theirs, ours in replaced.items():
    print(theirs, "=", ours)
if accelerator == "cuda":
    from deepspeed.ops.lamb import FusedLamb
    optimizer = FusedLamb([torch.nn.Parameter(torch.ones(3))])
    assert optimizer.fused_lamb_cuda.lamb is ds_ops.load("fused_lamb").lamb
    import ds_ops.fused_adam
    load = op_builder.FusedAdamBuilder().load
    assert load().multi_tensor_adam is ds_ops.fused_adam.multi_tensor_adam
else:
    assert op_builder.FusedAdamBuilder().absolute_name() == "deepspeed.ops.adam.fused_adam_op"
    assert not any("fused_adam" in name for name in replaced)
if "deepspeed.ops.adam.cpu_adam_op.create_adam" in replaced:
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 1000)) for _ in range(2))
    options = dict(lr=1e-2, weight_decay=0.1)
    a, b = DeepSpeedCPUAdam([ours], **options), torch.optim.AdamW([theirs], **options)
    for i in range(10):
        ours.grad = theirs.grad = torch.sin(torch.arange(1000.0) + i)
        a.step(), b.step()
    # 10 steps of at most lr * (1 + decay), each with a few roundings of values up to 1.
    assert (ours - theirs).abs().max() < 10 * 10 * 2.0**-24
"""


def sources():
    """The sdists of DeepSpeed that run with today's PyTorch."""
    folder = pathlib.Path(os.environ.get("DS_DEPLOY_TEST_SOURCES") or "/nowhere")
    return sorted(path for path in folder.glob("deepspeed-*.tar.gz")
                  if not path.name.startswith("deepspeed-0.8."))


def real_missing():
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    if not sources():
        return "there is no sdist of DeepSpeed (DS_DEPLOY_TEST_SOURCES)"
    return None


@unittest.skipIf(real_missing(), real_missing())
class Real(unittest.TestCase):
    """With the modules that DeepSpeed requires in DS_DEPLOY_TEST_MODULES."""

    @classmethod
    def setUpClass(cls):
        place = tempfile.TemporaryDirectory()
        cls.addClassCleanup(place.cleanup)
        for path in sources():
            with tarfile.open(path) as archive:
                archive.extractall(place.name)
        cls.trees = sorted(pathlib.Path(place.name).iterdir())

    def run_with(self, accelerator):
        """What each version printed."""
        said = {}
        for tree in self.trees:
            path = os.pathsep.join(filter(None, [
                str(tree), os.environ.get("DS_DEPLOY_TEST_MODULES"), *sys.path]))
            done = subprocess.run([sys.executable, "-c", REAL, accelerator],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  env={**os.environ, "DS_ACCELERATOR": accelerator,
                                       "PYTHONPATH": path})
            self.assertEqual(done.returncode, 0, tree.name + "\n" + done.stdout + done.stderr)
            said[tree.name] = done.stdout
        return said

    def test_cuda(self):
        for version, said in self.run_with("cuda").items():
            for line in (
                    "deepspeed.ops.adam.fused_adam_op.multi_tensor_adam = "
                    "ds_ops.fused_adam.multi_tensor_adam",
                    "deepspeed.ops.lamb.fused_lamb_op.lamb = ds_ops.fused_lamb.lamb"):
                self.assertIn(line, said, version)

    def test_cpu(self):
        self.run_with("cpu")


if __name__ == "__main__":
    unittest.main()
