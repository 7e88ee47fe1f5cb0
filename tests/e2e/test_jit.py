# SPDX-License-Identifier: Apache-2.0
"""One op on demand: `ds-deploy jit` and `ds_ops.load`, with real compilers and environments."""
import ctypes
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest
import zipfile

from support.build_case import BuildCase, returning
from support.deploy_case import PROGRAM, ROOT, clean_environment

FACE = """import ctypes, os
_library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), "libone.so"))
value = _library.value
def self_test():
    assert value() > 0
"""
LOAD = "import ds_ops; print(ds_ops.load('one').value(), flush=True)"
# Notes each compile with its process, which waits while a file says so.
NOTING = """#!/bin/sh
case " $* " in *" -c "*)
    echo "compile $$" >> "%(folder)s/log"
    while [ -e "%(folder)s/hold" ]; do sleep 0.05; done ;;
esac
exec g++ "$@"
"""


def other_python():
    """An interpreter of another version than this one that can make environments, or this one."""
    names = [shutil.which("python3.%d" % minor) for minor in range(8, 20)]
    names += ["/usr/bin/python3", *sorted(glob.glob(os.path.expanduser(
        "~/.pyenv/versions/3.*/bin/python3")))]
    for name in filter(None, names):
        asked = "import ctypes, sys, venv; print(*sys.version_info[:2])"
        said = subprocess.run([name, "-c", asked], stdout=subprocess.PIPE, text=True, check=False,
                              stderr=subprocess.DEVNULL).stdout.split()
        version = tuple(map(int, said))
        if version >= (3, 8) and version != sys.version_info[:2]:
            return name
    return sys.executable


class JitCase(BuildCase):
    def setUp(self):
        super().setUp()
        self.extensions = self.folder / "extensions"
        self.log = self.folder / "log"
        self.hold = self.folder / "hold"
        self.op(a=returning(5))
        self.write("ops/one/python/__init__.py", FACE)
        shutil.copytree(ROOT / "ops" / "common" / "python", self.ops / "common" / "python",
                        ignore=shutil.ignore_patterns("__pycache__"))
        self.compiler = self.script("noting-g++", NOTING % {"folder": self.folder})
        self.program = self.script("ds-deploy", '#!/bin/sh\nexec "%s" "$@" --ops "%s" '
                                   '--cache-dir "%s"\n' % (PROGRAM, self.ops, self.cache))

    def environment(self, **more):
        return clean_environment(**{"CXX": str(self.compiler), "DS_DEPLOY": str(self.program),
                                    "TORCH_EXTENSIONS_DIR": str(self.extensions), **more})

    def start(self, *words, env=None):
        # A suite that runs in the background of a shell has SIGINT ignored, and hands that down.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            child = subprocess.Popen([*map(str, words)], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     cwd="/", env=env or self.environment())
        finally:
            signal.signal(signal.SIGINT, before)
        self.addCleanup(self.end, child)
        return child

    @staticmethod
    def end(child):
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            stream.close()

    def run_words(self, *words, env=None, exit_status=0):
        """What it prints; what it says on stderr is kept."""
        child = self.start(*words, env=env)
        out, self.stderr = child.communicate()
        self.assertEqual(child.returncode, exit_status, out + self.stderr)
        return out

    def compiles(self):
        """The processes that compiled so far."""
        return [int(line.split()[1]) for line in self.log.read_text().splitlines()] \
            if self.log.exists() else []

    def wait_for_compile(self, number=1):
        until = time.monotonic() + 60
        while len(self.compiles()) < number:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
        return self.compiles()[-1]

    def change_source(self, value):
        self.write("ops/one/a.cc", returning(value))


class Program(JitCase):
    """The command line."""

    def jit(self, *words, op="one", **more):
        return self.run_words(self.program, "jit", op, *words, **more)

    def packages(self):
        return sorted(self.extensions.glob("ds-deploy/*/one/packages/*"))

    def test_eight_processes_build_once(self):
        self.hold.touch()
        children = [self.start(self.program, "jit", "one") for _ in range(8)]
        self.wait_for_compile()
        self.hold.unlink()
        ended = [child.communicate() for child in children]
        self.assertEqual(len({out for out, _ in ended}), 1, ended)
        self.assertEqual(ctypes.CDLL(ended[0][0].strip()).value(), 5)
        self.assertEqual(len(self.compiles()), 1)
        self.assertIn("one is being built by process ", "".join(err for _, err in ended))

    def test_package(self):
        answer = json.loads(self.jit("--json"))
        self.assertEqual((answer["schema"], answer["op"]), ("ds-deploy.jit/1", "one"))
        package = pathlib.Path(answer["package"])
        self.assertEqual(answer["library"], str(package / "ds_ops" / "one" / "libone.so"))
        said = self.run_words(sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1])\n"
                              "import ds_ops.one; print(ds_ops.ops(), ds_ops.one.value())", package)
        self.assertEqual(said, "['one'] 5\n")
        files = {str(path.relative_to(package)) for path in package.rglob("*.*")
                 if "__pycache__" not in path.parts}
        self.assertLessEqual({"ds_ops/__init__.py", "ds_ops/_jit.py", "ds_ops/one/__init__.py"},
                             files)

    def test_what_was_imported_stays(self):
        old = json.loads(self.jit("--json"))["package"]
        before = self.tree(old)
        self.change_source(6)
        new = json.loads(self.jit("--json"))["package"]
        self.assertEqual(self.tree(old), before)
        self.assertEqual(ctypes.CDLL(new + "/ds_ops/one/libone.so").value(), 6)
        self.change_source(5)
        self.assertEqual(json.loads(self.jit("--json"))["package"], old)
        self.assertEqual(len(self.packages()), 2)

    def test_what_a_killed_process_left_and_damage(self):
        package = pathlib.Path(json.loads(self.jit("--json"))["package"])
        before = self.tree(package)
        half = self.write(str(package.parent.relative_to(self.folder) / ".new" / "ds_ops" / "x.py"),
                          "half")
        (package / "ds_ops" / "one" / "libone.so").write_bytes(b"cut")
        (package / "ds_ops" / "_library.py").unlink()
        self.jit()
        self.assertEqual([(path, held[0]) for path, held in self.tree(package).items()],
                         [(path, held[0]) for path, held in before.items()])
        self.change_source(6)
        self.jit()
        self.assertFalse(half.exists())
        self.assertFalse([path for path in self.packages() if (path / "ds_ops" / "x.py").exists()])

    def test_two_environments_share_the_folder(self):
        libraries = {self.jit("--python", self.make_environment(name)) for name in ("a", "b")}
        self.assertEqual(len(libraries), 1)
        self.assertEqual(len(self.compiles()), 1)
        self.assertIn("/ds-deploy/py%d%d_" % sys.version_info[:2], libraries.pop())

    def test_an_interpreter_that_is_not_there(self):
        self.jit("--python", self.folder / "nowhere", exit_status=2)
        self.assertIn("nowhere does not say which Python it is", self.stderr)

    def test_no_such_op(self):
        self.jit(op="ones", exit_status=9)
        self.assertIn("there is no op 'ones'", self.stderr)
        self.assertIn("did you mean 'one'?", self.stderr)

    def test_a_folder_that_cannot_be_made(self):
        place = self.write("file", "")
        self.jit(exit_status=2, env=self.environment(TORCH_EXTENSIONS_DIR=str(place)))
        self.assertRegex(self.stderr,
                         "cannot make the folder %s/ds-deploy/.*: Not a directory" % place)
        self.assertIn("name another folder", self.stderr)
        self.assertIn("while building one in %s/" % place, self.stderr)

    def test_a_folder_of_another_user(self):
        answer = self.jit("--json")
        subprocess.run(["chmod", "-R", "a+rX,a-w", self.folder], check=True)
        words = [str(self.program), "jit", "one", "--json"]
        if os.geteuid() == 0:
            if not shutil.which("setpriv"):
                self.skipTest("no setpriv")
            words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words]
        env = self.environment(XDG_CACHE_HOME="/nonexistent")
        self.assertEqual(self.run_words(*words, env=env), answer)
        self.assertRegex(self.stderr, "/one cannot be written to; what was built before from these")
        self.run_words(*words, env={**env, "CXXFLAGS": "-O1"}, exit_status=9)
        self.assertRegex(self.stderr, "one cannot be built: .*/one cannot be written to")

    def test_no_compiler(self):
        """What is there is used; what is not cannot be built."""
        programs = self.folder / "bin"
        programs.mkdir()
        for folder in ("/bin", "/usr/bin"):
            for path in pathlib.Path(folder).iterdir():
                link = programs / path.name
                if not re.search(r"\+\+|cc|clang", path.name) and not link.is_symlink():
                    link.symlink_to(path)
        bare = self.environment(CXX="", PATH=str(programs))
        self.jit(env=bare, exit_status=9)
        self.assertIn("one cannot be built: there is no program c++ here", self.stderr)
        answer = self.jit("--json")
        self.assertEqual(self.jit("--json", env=bare), answer)
        self.assertIn("what was built before from these sources is used", self.stderr)
        self.change_source(6)
        self.jit(env=bare, exit_status=9)


class Loader(JitCase):
    """ds_ops.load, where ds_ops is a wheel that lacks the op."""

    def setUp(self):
        super().setUp()
        self.python = self.install(sys.executable, "env")

    def install(self, interpreter, name):
        """An environment that holds the wheel of utils alone."""
        python = self.folder / name / "bin" / "python"
        subprocess.run([interpreter, "-m", "venv", "--without-pip", self.folder / name], check=True,
                       env=clean_environment())
        done = self.run_program("build", "-l", "-q", "--output", self.folder / "dist",
                                "--build-dir", self.build_folder / "test-ops",
                                env=clean_environment(DS_BUILD_UTILS="1"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.site = pathlib.Path(self.run_words(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        with zipfile.ZipFile(done.stdout.strip()) as wheel:
            wheel.extractall(self.site)
        return python

    def load(self, text=LOAD, **more):
        return self.run_words(self.python, "-c", text, **more)

    def failure(self, op="one", **more):
        """The words of BuildFailed, and its status."""
        said = self.load("import ds_ops\ntry: ds_ops.load(%r)\nexcept ds_ops.BuildFailed as error: "
                         "print(error.status, error)" % op, **more)
        status, _, words = said.partition(" ")
        return words, status

    def test_eight_processes_build_once(self):
        self.hold.touch()
        children = [self.start(self.python, "-c", LOAD) for _ in range(8)]
        self.wait_for_compile()
        self.hold.unlink()
        ended = [child.communicate() for child in children]
        self.assertEqual([out for out, _ in ended], ["5\n"] * 8, ended)
        self.assertEqual(len(self.compiles()), 1)
        self.assertIn("one is being built by process ", "".join(err for _, err in ended))

    def test_killed_builder_is_taken_over(self):
        """By one that waits; the compilers of the dead one are dead too."""
        self.hold.touch()
        first = self.start(self.python, "-c", LOAD)
        compiler = self.wait_for_compile()
        owner = int(pathlib.Path("/proc/%d/task/%d/children" % (first.pid, first.pid)).read_text())
        second = self.start(self.python, "-c", LOAD)
        said = ""
        while "being built" not in said:
            said = second.stderr.readline()
            self.assertTrue(said, "it ended without waiting")
        self.assertIn("one is being built by process %d; waiting" % owner, said)
        os.kill(owner, signal.SIGKILL)
        os.killpg(os.getpgid(compiler), signal.SIGKILL)
        _, err = first.communicate()
        self.assertIn("was ended by signal 9", err)
        self.wait_for_compile(2)
        self.hold.unlink()
        out, err = second.communicate()
        self.assertEqual(out, "5\n", err)
        self.assertEqual(len(self.compiles()), 2)

    def test_two_pythons_share_the_folder(self):
        """At the same time, and one after the other; with a real op and its self-test."""
        other = other_python()
        second = self.install(other, "other")
        self.write(str(self.site.relative_to(self.folder) / "torch" / "version.py"),
                   "__version__ = '9.8.7+cpu'\ncuda = None\n")
        text = ("import ds_ops, sys; assert 'cpu_adam' not in ds_ops.ops(); "
                "op = ds_ops.load('cpu_adam'); assert op is ds_ops.cpu_adam; "
                "ds_ops.self_test('cpu_adam'); ds_ops.self_test('utils'); "
                "print('py%d%d' % sys.version_info[:2], ds_ops.ops(), op.__file__)")
        env = self.environment(DS_DEPLOY=PROGRAM, XDG_CACHE_HOME=str(self.folder / "own"))
        for _ in range(2):
            children = [self.start(python, "-c", text, env=env) for python in (self.python, second)]
            ended = [child.communicate() for child in children]
            for (out, err), torch in zip(ended, (False, True)):
                version, rest = out.split(" ", 1)
                self.assertIn("['cpu_adam', 'utils'] %s/ds-deploy/%s_%s"
                              % (self.extensions, version, "torch9.8.7+cpu_" if torch else ""),
                              rest, err)
            if other != sys.executable:
                self.assertNotEqual(*(out.split()[0] for out, _ in ended))
            built = self.compiles()
        self.assertEqual(self.compiles(), built)
        for python in (self.python, second):
            self.run_words(python, "-c", text, env=env)
        self.assertEqual(self.compiles(), built)

    def test_what_is_there_needs_no_compiler(self):
        self.assertEqual(self.load(), "5\n")
        self.assertEqual(len(self.compiles()), 1)
        self.assertEqual(self.load(), "5\n")
        self.assertEqual(self.load(env=self.environment(CXX="/nonexistent")), "5\n")
        self.assertIn("there is no program /nonexistent here; what was built before", self.stderr)
        self.assertEqual(len(self.compiles()), 1)
        words, status = self.failure(env=self.environment(CXX="/nonexistent", CXXFLAGS="-O1"))
        self.assertEqual(status, "9")
        self.assertIn("one cannot be built: there is no program /nonexistent here", words)

    def test_what_is_installed_is_imported(self):
        missing = self.environment(DS_DEPLOY="/nonexistent")
        self.assertEqual(self.load("import ds_ops; print(ds_ops.load('utils').__name__)",
                                   env=missing), "ds_ops.utils\n")

    def test_importing_stays_cheap(self):
        self.load("import sys, ds_ops\n"
                  "assert not {'subprocess', 'json'} & set(sys.modules)")

    def test_a_new_source_beside_a_process_that_runs(self):
        old = self.start(self.python, "-c", LOAD + "; input(); print(ds_ops.load('one').value())")
        self.assertEqual(old.stdout.readline(), "5\n")
        self.change_source(6)
        self.assertEqual(self.load(), "6\n")
        self.assertEqual(old.communicate("\n")[0], "5\n")

    def test_threads(self):
        text = ("import ds_ops, concurrent.futures as f\n"
                "with f.ThreadPoolExecutor(8) as pool:\n"
                "    print(len({id(m) for m in pool.map(ds_ops.load, ['one'] * 8)}))")
        self.assertEqual(self.load(text), "1\n")
        self.assertEqual(len(self.compiles()), 1)

    def test_interrupt(self):
        """Ctrl-C in a notebook reaches the interpreter alone; the compiler ends with it."""
        self.hold.touch()
        child = self.start(self.python, "-c", LOAD)
        compiler = self.wait_for_compile()
        child.send_signal(signal.SIGINT)
        self.assertIn("KeyboardInterrupt", child.communicate(timeout=30)[1])
        self.assertFalse(pathlib.Path("/proc/%d/root" % compiler).exists())

    def test_no_program(self):
        words, status = self.failure(env=self.environment(DS_DEPLOY="", PATH="/nonexistent"))
        self.assertEqual(status, "None")
        self.assertIn("ds-deploy, which builds it, is not on PATH; build ds-deploy", words)
        words, status = self.failure(env=self.environment(DS_DEPLOY="/nonexistent"))
        self.assertIn("DS_DEPLOY is '/nonexistent', which is no program that can be run", words)
        path = "%s:%s" % (self.folder, os.environ["PATH"])
        self.assertEqual(self.load(env=self.environment(DS_DEPLOY="", PATH=path)), "5\n")

    def test_no_such_op(self):
        words, status = self.failure("ones")
        self.assertEqual(status, "9")
        self.assertIn("there is no op 'ones' in %s" % self.ops, words)
        self.assertIn("did you mean 'one'?", words)

    def test_names(self):
        for name, kind in (("../one", "ValueError"), ("--help", "ValueError"), ("", "ValueError"),
                           ("_jit", "ValueError"), ("One", "ValueError"), (1, "TypeError")):
            with self.subTest(name):
                self.load("import ds_ops\ntry: ds_ops.load(%r)\nexcept %s as error: "
                          "assert str(error).startswith('name: ')\nelse: raise SystemExit(3)"
                          % (name, kind), env=self.environment(DS_DEPLOY="/nonexistent"))

    def test_a_source_that_does_not_compile(self):
        self.write("ops/one/a.cc", "int value() { return nothing; }\n")
        words, status = self.failure()
        self.assertEqual(status, "9")
        for said in (words, self.stderr):
            self.assertRegex(said, "one/a.cc:1.*error: .nothing. was not declared")


if __name__ == "__main__":
    unittest.main()
