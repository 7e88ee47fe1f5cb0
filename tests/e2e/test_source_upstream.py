# SPDX-License-Identifier: Apache-2.0
"""Our wheel beside the one that the tree's own setup.py makes, file by file; see
support/real_parts.py. What differs is what the manual says, no more and no less.
"""
import email
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import unittest
import zipfile

from support import real_wheel
from support.deploy_case import ROOT, clean_environment
from support.find_nvcc import find_nvcc
from support.real_parts import (LONG, TORCH, needs_modules, needs_nvcc, needs_sources, needs_torch,
                                newest, sdists)
from support.source_wheel_case import RECORD, SUFFIX, WheelCase

# Their wheel of the 12 ops of real_wheel.ALL, for the torch and the newest of the sdists.
WHEEL = os.environ.get("DS_DEPLOY_TEST_UPSTREAM_WHEEL", "")


def documented():
    """By the list in ds-deploy(1) of what is not as in upstream's wheel: each begins a sentence."""
    text = (ROOT / "man" / "ds-deploy.1").read_text(encoding="utf-8")
    listed = re.search(r"differs in this:\n(.*?)\n\.El", text, re.S).group(1)
    found = {"added": set(), "changed": set()}
    for item in listed.split(".It\n"):
        kind = "added" if re.search(r"^is added\b", item, re.M) else "changed"
        found[kind] |= set(re.findall(r"^\.Pa (\S+\.\S+|[A-Z]+)", item, re.M))
    return found


class Compared(WheelCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.documented = documented()

    def upstream(self, sdist, environment):
        """What the tree's own setup.py packs."""
        folder = self.folder / "upstream"
        with tarfile.open(sdist) as archive:
            archive.extractall(folder)
        tree, = folder.iterdir()
        done = subprocess.run(
            [TORCH, "setup.py", "bdist_wheel"], cwd=tree, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            env={**environment, "DS_ACCELERATOR": "cuda", "DS_SKIP_CUDA_CHECK": "1"})
        self.assertEqual(done.returncode, 0, done.stdout[-3000:])
        wheel, = (tree / "dist").iterdir()
        found = self.content(wheel)
        shutil.rmtree(folder)
        return found

    @staticmethod
    def plain(found):
        """By names without the version."""
        return {re.sub(r"^(deepspeed-)[^/]+(\.data|\.dist-info)/", r"\1X\2/", name): text
                for name, text in found.items()}

    @staticmethod
    def fields(metadata):
        parsed = email.message_from_bytes(metadata)
        return sorted((key, value) for key, value in parsed.items() if key != "Version")

    def compare(self, ours, theirs, compiled=0):
        """Everything is equal but what the manual names; and that is not named in vain.

        `compiled`: so many libraries are expected in both, otherwise in ours alone.
        """
        libraries = {name for name in ours if name.endswith(".so")}
        added = set(ours) - set(theirs) - (set() if compiled else libraries)
        self.assertEqual(added, {name for name in ours if self.in_manual(name, added=True)})
        self.assertEqual(set(theirs) - set(ours), set())
        changed = {name for name in theirs if ours[name] != theirs[name]}
        self.assertEqual(changed, {name for name in theirs if self.in_manual(name)})
        self.assertEqual(len(libraries & changed), compiled)
        info = "deepspeed-X.dist-info/"
        self.assertEqual(self.fields(ours[info + "METADATA"]),
                         self.fields(theirs[info + "METADATA"]))
        record, upstream = self.assigned(ours[RECORD]), self.assigned(theirs[RECORD])
        self.assertEqual(list(record), list(upstream))
        self.assertEqual(list(record["torch_info"]), list(upstream["torch_info"]))
        for key in ("version", "cuda_version", "nccl_version", "hip_version"):
            self.assertEqual(record["torch_info"][key], upstream["torch_info"][key])
        self.assertLessEqual(set(upstream["installed_ops"]), set(record["installed_ops"]))
        self.assertEqual(record.get("accelerator_name"), upstream.get("accelerator_name"))
        if compiled:
            self.assertEqual({name for name, there in record["installed_ops"].items() if there},
                             {name for name, there in upstream["installed_ops"].items() if there})

    def in_manual(self, name, added=False):
        """Whether it is one of the files that differ, or that are added, by the manual."""
        return any(name == one or fnmatch.fnmatch(name, "*/" + one)
                   for one in self.documented["added" if added else "changed"])


@needs_torch
@needs_sources
class PackedAlone(Compared):
    """With one library that stands for the compiled ones."""

    def test_as_upstreams_own_wheel(self):
        library = self.library("fused_adam_op")
        for version, path in sdists().items():
            with self.subTest(version):
                wheel, _ = self.run_package("op=fused_adam=%s" % library, source=path,
                                            python=TORCH)
                theirs = self.upstream(path, clean_environment(
                    DS_BUILD_OPS="0", CUDA_HOME=str(self.folder / "toolkit")))
                ours = self.content(wheel)
                self.compare(self.plain(ours), self.plain(theirs))
                libraries = [name for name in ours if name.endswith(".so")]
                self.assertEqual(libraries, ["deepspeed/ops/adam/fused_adam_op" + SUFFIX])
                self.assertEqual(self.assigned(ours[RECORD])["installed_ops"]["fused_adam"], 1)

    def test_without_the_module_wheel_it_is_the_same(self):
        """The environment sees that torch and its packages, but no wheel."""
        path = newest()
        whole, _ = self.run_package(source=path, python=TORCH)
        first = self.plain(self.content(whole))
        python = self.torch_without(TORCH, "wheel")
        parts, _ = self.run_package(source=path, python=python)
        second = self.plain(self.content(parts))
        self.assertEqual(set(first), set(second))
        info = "deepspeed-X.dist-info/"
        self.assertEqual({name for name in first if first[name] != second[name]} -
                         {info + "RECORD", info + "METADATA"}, set())
        self.assertEqual(self.fields(first[info + "METADATA"]),
                         self.fields(second[info + "METADATA"]))


@needs_torch
@needs_sources
@needs_modules
@needs_nvcc
@unittest.skipUnless(WHEEL or LONG, "half an hour: tests/run --long, or "
                     "DS_DEPLOY_TEST_UPSTREAM_WHEEL names upstream's wheel of the same ops")
class Compiled(Compared):
    """The twelve ops that build today, by both."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ours = cls.content(real_wheel.build(real_wheel.ALL, TORCH))
        cls.theirs = cls.content(WHEEL) if WHEEL else None

    def test_as_upstreams_own_wheel(self):
        theirs = self.theirs or self.upstream(newest(), self.with_compilers())
        self.compare(self.plain(self.ours), self.plain(theirs), compiled=13)
        libraries = [name for name in theirs if name.endswith(".so")]
        for name in libraries:
            with self.subTest(name):
                self.assertEqual(self.exported(self.ours[name]), self.exported(theirs[name]))

    @staticmethod
    def with_compilers():
        """torch looks for ninja in PATH; the driver that ops link is a stub of the toolkit's."""
        toolkit = pathlib.Path(find_nvcc()).resolve().parent.parent
        return {**real_wheel.chosen(real_wheel.ALL), "CUDA_HOME": str(toolkit), "MAX_JOBS": "2",
                "DS_ENABLE_NINJA": "1",
                "PATH": "%s:%s" % (pathlib.Path(TORCH).parent, os.environ["PATH"]),
                "LIBRARY_PATH": ":".join(map(str, toolkit.glob("lib*/stubs")))}

    def exported(self, library):
        """What others may link with: defined, and not weak."""
        path = self.folder / "library.so"
        path.write_bytes(library)
        text = subprocess.run(["nm", "-D", "--defined-only", str(path)], stdout=subprocess.PIPE,
                              text=True, check=True).stdout
        symbols = {line.split(maxsplit=2)[1:][1] for line in text.splitlines()
                   if line.split()[1] not in "VvWwu"}
        self.assertTrue(any(name.startswith("PyInit_") for name in symbols))
        return symbols


if __name__ == "__main__":
    unittest.main()
