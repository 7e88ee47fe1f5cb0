# SPDX-License-Identifier: Apache-2.0
"""What the whole-program tests share: running ds-deploy, throw-away environments, a wheel."""
import base64
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

TESTS = pathlib.Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
PROGRAM = os.environ.get("DS_DEPLOY", str(ROOT / "build-dev" / "ds-deploy"))
BUILD_FOLDER = pathlib.Path(os.environ.get("DS_DEPLOY_TEST_BUILD", str(ROOT / "build-dev")))


# What the whole library is compiled for; in a long run for all that this nvcc knows.
LIBRARY_GPUS = {} if os.environ.get("DS_DEPLOY_LONG") else {"TORCH_CUDA_ARCH_LIST": "8.0;9.0"}

# A library of both kinds of ops that is compiled soon.
FEW_OPS = ("VERSION", "common", "cpu_adam", "fused_adam", "utils")


def clean_environment(**extra):
    """The caller's environment less what would change a test's outcome."""
    dropped = ("DS_BUILD_", "TORCH_", "MAX_JOBS", "VIRTUAL_ENV", "CONDA_PREFIX", "NO_COLOR",
               "CLICOLOR", "PYTHON", "PIP_FIND_LINKS", "SSH_AUTH_SOCK", "LIBRARY_PATH", "MAKE",
               "CPATH", "CFLAGS", "CXXFLAGS", "NVCC_", "DS_SKIP_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    # The store of results and the journal are those of the tests, not the user's.
    kept["XDG_CACHE_HOME"] = str(BUILD_FOLDER / "test-cache")
    kept["XDG_STATE_HOME"] = str(BUILD_FOLDER / "test-state")
    kept.update(extra)
    return kept


class DeployCase(unittest.TestCase):
    """Has a folder of its own, removed at the end; objects are shared by all cases of a run."""

    maxDiff = None
    build_folder = BUILD_FOLDER

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(self.remove_folder)

    def remove_folder(self):
        subprocess.run(["chmod", "-R", "u+w", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run_program(self, *words, env=None, cwd=None):
        return subprocess.run([PROGRAM, *map(str, words)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace", env=env or clean_environment(), cwd=cwd,
                              timeout=900, check=False)

    def deploy(self, *words, env=None, exit_status=0):
        """Runs a command with --json and gives its report; the exit status is checked."""
        if "--build-dir" not in words:
            words += ("--build-dir", self.build_folder / "test-ops")
        done = self.run_program(*words, "--json", env=env)
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        self.stderr = done.stderr
        return json.loads(done.stdout)

    def make_environment(self, name="env", pip=False):
        prefix = self.folder / name
        words = [sys.executable, "-m", "venv", str(prefix)]
        if not pip:
            words.insert(3, "--without-pip")
        subprocess.run(words, check=True, env=clean_environment())
        return prefix / "bin" / "python"

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def python(self, interpreter, *words, check=True):
        return subprocess.run([str(interpreter), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=clean_environment(),
                              cwd="/", check=check).stdout

    def deploy_change(self, *words, text="", version="0.1.1", **options):
        """Deploys the ops with another version and `text` added to the face of utils."""
        ops = self.copy_ops()
        (ops / "VERSION").write_text(version + "\n")
        face = ops / "utils" / "python" / "__init__.py"
        face.write_text(face.read_text() + text)
        return self.deploy(*words, "--ops", ops, **options)

    def pure_wheel(self, name="foreign", version="1.0", requires=(), text=""):
        """A pure-Python wheel that another tool could have made; `text` is run at its import."""
        info = "%s-%s.dist-info" % (name, version)
        files = {"%s/__init__.py" % name: "VERSION = %r\n%s" % (version, text),
                 info + "/METADATA": "Metadata-Version: 2.1\nName: %s\nVersion: %s\n"
                                     % (name, version)
                                     + "".join("Requires-Dist: %s\n" % one for one in requires),
                 info + "/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                                  "Tag: py3-none-any\n"}
        record = ""
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            record += "%s,sha256=%s,%d\n" % (path, digest.decode().rstrip("="), len(text))
        files[info + "/RECORD"] = record + info + "/RECORD,,\n"
        target = self.folder / ("%s-%s-py3-none-any.whl" % (name, version))
        with zipfile.ZipFile(target, "w") as wheel:
            for path, text in files.items():
                wheel.writestr(path, text)
        return target

    def copy_ops(self, names=None):
        """A copy of the op library, or of these folders of it, to change; not a git work tree of
        its own."""
        target = self.folder / "ops"
        left_out = {path.name for path in (ROOT / "ops").iterdir()} - set(names or os.listdir(
            ROOT / "ops"))
        shutil.copytree(ROOT / "ops", target, ignore=shutil.ignore_patterns(
            "__pycache__", *left_out))
        return target

    @staticmethod
    def states(report):
        return {host["name"]: host["state"] for host in report["hosts"]}

    @staticmethod
    def tree(folder):
        """Every file below with content, mode and change time: equal trees are untouched."""
        found = {}
        for path in sorted(pathlib.Path(folder).rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (content, status.st_mode, status.st_mtime_ns)
        return found
