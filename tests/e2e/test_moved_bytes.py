# SPDX-License-Identifier: Apache-2.0
"""How many bytes an upgrade moves. With DS_DEPLOY_LONG for a wheel of 300 MB, else of 3 MB."""
import json
import os
import random
import shutil
import subprocess
import sys
import unittest

from support.fleet_case import FleetCase
from support.recorded_wheel import pack

OPS = 12
OP_BYTES = 25_000_000 if os.environ.get("DS_DEPLOY_LONG") else 250_000
# Bytes of four random bits pack to half.
HALF = bytes(byte & 15 for byte in range(256))


def op(seed):
    source = random.Random(seed)
    return b"".join(source.getrandbits(8 * 250_000).to_bytes(250_000, "little").translate(HALF)
                    for _ in range(OP_BYTES // 250_000))


class OneOpChanges(FleetCase):
    number = 2

    def deploy(self, wheel):
        done = self.program("deploy", "--json", "--wheel", wheel, timeout=900)
        self.assertEqual(done.status, 0, done.out + done.err)
        return {host["name"]: host["sent_bytes"] for host in json.loads(done.out)["hosts"]}

    @unittest.skipUnless(shutil.which("zstd"), "no zstd")
    def test_that_op_moves(self):
        files = {"demo/__init__.py": b"", "demo/data/__init__.py": b""}
        files.update(("demo/op%d.bin" % at, op(at)) for at in range(OPS))
        for name in self.fleet.hosts:
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.folder / name)],
                           check=True)
        self.hostfile.write_text("".join("%s slots=8 python=%s/bin/python\n" % (
            name, self.folder / name) for name in self.fleet.hosts))
        first = self.deploy(pack(self.folder, files, name="demo", version="1.0"))
        self.assertEqual(first["n1"], first["n2"])
        self.assertLess(first["n1"], OPS * OP_BYTES * 0.6)
        files["demo/op5.bin"] = op(1000)
        packed = subprocess.run(["zstd", "-q", "-3", "-c"], input=files["demo/op5.bin"], check=True,
                                stdout=subprocess.PIPE).stdout
        second = self.deploy(pack(self.folder, files, name="demo", version="1.1"))
        for name, sent in second.items():
            with self.subTest(name):
                self.assertLessEqual(sent, len(packed) + 65536)
                self.assertGreater(sent, len(packed) // 2)
        self.assertEqual(self.deploy(self.folder / "demo-1.1-py3-none-linux_x86_64.whl"),
                         {"n1": 0, "n2": 0})


if __name__ == "__main__":
    unittest.main()
