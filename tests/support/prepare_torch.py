# SPDX-License-Identifier: Apache-2.0
"""A real torch and real DeepSpeed trees for the tests: made once, kept outside of the tree.

In $XDG_CACHE_HOME/ds-deploy-tests, or ~/.cache/ds-deploy-tests: for each minor version of Python an
environment with torch (5 GB) and a folder with the modules that DeepSpeed requires; and the sdists.
Remove the folder to have them made anew. The modules lie apart, since the setup.py of an old tree
imports the whole of it where they are there, and cannot, as they are too new.
"""
import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TORCH = "2.11"
TOOLS = ("setuptools", "wheel", "ninja", "numpy")
MODULES = ("einops", "hjson", "msgpack", "numpy", "packaging", "psutil", "py-cpuinfo", "pydantic",
           "tqdm")
# Of DeepSpeed: one of the first with such builders, one between; the newest comes to them.
OLDER = ("0.8.3", "0.14.5")
# The environment, and what pip keeps of it.
DISK = 10 << 30
LIMIT = 600


class Unprepared(Exception):
    """Why there is no torch, or no tree; the tests that need it are skipped with these words."""


class Workshop:
    """The folder; one process works in it at a time. Nothing half made has a name that counts."""

    def __init__(self, seconds=LIMIT, root=None):
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.root = pathlib.Path(root or cache + "/ds-deploy-tests")
        self.ends = time.monotonic() + seconds
        self.seconds = seconds
        self.reached = False

    def torch(self, version=TORCH):
        """An interpreter with it."""
        home = self.root / ("torch-%s-cp%d%d" % (version, *sys.version_info[:2]))
        python = home / "bin" / "python"
        if self.works(python):
            return python
        self.may_download("torch %s for Python %d.%d" % (version, *sys.version_info[:2]))
        with self.alone():
            if self.works(python):
                return python
            self.has_room()
            with self.temporary() as folder:
                self.run("environment", [sys.executable, "-m", "venv", folder / "env"])
                pip = [folder / "env" / "bin" / "python", "-m", "pip"]
                self.reach_index(pip, folder)
                self.pip("torch " + version, pip, "install", "torch==%s.*" % version, *TOOLS)
                # Scripts name the folder where they were installed: only `python -m` is used.
                for script in (folder / "env" / "bin").glob("pip*"):
                    script.unlink()
                shutil.rmtree(home, ignore_errors=True)
                (folder / "env").rename(home)
        return python

    def modules(self, python):
        """A folder for sys.path with what DeepSpeed requires, for the Python of `python`."""
        minor = subprocess.check_output(
            [str(python), "-c", "import sys; print('%d%d' % sys.version_info[:2])"], text=True)
        home = self.root / ("modules-cp" + minor.strip())
        if home.is_dir():
            return home
        self.may_download("what DeepSpeed requires")
        with self.alone():
            if not home.is_dir():
                with self.temporary() as folder:
                    pip = [python, "-m", "pip"]
                    self.reach_index(pip, folder)
                    self.pip("what DeepSpeed requires", pip, "install", "--target",
                             folder / "modules", *MODULES)
                    (folder / "modules").rename(home)
        return home

    def sources(self, python):
        """The folder with the sdists; `python` has torch and pip: their setup.py asks for it."""
        home = self.root / "sources"
        if not self.wanted(home):
            return home
        self.may_download("sdists of DeepSpeed")
        with self.alone():
            home.mkdir(exist_ok=True)
            pip = [python, "-m", "pip"]
            for version in self.wanted(home):
                with self.temporary() as folder:
                    self.reach_index(pip, folder)
                    self.pip("deepspeed " + (version or "(the newest)"), pip, "download",
                             "--no-deps", "--no-binary", ":all:", "--no-build-isolation",
                             "-d", folder, "deepspeed" + ("==" + version if version else ""))
                    for path in folder.glob("deepspeed-*.tar.gz"):
                        path.rename(home / path.name)
        return home

    @staticmethod
    def wanted(home):
        """Versions that are not there; "" for the newest, of any name but the older ones'."""
        there = {path.name[len("deepspeed-"):-len(".tar.gz")]
                 for path in home.glob("deepspeed-*.tar.gz")}
        missing = [version for version in OLDER if version not in there]
        return missing + ([] if there - set(OLDER) else [""])

    @staticmethod
    def works(python):
        """Of an environment whose Python was updated or removed nothing is used."""
        try:
            subprocess.run([str(python), "-c",
                            "import importlib.metadata as m; m.version('torch')"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def may_download(self, what):
        if os.environ.get("DS_DEPLOY_TEST_NO_DOWNLOAD", "0") not in ("", "0"):
            raise Unprepared("%s: not in %s, and DS_DEPLOY_TEST_NO_DOWNLOAD is set" % (
                what, self.root))
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unprepared("%s cannot be made: %s" % (self.root, error.strerror)) from error

    def has_room(self):
        free = shutil.disk_usage(self.root).free
        if free < DISK:
            raise Unprepared("torch needs %d GB of disk, and %s has %.1f GB" % (
                DISK >> 30, self.root, free / (1 << 30)))

    def reach_index(self, pip, folder):
        """By something small: pip's own patience would cost minutes where there is no network."""
        if not self.reached:
            self.run("package index", [*pip, "--timeout", "10", "--retries", "0", "download", "-q",
                                       "--no-deps", "-d", folder / "reached", "wheel"], seconds=30)
        self.reached = True

    def pip(self, step, pip, *words):
        self.run(step, [*pip, "--timeout", "30", "--retries", "3", "--disable-pip-version-check",
                        *words])

    @contextlib.contextmanager
    def alone(self):
        with open(self.root / "lock", "a", encoding="ascii") as lock:
            told = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    pass
                if not told:
                    say("another run works in %s; waiting for it" % self.root)
                    told = True
                if time.monotonic() > self.ends:
                    raise Unprepared("another run worked in %s for %d s" % (
                        self.root, self.seconds))
                time.sleep(1)
            yield

    @contextlib.contextmanager
    def temporary(self):
        """On the disk that was looked at; those of a run that was killed go too."""
        for left in self.root.glob("new.*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="new.", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, step, words, seconds=None):
        """Says what is done and how long it took; Unprepared where it fails or takes too long."""
        began = time.monotonic()
        ends = min(self.ends, began + (seconds or self.seconds))
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("PYTHON", "VIRTUAL_ENV", "DS_", "TORCH_"))}
        environment.update(DS_BUILD_OPS="0", DS_ACCELERATOR="cuda")
        with tempfile.TemporaryDirectory(prefix="new.", dir=self.root) as folder, \
                tempfile.TemporaryFile(dir=folder) as output:
            environment["TMPDIR"] = folder
            child = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                     stdout=output, stderr=subprocess.STDOUT, env=environment,
                                     start_new_session=True)
            try:
                while True:
                    try:
                        status = child.wait(max(0, min(30, ends - time.monotonic())))
                        break
                    except subprocess.TimeoutExpired:
                        if time.monotonic() >= ends:
                            raise Unprepared("%s: not done after %.0f s" % (
                                step, time.monotonic() - began)) from None
                        say("%s: %.0f s so far" % (step, time.monotonic() - began))
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
            output.seek(0)
            lines = [line for line in output.read().decode(errors="replace").splitlines() if line]
        if status:
            raise Unprepared("%s: status %d: %s" % (step, status, reason(lines)))
        say("%s: %.0f s" % (step, time.monotonic() - began))


def reason(lines):
    """The line of pip's that says why; what a setup.py raised stands before pip's own words."""
    for form in (r"\s*[\w.]*(Error|Exception)(: |$)", r"ERROR: ", r".*"):
        found = [line.strip() for line in lines if re.match(form, line)]
        if found:
            return found[-1]
    return "it said nothing"


def say(text):
    print("real parts: " + text, flush=True)


def prepare(download):
    """Names them in the environment, where it does not name them; otherwise why they are missing.

    Without `download` only what is there counts."""
    if not download:
        os.environ["DS_DEPLOY_TEST_NO_DOWNLOAD"] = "1"
    workshop = Workshop()
    try:
        python = named("DS_DEPLOY_TEST_TORCH_PYTHON", workshop.torch)
        named("DS_DEPLOY_TEST_SOURCES", lambda: workshop.sources(python))
        named("DS_DEPLOY_TEST_MODULES", lambda: workshop.modules(python))
    except (Unprepared, OSError, subprocess.CalledProcessError) as error:
        os.environ["DS_DEPLOY_TEST_MISSING"] = str(error)
        say("left out: %s" % error)


def named(variable, make):
    """What the variable says already wins."""
    if not os.environ.get(variable):
        os.environ[variable] = str(make())
    return os.environ[variable]
