# SPDX-License-Identifier: Apache-2.0
"""The loops of the CPU ops are vector code at each level, in the libraries as they are built."""
import collections
import pathlib
import re
import shutil
import subprocess
import unittest

import ds_ops

# A root is taken in the updates alone. Each has a loop for every kind of weight decay.
LOOPS = {"cpu_adam": 6, "cpu_adagrad": 2}
PACKED_ROOT = re.compile(r"\tv?sqrtps\s.*%([xyz])mm\d+$|\tfsqrt\s+v\d+\.(4s)")


def roots(library):
    """How many packed square roots there are, by the width of their register."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", str(library)], check=True,
                          capture_output=True, text=True).stdout
    found = (PACKED_ROOT.search(line.rstrip()) for line in text.splitlines())
    return collections.Counter(match[1] or match[2] for match in found if match), text


@unittest.skipUnless(shutil.which("objdump"), "binutils is not installed")
class VectorCode(unittest.TestCase):
    def test_every_loop_is_packed_at_each_level(self):
        folder = pathlib.Path(ds_ops.__file__).parent
        for op, loops in LOOPS.items():
            library = folder / op / f"lib{op}.so"
            if not library.exists():
                continue
            with self.subTest(op=op):
                count, text = roots(library)
                if "x86-64" not in text.splitlines()[1]:
                    self.assertGreaterEqual(count["4s"], loops)
                    continue
                self.assertGreaterEqual(count["z"], loops, "AVX-512")
                self.assertGreaterEqual(count["y"], loops, "AVX2")
                # The baseline is wider in a library that is built for newer CPUs alone.
                self.assertGreaterEqual(count["x"] + count["y"], 2 * loops, "baseline")


if __name__ == "__main__":
    unittest.main()
