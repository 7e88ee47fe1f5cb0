# SPDX-License-Identifier: Apache-2.0
"""The little of torch that op builders touch, for an interpreter that has none. read_source.py
follows this text. Python 3.8."""
import os
import shutil
import sys
import types


def toolkit_folder():
    """Where torch.utils.cpp_extension would look for CUDA."""
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc")
    if named or nvcc:
        return named or os.path.dirname(os.path.dirname(nvcc))
    return "/usr/local/cuda" if os.path.exists("/usr/local/cuda") else None


def install_torch_stub(version, cuda):
    """Puts it where `import torch` finds it. `cuda`: "12.4", or None for a build without it."""
    def module(name, **values):
        made = types.ModuleType(name)
        made.__dict__.update(values)
        sys.modules[name] = made
        return made

    extension = module("torch.utils.cpp_extension", ROCM_HOME=None,
                       CUDA_HOME=toolkit_folder() if cuda else None,
                       BuildExtension=type("BuildExtension", (), {}))
    utils = module("torch.utils", __path__=[], cpp_extension=extension)
    torch_cuda = module("torch.cuda", _is_in_bad_fork=lambda: False)
    torch_version = module("torch.version", cuda=cuda, hip=None, __version__=version)
    module("torch", __path__=[], __version__=version, version=torch_version, cuda=torch_cuda,
           utils=utils)
