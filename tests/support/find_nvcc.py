# SPDX-License-Identifier: Apache-2.0
"""Where nvcc is on this machine."""
import os
import shutil


def find_nvcc():
    """Its path, or None."""
    for place in (os.environ.get("CUDA_HOME", "") + "/bin/nvcc", "/usr/local/cuda/bin/nvcc"):
        if os.access(place, os.X_OK):
            return place
    return shutil.which("nvcc")
