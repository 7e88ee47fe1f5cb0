# SPDX-License-Identifier: Apache-2.0
"""Interpreters that start while releases change: each has one of them, whole, until it ends. With
DS_DEPLOY_LONG ten times as many activations."""
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from support.deploy_case import DeployCase, clean_environment
from support.host_side import HostSide
from support.recorded_wheel import pack

FLIPS = 200 if os.environ.get("DS_DEPLOY_LONG") == "1" else 20
CC = shutil.which("cc")
CHECK = """
VERSION = %r


def versions():
    import ctypes
    import importlib
    import importlib.metadata
    import os
    import demo
    seen = {demo.VERSION, VERSION, importlib.metadata.version("demo")}
    for name in demo.MODULES:
        seen.add(importlib.import_module("demo." + name).VERSION)
    for path in importlib.metadata.distribution("demo").files:
        assert path.locate().exists(), path
    if demo.LIBRARY:
        library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), "native", "version.so"))
        library.version.restype = ctypes.c_char_p
        seen.add(library.version().decode())
    return sorted(seen)


def main():
    print(*versions())
"""
# Only the package itself is imported before the first line comes.
LONG_RUNNING = """
import multiprocessing
import sys
import demo


def ask(queue):
    import demo.check
    queue.put(demo.check.versions())


if __name__ == "__main__":
    print(demo.VERSION, flush=True)
    sys.stdin.readline()
    for method in ("fork", "forkserver", "spawn"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        child = context.Process(target=ask, args=(queue,))
        child.start()
        print(method, *queue.get(timeout=60), flush=True)
        child.join()
    import demo.check
    print("late", *demo.check.versions(), flush=True)
"""


def library(folder, version):
    source = folder / "version.c"
    source.write_text('const char *version(void) { return "%s"; }\n' % version)
    subprocess.run([CC, "-shared", "-fPIC", "-o", str(folder / "version.so"), str(source)],
                   check=True)
    return (folder / "version.so").read_bytes()


def demo_wheel(folder, version):
    """Each version has a module that no other has, and a library where there is a compiler."""
    modules = ["part%02d" % at for at in range(20)] + ["of_" + version.replace(".", "_"),
                                                       "deep", "deep.er"]
    paths = {name: name.replace(".", "/") + ".py" for name in modules}
    paths["deep"] = "deep/__init__.py"
    text = {path: "VERSION = %r\n" % version for path in paths.values()}
    text["__init__.py"] = "VERSION = %r\nMODULES = %r\nLIBRARY = %r\n" % (version, modules,
                                                                         bool(CC))
    text["check.py"] = CHECK % version
    files = {"demo/" + path: content.encode() for path, content in text.items()}
    if CC:
        files["demo/native/version.so"] = library(folder, version)
    files["demo-%s.dist-info/entry_points.txt" % version] = \
        b"[console_scripts]\ndemo-check = demo.check:main\n"
    return pack(folder, files, name="demo", version=version)


class Readers:
    """Starts interpreters without a pause, from its `with` to the end of it."""

    def __init__(self, prefix):
        self.ways = ([str(prefix / "bin" / "python"), "-c", "import demo.check as c; c.main()"],
                     [str(prefix / "bin" / "demo-check")])
        self.results, self.failed, self.over = [], [], False
        self.threads = [threading.Thread(target=self.read, args=(way,)) for way in self.ways]

    def read(self, way):
        while not self.over:
            done = subprocess.run(way, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  cwd="/", env=clean_environment(), check=False)
            self.results.append(done.stdout.strip())
            if done.returncode or done.stderr:
                self.failed.append((way, done.returncode, done.stderr))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join()

    def wait_for(self, more):
        end, wanted = time.monotonic() + 60, len(self.results) + more
        while len(self.results) < wanted and time.monotonic() < end:
            time.sleep(0.005)


class ReaderCase(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(self.remove_folder)
        self.host = HostSide(self.folder)
        self.python = self.host.prefix / "bin" / "python"
        self.runs, self.long_running = 0, []
        self.random = random.Random(1)

    def remove_folder(self):
        subprocess.run(["chmod", "-R", "u+w", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def open_session(self):
        self.session = self.host.open()
        self.addCleanup(self.host.close, self.session)

    def activate(self, *releases):
        self.runs += 1
        identity = "run-%d" % self.runs
        words = self.host.activation(list(releases), identity, armed=False)
        answer = self.host.say(self.session, "activate", **words)
        self.assertTrue(answer["ok"], answer)
        answer = self.host.say(self.session, "keep", activation=identity)
        self.assertEqual(answer.get("state"), "confirmed", answer)

    def start_long_running(self):
        script = self.folder / "long_running.py"
        script.write_text(LONG_RUNNING)
        child = subprocess.Popen([str(self.python), str(script)], stdin=subprocess.PIPE, text=True,
                                 stdout=subprocess.PIPE, cwd="/", env=clean_environment())
        self.long_running.append((child, child.stdout.readline().strip()))

    def end_long_running(self):
        """Each has what it began with; these versions."""
        for child, version in self.long_running:
            said = child.communicate("go\n", timeout=120)[0].splitlines()
            self.assertEqual(said, [way + " " + version
                                    for way in ("fork", "forkserver", "spawn", "late")])
        return [version for _, version in self.long_running]

    def assert_whole(self, readers, versions):
        self.assertEqual(readers.failed, [])
        self.assertEqual(set(readers.results), set(versions))


class Flips(ReaderCase):
    def test_readers_see_one_or_the_other(self):
        wheels = [demo_wheel(self.folder, version) for version in ("1.0", "2.0")]
        releases = [self.host.stage(wheel) for wheel in wheels]
        self.open_session()
        self.activate(releases[0])
        self.start_long_running()
        with Readers(self.host.prefix) as readers:
            readers.wait_for(2)
            for number in range(1, FLIPS + 1):
                self.activate(releases[number % 2])
                if number in (3, FLIPS // 2):
                    self.start_long_running()
                time.sleep(self.random.random() * 0.08)
            readers.wait_for(2)
            self.activate(releases[1])
            readers.wait_for(4)
        self.assert_whole(readers, ("1.0", "2.0"))
        self.assertEqual(self.end_long_running()[:2], ["1.0", "2.0"])


class TakeOver(ReaderCase):
    """pip installed the package before."""

    def setUp(self):
        super().setUp()
        subprocess.run([sys.executable, "-m", "venv", str(self.host.prefix)], check=True,
                       env=clean_environment())
        subprocess.run([str(self.python), "-m", "pip", "install", "-q", "--no-index",
                        "--disable-pip-version-check", str(demo_wheel(self.folder, "0.9"))],
                       check=True, env=clean_environment(), stderr=subprocess.DEVNULL)
        self.site = next(self.host.prefix.rglob("site-packages"))

    def of_pip(self):
        return {path: found for path, found in DeployCase.tree(self.host.prefix).items()
                if os.path.isfile(path) and "ds_deploy" not in path.replace("-", "_")}

    def remove_hook(self):
        for pattern in ("ds_deploy.*", "_ds_deploy.py", "__pycache__/_ds_deploy.*"):
            for path in self.site.glob(pattern):
                path.unlink()

    def test_readers_see_the_old_one_or_the_release(self):
        before = self.of_pip()
        release = self.host.stage(demo_wheel(self.folder, "1.0"))
        self.open_session()
        for at in range(max(2, FLIPS // 10)):
            self.start_long_running()
            with Readers(self.host.prefix) as readers:
                readers.wait_for(2 + at % 2)
                self.activate(release)
                readers.wait_for(4)
                if at == 0:
                    self.start_long_running()
                self.activate()
                readers.wait_for(4)
            self.assert_whole(readers, ("0.9", "1.0"))
            self.assertEqual(self.of_pip(), before)
            self.remove_hook()  # so that the next is a first one too
        self.assertEqual(self.end_long_running()[:2], ["0.9", "1.0"])


if __name__ == "__main__":
    unittest.main()
