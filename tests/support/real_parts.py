# SPDX-License-Identifier: Apache-2.0
"""The real torch and the real DeepSpeed that tests run with; the reason why one is skipped.

DS_DEPLOY_TEST_TORCH_PYTHON: an interpreter with torch, a CUDA build, setuptools and wheel.
DS_DEPLOY_TEST_SOURCES: a folder with sdists of DeepSpeed. DS_DEPLOY_TEST_MODULES: a folder with the
modules that DeepSpeed requires, for that interpreter. tests/run makes all three where they are not
named, see prepare_torch.
"""
import os
import pathlib
import re
import subprocess
import unittest

from support.find_nvcc import find_nvcc

TORCH = os.environ.get("DS_DEPLOY_TEST_TORCH_PYTHON", "")
SOURCES = os.environ.get("DS_DEPLOY_TEST_SOURCES", "")
MODULES = os.environ.get("DS_DEPLOY_TEST_MODULES", "")
LONG = os.environ.get("DS_DEPLOY_LONG") == "1"
MISSING = os.environ.get("DS_DEPLOY_TEST_MISSING", "")


def sdists():
    """Of DeepSpeed, in the folder that is named; by version, oldest first."""
    found = {tuple(map(int, re.findall(r"\d+", path.name)[:3])): path
             for path in (pathlib.Path(SOURCES).glob("deepspeed-*.tar.gz") if SOURCES else ())}
    return dict(sorted(found.items()))


def newest():
    return list(sdists().values())[-1]


def needs(there, variable, what):
    return unittest.skipUnless(there, MISSING or "%s names no %s" % (variable, what))


needs_torch = needs(TORCH, "DS_DEPLOY_TEST_TORCH_PYTHON", "interpreter with torch")
needs_sources = needs(sdists(), "DS_DEPLOY_TEST_SOURCES", "folder with sdists of DeepSpeed")
needs_modules = needs(MODULES, "DS_DEPLOY_TEST_MODULES", "folder with what DeepSpeed requires")
needs_nvcc = unittest.skipUnless(find_nvcc(), "no nvcc")
only_long = unittest.skipUnless(LONG, "minutes: tests/run --long")


def site_packages(python):
    """Of an interpreter, as it says."""
    return pathlib.Path(subprocess.check_output(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        text=True).strip())
