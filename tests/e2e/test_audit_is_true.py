# SPDX-License-Identifier: Apache-2.0
"""What the audit says of a wheel, beside what the loader and pip of this machine do with it."""
import json
import shutil
import signal
import subprocess
import sysconfig
import unittest

from support import recorded_wheel
from support.deploy_case import DeployCase

MODULE = """
#include <Python.h>
%s
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "probe", 0, -1, 0};
PyMODINIT_FUNC PyInit_probe(void) { %s return PyModule_Create(&definition); }
"""
# A CPU level that no machine has yet: one bit above x86-64-v4 (x86-64 psABI, "Program Property").
CPU_NOTE = r"""
.section .note.gnu.property,"a"
.p2align 3
.long 4, 16, 5
.asciz "GNU"
.long 0xc0008002, 4, 0x1f, 0
.section .note.GNU-stack,"",@progbits
"""
# Extensions that many CPUs lack, and an instruction of each.
BEYOND = {"amx_tile": "tilerelease", "avx512_fp16": "vaddph %zmm0, %zmm1, %zmm2",
          "sha_ni": "sha1nexte %xmm0, %xmm1"}


@unittest.skipIf(shutil.which("cc") is None, "there is no C compiler")
class AuditIsTrue(DeployCase):
    def setUp(self):
        super().setUp()
        self.interpreter = self.make_environment(pip=True)
        self.suffix = self.python(self.interpreter, "-c", "import sysconfig; print("
                                  "sysconfig.get_config_var('EXT_SUFFIX'))").strip()
        self.include = self.python(self.interpreter, "-c", "import sysconfig; print("
                                   "sysconfig.get_path('include'))").strip()

    def compile(self, *words):
        done = subprocess.run(["cc", "-shared", "-fPIC", "-I", self.include, *map(str, words)],
                              cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def module(self, *words, declares="", does=""):
        """The bytes of an extension module."""
        if not shutil.os.path.exists(self.include + "/Python.h"):
            self.skipTest("Python's headers are not installed")
        source = self.write("probe.c", MODULE % (declares, does))
        self.compile("-o", "probe.so", source, *words)
        return (self.folder / "probe.so").read_bytes()

    def stub(self, name, text, *words):
        """A library to link with, and nothing else."""
        self.compile("-o", name, "-Wl,-soname," + name, self.write("stub.c", text), *words)
        return self.folder / name

    def audited(self, module, suffix=None, exit_status=3):
        """The failures of a wheel with this module, and what an import of it says."""
        wheel = recorded_wheel.pack(self.folder, {"probe" + (suffix or self.suffix): module},
                                    name="probe")
        done = self.run_program("audit", wheel, "-l", "--python", self.interpreter, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        findings = json.loads(done.stdout)["hosts"][0]["findings"]
        self.python(self.interpreter, "-m", "pip", "install", "--no-index", "--no-deps",
                    "--force-reinstall", str(wheel))
        said = self.python(self.interpreter, "-c", "import probe; print('loads')", check=False)
        return [one for one in findings if one["severity"] == "fail"], said

    def assert_refused(self, rule, because, module, said, **options):
        failures, loader = self.audited(module, **options)
        self.assertEqual([one["rule"] for one in failures], [rule], failures)
        self.assertIn(because, failures[0]["because"])
        self.assertIn(said, loader)
        self.assertNotIn("loads", loader)

    def test_what_passes_loads(self):
        failures, said = self.audited(self.module(), exit_status=0)
        self.assertEqual((failures, said.strip()), ([], "loads"))

    def test_a_cpu_level_that_the_machine_lacks(self):
        if sysconfig.get_platform() != "linux-x86_64":
            self.skipTest("levels are x86-64's")
        self.assert_refused("cpu-level", "needs a CPU of level x86-64-v5",
                            self.module(self.write("note.s", CPU_NOTE)),
                            "CPU ISA level is lower than required")

    def test_an_instruction_that_the_cpu_lacks(self):
        """What states no level; only a scan of the code can tell."""
        if sysconfig.get_platform() != "linux-x86_64":
            self.skipTest("only x86-64 is scanned")
        with open("/proc/cpuinfo", encoding="ascii") as source:
            flags = next(line for line in source if line.startswith("flags")).split()
        flag = next((name for name in BEYOND if name not in flags), None)
        if flag is None:
            self.skipTest("this CPU has " + ", ".join(BEYOND))
        wheel = recorded_wheel.pack(self.folder, {"probe" + self.suffix: self.module(
            does='__asm__ volatile("%s");' % BEYOND[flag])}, name="probe")

        def found(*words, exit_status=0):
            done = self.run_program("audit", wheel, "-l", "--python", self.interpreter, "--json",
                                    *words)
            self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
            return [one for one in json.loads(done.stdout)["hosts"][0]["findings"]
                    if one["rule"] == "instructions"]

        self.assertEqual(found(), [])
        finding, = found("--scan-instructions")
        self.assertEqual(finding["severity"], "warn")
        self.assertIn("has instructions that this CPU has not: %s (1 instruction, the first in "
                      "PyInit_probe+0x" % flag, finding["because"])
        self.assertIn("does not ask the CPU", finding["because"])
        self.python(self.interpreter, "-m", "pip", "install", "--no-index", "--no-deps", str(wheel))
        died = subprocess.run([self.interpreter, "-c", "import probe"], check=False)
        self.assertEqual(died.returncode, -signal.SIGILL)

    def test_a_symbol_version_that_is_too_new(self):
        versions = self.write("versions", "GLIBC_2.99 { global: ds_future; };\n")
        libc = self.stub("libc.so.6", "int ds_future(void) { return 1; }\n", "-nostdlib",
                         "-Wl,--version-script=%s" % versions)
        self.assert_refused("glibc", "needs glibc 2.99", self.module(
            libc, declares="int ds_future(void);", does="ds_future();"),
            "version `GLIBC_2.99' not found")

    def test_a_library_that_is_missing(self):
        stub = self.stub("libds_nowhere.so.7", "int ds_nowhere(void) { return 1; }\n")
        self.assert_refused("needed-libraries", "needs libds_nowhere.so.7", self.module(
            stub, declares="int ds_nowhere(void);", does="ds_nowhere();"),
            "libds_nowhere.so.7: cannot open shared object file")

    def test_a_symbol_that_no_library_has(self):
        self.assert_refused("symbols", "needs PyDs_Nowhere, which Python", self.module(
            declares="int PyDs_Nowhere(void);", does="PyDs_Nowhere();"),
            "undefined symbol: PyDs_Nowhere")

    def test_a_module_of_another_python(self):
        other = ".cpython-36m-%s.so" % sysconfig.get_config_var("MULTIARCH")
        self.assert_refused("python", "is for cp36", self.module(),
                            "No module named 'probe'", suffix=other)

    def test_a_wheel_of_another_python(self):
        wheel = recorded_wheel.pack(self.folder, {"probe" + self.suffix: self.module()}, name="probe")
        other = wheel.with_name("probe-0.1.0-cp36-cp36m-linux_x86_64.whl")
        wheel.rename(other)
        done = self.run_program("audit", other, "-l", "--python", self.interpreter, "--json")
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        rules = {one["rule"] for one in json.loads(done.stdout)["hosts"][0]["findings"]
                 if one["severity"] == "fail"}
        self.assertEqual(rules, {"python"})
        said = self.python(self.interpreter, "-m", "pip", "install", "--no-index", "--no-deps",
                           str(other), check=False)
        self.assertIn("is not a supported wheel on this platform", said)
