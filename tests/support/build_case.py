# SPDX-License-Identifier: Apache-2.0
"""What the tests of the build engine share: an op library to change, compilers that take notes."""
import ctypes
import pathlib
import re
import sys
import time
import zipfile

from support.deploy_case import DeployCase, clean_environment

OP = """name: {name}
summary: for a test
kind: {kind}
build_variable: DS_BUILD_{upper}
sources: [{sources}]
include: [{include}]
links_torch: false
self_test: ds_ops.{name}:self_test
"""
# Takes its time and memory as told, then compiles; notes when it was there.
HEAVY = """#!%s
import os, subprocess, sys, time
if "-o" not in sys.argv:
    os.execvp("g++", ["g++", *sys.argv[1:]])
begin = time.time()
block = bytearray(int(os.environ.get("HEAVY_MB", "0")) * 1000000)
time.sleep(float(os.environ.get("HEAVY_SECONDS", "0")))
status = subprocess.call(["g++", *sys.argv[1:]])
with open(os.environ["HEAVY_LOG"], "a") as log:
    log.write("%%f %%f %%s\\n" %% (begin, time.time(), "compile" if "-c" in sys.argv else "link"))
sys.exit(status)
"""


class BuildCase(DeployCase):
    """An op library to change, with a store of its own."""

    def setUp(self):
        super().setUp()
        self.ops = self.folder / "ops"
        self.cache = self.folder / "cache"
        self.write("ops/VERSION", "1.0\n")

    def op(self, name="one", kind="cpu", include="", **sources):
        """Sources by their stem."""
        ending = ".cu" if kind == "cuda" else ".cc"
        for stem, text in sources.items():
            self.write("ops/%s/%s%s" % (name, stem, ending), text)
        self.write("ops/%s/python/__init__.py" % name, "def self_test():\n    pass\n")
        self.write("ops/%s/op.yaml" % name, OP.format(
            name=name, upper=name.upper(), kind=kind, include=include,
            sources=", ".join(stem + ending for stem in sources)))

    def words(self, *words, ops=None, build="build", cache=None):
        return ["build", "-l", "-v", "--ops", ops or self.ops, "--build-dir", self.folder / build,
                "--cache-dir", cache or self.cache, "--output", self.folder / build, *words]

    def build(self, *words, exit_status=0, env=None, **where):
        """Jobs that ran, that were up to date, and that came from the store."""
        done = self.run_program(*self.words(*words, **where), env=env)
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        self.stderr = done.stderr
        self.wheel = pathlib.Path(done.stdout.strip())
        said = re.search(r"^build: (\d+) jobs? ran in .*, (\d+) up to date, (\d+) from the cache$",
                         done.stderr, re.M)
        return tuple(map(int, said.groups())) if said else None

    def value(self, function="value", op="one"):
        """What a function of the built library returns."""
        with zipfile.ZipFile(self.wheel) as wheel:
            path = wheel.extract("ds_ops/%s/lib%s.so" % (op, op),
                                 self.folder / ("x%d" % time.monotonic_ns()))
        return getattr(ctypes.CDLL(path), function)()

    def script(self, name, text):
        path = self.write(name, text)
        path.chmod(0o755)
        return path

    def heavy(self, **settings):
        """The environment of a compiler that takes its time."""
        self.log = self.folder / "log"
        self.log.unlink(missing_ok=True)
        compiler = self.script("heavy-g++", HEAVY % sys.executable)
        return clean_environment(CXX=str(compiler), HEAVY_LOG=str(self.log), **settings)

    def most_at_once(self):
        times = []
        for line in self.log.read_text().splitlines():
            begin, end = map(float, line.split()[:2])
            times += [(begin, 1), (end, -1)]
        now = most = 0
        for _, step in sorted(times):
            now += step
            most = max(most, now)
        return most


def returning(value, name="value"):
    return 'extern "C" __attribute__((visibility("default"))) int %s() { return %s; }\n' % (
        name, value)
