# SPDX-License-Identifier: Apache-2.0
"""C++ and CUDA ops for training, each a package of its own: ``import ds_ops.cpu_adam``.

Importing ``ds_ops`` loads no op. An op is a sub-package with an ``__init__.py``, a shared library
beside it and a function ``self_test``; whatever lies there is found at run time.

    ds_ops.ops()               names of the ops of this installation
    ds_ops.load(name)          the module ds_ops.<name>; if this installation lacks the op, it is
                               built on this machine by ds-deploy, once (BuildFailed)
    ds_ops.self_test(name)     None: the op works here; CannotRun: this host lacks what it needs
    patch_deepspeed()          DeepSpeed uses our ops from now on; what was replaced
    python -m ds_ops [--json]  names and self-tests of all ops

The arrays of NumPy, PyTorch, CuPy and the standard library are used where they lie, none is copied.
No array library is imported.
"""
from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from ds_ops._jit import BuildFailed, load
from ds_ops._library import CannotRun, OpError

__all__ = ["BuildFailed", "CannotRun", "OpError", "load", "ops", "patch_deepspeed", "self_test"]


def ops() -> list[str]:
    """Names of the ops that are installed or were loaded, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__)
                  if m.ispkg and not m.name.startswith("_"))


def self_test(name: str) -> None:
    """Loads the op and checks its results on this host; takes milliseconds.

    CannotRun: this host cannot run it (no GPU, say). ValueError: there is no such op. Any other
    exception: the op is broken here.
    """
    if name not in ops():
        raise ValueError(f"there is no op {name!r}; there are: {', '.join(ops()) or 'none'}")
    importlib.import_module(f"ds_ops.{name}").self_test()


def __getattr__(name: str) -> Any:
    # Worked out when asked for: importlib.metadata costs more than all the rest of the import.
    if name == "patch_deepspeed":
        from ds_ops._patch import patch_deepspeed
        return patch_deepspeed
    if name == "__version__":
        from importlib import metadata
        try:
            return metadata.version("ds_ops")
        except metadata.PackageNotFoundError:
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
