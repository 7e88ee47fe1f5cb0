# SPDX-License-Identifier: Apache-2.0
"""What the tests of foreign wheels share: packing one, a library for it, what is in it."""
import ast
import json
import pathlib
import subprocess
import sysconfig
import zipfile

from support.deploy_case import clean_environment
from support.source_case import SourceCase

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
RECORD = "deepspeed/git_version_info_installed.py"


class WheelCase(SourceCase):
    def run_package(self, *words, source=None, python=None, status=0, **variables):
        toolkit = "CUDA_HOME=%s" % (self.folder / "toolkit")
        done = subprocess.run(
            [str(self.build_folder / "tests" / "package-run"), str(source or self.root),
             str(python or self.python), str(self.folder / "cache"), str(self.folder / "dist"),
             toolkit, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", env=clean_environment(**variables), check=False, timeout=900)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.stderr = done.stderr
        if status:
            return done.stderr
        answer = json.loads(done.stdout)
        return pathlib.Path(answer["wheel"]), answer

    def library(self, name="one_op", body=""):
        """A module in C that says which it is."""
        source = self.write("c/%s.c" % name, '''
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "%s", "built by a test", -1, NULL};
PyMODINIT_FUNC PyInit_%s(void) { return PyModule_Create(&module); }
%s''' % (name, name, body))
        target = self.folder / "c" / (name + ".so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-I" + sysconfig.get_paths()["include"],
                        "-o", str(target), str(source)], check=True)
        return target

    @staticmethod
    def content(wheel):
        with zipfile.ZipFile(wheel) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}

    @staticmethod
    def assigned(text):
        return {one.targets[0].id: ast.literal_eval(one.value) for one in ast.parse(text).body}

    def install(self, wheel, python):
        done = subprocess.run([str(python), "-m", "pip", "install", "--no-deps", "--no-index",
                               str(wheel)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env=clean_environment(), check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
