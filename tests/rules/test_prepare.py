# SPDX-License-Identifier: Apache-2.0
"""The real torch of the tests is made once, whole or not at all; without it the reason is said.

By the real pip, which finds small projects of the same names in a folder.
"""
import contextlib
import fcntl
import io
import os
import pathlib
import tarfile
import tempfile
import time
import unittest
import zipfile
from unittest import mock

from support import prepare_torch
from support.prepare_torch import Unprepared, Workshop

VARIABLES = ("DS_DEPLOY_TEST_TORCH_PYTHON", "DS_DEPLOY_TEST_SOURCES", "DS_DEPLOY_TEST_MODULES",
             "DS_DEPLOY_TEST_MISSING", "DS_DEPLOY_TEST_NO_DOWNLOAD")
# As the real ones it asks for torch where it is only looked at.
PROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """import os
import torch
def prepare_metadata_for_build_wheel(folder, settings=None):
    os.mkdir(folder + "/deepspeed.dist-info")
    with open(folder + "/deepspeed.dist-info/METADATA", "w") as metadata:
        metadata.write("Metadata-Version: 2.1\\nName: deepspeed\\nVersion: %s\\n")
    return "deepspeed.dist-info"
"""


class Prepared(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.root = self.folder / "cache" / "ds-deploy-tests"
        self.index = self.folder / "index"
        self.index.mkdir()
        patch = mock.patch.dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"),
                                PIP_NO_INDEX="1", PIP_FIND_LINKS=str(self.index))
        patch.start()
        self.addCleanup(patch.stop)
        for name in VARIABLES:
            os.environ.pop(name, None)

    def offer(self, name, version="1.0"):
        module = name.replace("-", "_")
        info = "%s-%s.dist-info/" % (module, version)
        with zipfile.ZipFile(self.index / ("%s-%s-py3-none-any.whl" % (module, version)),
                             "w") as wheel:
            wheel.writestr(module + ".py", "")
            wheel.writestr(info + "METADATA",
                           "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version))
            wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\n"
                                           "Root-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(info + "RECORD", "")

    def offer_all(self):
        for name in {*prepare_torch.TOOLS, *prepare_torch.MODULES}:
            self.offer(name)
        self.offer("torch", prepare_torch.TORCH + ".1")
        self.offer("torch", "99.0")
        for version in (*prepare_torch.OLDER, "0.15.0", "0.99.0"):
            with tarfile.open(self.index / ("deepspeed-%s.tar.gz" % version), "w:gz") as sdist:
                for name, text in (("pyproject.toml", PROJECT), ("backend.py", BACKEND % version),
                                   ("PKG-INFO", "")):
                    info = tarfile.TarInfo("deepspeed-%s/%s" % (version, name))
                    info.size = len(text)
                    sdist.addfile(info, io.BytesIO(text.encode()))

    def prepare(self, download=True):
        """What was said; without a line in the middle of it."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            prepare_torch.prepare(download)
        self.assertEqual([path.name for path in self.root.glob("new.*")], [])
        return output.getvalue()

    def test_made_once(self):
        self.offer_all()
        said = self.prepare()
        self.assertIsNone(os.environ.get("DS_DEPLOY_TEST_MISSING"), said)
        self.assertRegex(said, r"(?m)^real parts: torch 2\.\d+: \d+ s$")
        first = {name: os.environ.pop(name) for name in VARIABLES[:3]}
        environment = pathlib.Path(first["DS_DEPLOY_TEST_TORCH_PYTHON"]).parent.parent
        self.assertEqual([path.name for path in environment.glob("lib/*/*/torch-*.dist-info")],
                         ["torch-%s.1.dist-info" % prepare_torch.TORCH])
        self.assertEqual(
            sorted(path.name for path in pathlib.Path(first["DS_DEPLOY_TEST_SOURCES"]).iterdir()),
            sorted("deepspeed-%s.tar.gz" % one for one in (*prepare_torch.OLDER, "0.99.0")))
        modules = pathlib.Path(first["DS_DEPLOY_TEST_MODULES"])
        self.assertTrue((modules / "einops.py").exists())
        self.assertFalse(list(environment.glob("lib/*/*/einops*")))
        # Once more, without an index and without leave to ask it.
        for path in self.index.iterdir():
            path.unlink()
        self.assertEqual(self.prepare(download=False), "")
        self.assertEqual({name: os.environ.pop(name) for name in VARIABLES[:3]}, first)
        # An environment whose Python is gone is none.
        (environment / "bin" / "python").unlink()
        self.assertRegex(self.prepare(download=False), "left out: torch .*: not in ")

    def missing(self, said, reason):
        self.assertRegex(os.environ["DS_DEPLOY_TEST_MISSING"], reason)
        self.assertRegex(said, "left out: .*" + reason)
        self.assertNotIn("DS_DEPLOY_TEST_TORCH_PYTHON", os.environ)
        self.assertEqual([path.name for path in self.root.glob("torch-*")], [])

    def test_what_is_named_wins(self):
        for name in VARIABLES[:3]:
            os.environ[name] = "/named"
        self.assertEqual(self.prepare(), "")
        self.assertEqual([os.environ[name] for name in VARIABLES[:3]], ["/named"] * 3)
        self.assertFalse(self.root.exists())

    def test_switched_off(self):
        os.environ["DS_DEPLOY_TEST_NO_DOWNLOAD"] = "1"
        self.missing(self.prepare(), "torch .*: not in .*, and DS_DEPLOY_TEST_NO_DOWNLOAD is set")
        self.assertFalse(self.root.exists())

    def test_an_index_that_cannot_be_reached(self):
        with mock.patch.dict(os.environ, PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:9/"):
            began = time.monotonic()
            self.missing(self.prepare(), "package index: status 1: ERROR: ")
        self.assertLess(time.monotonic() - began, 60)

    def test_a_disk_that_is_too_small(self):
        with mock.patch.object(prepare_torch, "DISK", 1 << 60):
            self.missing(self.prepare(), r"torch needs \d+ GB of disk, and .* has \d+\.\d GB")

    def test_a_torch_that_is_not_offered(self):
        with mock.patch.object(Workshop, "reach_index"):
            self.missing(self.prepare(), r"torch 2.*: status 1: ERROR: No matching distribution")

    def test_steps_have_a_limit(self):
        workshop = Workshop(seconds=1)
        self.root.mkdir(parents=True)
        output = io.StringIO()
        with contextlib.redirect_stdout(output), \
                self.assertRaisesRegex(Unprepared, r"sleep: not done after 1 s"):
            workshop.run("sleep", ["sleep", "60"])
        with contextlib.redirect_stdout(output), self.assertRaises(OSError):
            workshop.run("nothing", ["/nowhere/program"])
        self.assertEqual(list(self.root.iterdir()), [])

    def test_one_at_a_time(self):
        self.root.mkdir(parents=True)
        output = io.StringIO()
        with open(self.root / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.redirect_stdout(output), \
                    self.assertRaisesRegex(Unprepared, "another run worked in .* for 1 s"):
                Workshop(seconds=1).torch()
        self.assertEqual(output.getvalue().count("another run works in"), 1)


if __name__ == "__main__":
    unittest.main()
