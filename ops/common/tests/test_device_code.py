# SPDX-License-Identifier: Apache-2.0
"""What nvcc made of the kernels, read back from the libraries: cuobjdump and nvdisasm, from PATH,
or from the packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm, or triton's."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import ds_ops


def tool(name):
    """Its path, or None."""
    beside = (path for folder in sys.path for pattern in ("nvidia/*/bin", "triton/**/bin")
              for path in pathlib.Path(folder).glob(pattern))
    return shutil.which(name) or next((str(path / name) for path in beside
                                       if (path / name).exists()), None)


def libraries():
    """Those with code for GPUs."""
    for op in ds_ops.ops():
        path = pathlib.Path(ds_ops.__file__).parent / op / ("lib%s.so" % op)
        if b".nv_fatbin" in path.read_bytes():
            yield op, path


CUOBJDUMP, NVDISASM = tool("cuobjdump"), tool("nvdisasm")


def dump(path, *options):
    """[(architecture, text)] of the images in a library."""
    said = subprocess.run([CUOBJDUMP, *options, str(path)], check=True, text=True,
                          stdout=subprocess.PIPE, env={**os.environ, "PATH": "%s:%s" % (
                              os.path.dirname(NVDISASM or ""), os.environ["PATH"])}).stdout
    parts = re.split(r"^arch = (sm_\w+)$", said, flags=re.M)
    return list(zip(parts[1::2], parts[2::2]))


@unittest.skipUnless(CUOBJDUMP, "there is no cuobjdump (pip install nvidia-cuda-cuobjdump)")
class DeviceCode(unittest.TestCase):
    def test_no_memory_of_a_thread_alone(self):
        """A stack frame or local memory is where ptxas spills registers to."""
        functions = 0
        for op, path in libraries():
            for arch, said in dump(path, "--dump-resource-usage"):
                for name, usage in re.findall(r"^\s*Function (\S+):\n\s*(REG:.*)$", said, re.M):
                    functions += 1
                    with self.subTest(op=op, arch=arch, function=name):
                        self.assertRegex(usage, r"\bSTACK:0\b.*\bLOCAL:0\b")
        if list(libraries()):
            self.assertGreater(functions, 0)

    @unittest.skipUnless(NVDISASM, "there is no nvdisasm (pip install nvidia-cuda-nvdisasm)")
    def test_memory_is_read_and_written_16_bytes_at_a_time(self):
        for op, path in libraries():
            for arch, said in dump(path, "--dump-sass"):
                if "Function" in said:
                    with self.subTest(op=op, arch=arch):
                        self.assertRegex(said, r"\bLDG\.E\.(?:[\w.]+\.)?128\b")
                        self.assertRegex(said, r"\bSTG\.E\.(?:[\w.]+\.)?128\b")


if __name__ == "__main__":
    unittest.main()
