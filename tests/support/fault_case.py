# SPDX-License-Identifier: Apache-2.0
"""What the tests of the fault table share: hosts at an old release, made once and put back before
each test; deployments of a new one with a fault; a reader that takes no word of ds-deploy for
it."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

from support import sshd_hosts
from support.deploy_case import PROGRAM, clean_environment
from support.recorded_wheel import pack

# What is left in ROOT where nothing is undecided.
AT_REST = {"releases", "active", "back", "armed.json", "confirmed.json", "rolled-back.json",
           "decide.lock", "history.jsonl", "lock.json", "epoch.json", "called-off"}
# Sourced by every command of a host; the probe alone has a nonce in its shell.
ENV_SCRIPT = """if [ -z "${nonce-}" ]; then
%s
fi
"""
# Run by a host's environment at its start: hears of each file that Python is about to touch.
AT = """import fnmatch, os, subprocess, sys

def hear(event, words):
    if (event in ("open", "os.rename", "os.mkdir", "os.link") and isinstance(words[0], str)
            and fnmatch.fnmatch(words[0], %(pattern)r) and not os.path.exists(%(mark)r)):
        open(%(mark)r, "w").close()
        subprocess.run(["/bin/sh", "-c", %(then)r], env=dict(os.environ, PID=str(os.getpid())),
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

sys.addaudithook(hear)
"""
RELEASE = re.compile(r"^[0-9a-f]{64}$")
LONG = bool(os.environ.get("DS_DEPLOY_LONG"))


def cannot_mount():
    """Why no file system can be made here, or None."""
    if os.geteuid() != 0:
        return "a file system of its own needs root"
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
                          stderr=subprocess.PIPE, text=True, check=False)
    return "no tmpfs can be mounted: %s" % done.stderr.strip() if done.returncode else None


def mount(case, where, options="size=64m,nr_inodes=10000"):
    """A tmpfs at `where` that holds what was there, until the test ends."""
    with tempfile.TemporaryDirectory(prefix="ds-deploy-test.") as aside:
        copy("%s/." % where, aside)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)], check=True)
        case.addCleanup(subprocess.run, ["umount", "-l", str(where)], check=True)
        copy(aside + "/.", where)


def leave(where, pages=None, inodes=None):
    """Shell that makes the tmpfs there so small that so much room is left."""
    left = ("size=$((($1 - $2 + %d) * $3))" % pages if inodes is None
            else "nr_inodes=$(($4 - $5 + %d))" % inodes)
    return ("set -- $(stat -f -c '%%b %%f %%S %%c %%d' %s); mount -o remount,%s %s"
            % (where, left, where))


def shell(text):
    subprocess.run(["/bin/sh", "-c", text], check=True)


def remove(path):
    subprocess.run(["chmod", "-R", "u+w", str(path)], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(path, ignore_errors=True)


def copy(source, target):
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def run_at_start(site, text):
    """Every interpreter of the environment runs it; "" ends that. No sitecustomize: some systems
    have one, which comes first."""
    start = site / "at_start.pth"
    if text:
        (site / "at_start.py").write_text(text)
        start.write_text("import at_start\n")
    else:
        start.unlink()


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it takes longer than %g s" % seconds)
        time.sleep(0.01)


class FaultCase(unittest.TestCase):
    """`number` hosts n1..nN, by SSH or as names of this machine. Each has an environment at
    place(name)/env and is at the release `old`."""

    number = 2
    ssh = False
    size = 20_000  # bytes of a wheel that no packing makes smaller
    policy = "retries: 0\n"
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if cls.ssh and sshd_hosts.missing():
            raise unittest.SkipTest(sshd_hosts.missing())
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        cls.addClassCleanup(remove, cls.folder)
        (cls.folder / "hosts").mkdir()
        cls.names = ["n%d" % (at + 1) for at in range(cls.number)]
        cls.wheels = {}
        cls.old, cls.new = cls.pack("1.0"), cls.pack("2.0")
        cls.words = ["--state-dir", cls.folder / "state"]
        if cls.ssh:
            cls.start_hosts()
        cls.hostfile = cls.folder / "cluster"
        cls.make_first()

    @classmethod
    def start_hosts(cls):
        cls.sshd = sshd_hosts.SshdHosts(cls.folder / "fleet", cls.number)
        cls.addClassCleanup(cls.sshd.stop)
        cls.sshd.start()
        cls.words += ["-F", cls.sshd.config]

    @classmethod
    def make_first(cls):
        """An environment that has the old release, of which every test gets copies."""
        cls.write_hostfile("n1")
        first = cls.place("n1")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(first / "env")],
                       check=True, env=clean_environment())
        (first / "env.sh").write_text("")
        done, hosts = cls.run_deploy(cls.old)
        if [host["state"] for host in hosts.values()] != ["confirmed"]:
            raise RuntimeError(done.stdout + done.stderr)
        first.rename(cls.folder / "first")

    @classmethod
    def put(cls, name):
        """The host as it was; what is installed names its place."""
        copy(cls.folder / "first", cls.place(name))
        for path in cls.place(name).rglob("_ds_deploy*"):
            if path.suffix == ".py":
                path.write_text(path.read_text().replace(str(cls.place("n1")),
                                                         str(cls.place(name))))
            else:
                path.unlink()

    @classmethod
    def write_hostfile(cls, *names, more=""):
        cls.hostfile.write_text("".join(
            "%s slots=8 python=%s/env/bin/python env-script=%s/env.sh%s%s\n" % (
                name, cls.place(name), cls.place(name), more,
                "" if cls.ssh else " transport=local") for name in names))

    @classmethod
    def pack(cls, version, files=(), **how):
        """The SHA-256 of a new wheel, that has `files` (path -> text or bytes) too."""
        content = {"demo/__init__.py": "VERSION = %r\n" % version, **dict(files)}
        content = {path: one.encode() if isinstance(one, str) else one
                   for path, one in content.items()}
        content["demo/data"] = os.urandom(cls.size)
        wheel = pack(tempfile.mkdtemp(dir=cls.folder), content, name="demo", version=version, **how)
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        cls.wheels[sha256] = wheel
        return sha256

    @classmethod
    def place(cls, name):
        return cls.folder / "hosts" / name

    def root(self, name):
        return self.place(name) / ".ds-deploy" / "env"

    def setUp(self):
        for name in self.names:
            remove(self.place(name))
            self.put(name)
        self.write_hostfile(*self.names)

    def after_facts(self, name, text):
        """Lines of shell for every command of the host that follows the facts."""
        (self.place(name) / "env.sh").write_text(ENV_SCRIPT % text)

    def at(self, name, pattern, then):
        """The host does `then`, once, right before its Python opens, makes or renames such a path;
        $PID is that process."""
        (site,) = self.place(name).glob("env/lib/*/site-packages")
        run_at_start(site, AT % {"pattern": pattern, "then": then,
                                 "mark": str(self.place(name) / "done")})

    @classmethod
    def command(cls, sha256, *words, policy=None):
        path = cls.folder / "policy.yaml"
        path.write_text(cls.policy if policy is None else policy)
        return [str(word) for word in [
            PROGRAM, "--json", "--hostfile", cls.hostfile, "--wheel", cls.wheels[sha256],
            "--policy", path, *cls.words, *words]]

    @classmethod
    def run_deploy(cls, sha256, *words, **how):
        done = subprocess.run(cls.command(sha256, *words, **how), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=clean_environment(), timeout=120, check=False)
        return done, cls.hosts_of(done.stdout)

    @staticmethod
    def hosts_of(out):
        return {host["name"]: host for host in json.loads(out)["hosts"]} if out else {}

    def deploy(self, status, *words, release=None, **how):
        """The report's hosts of a deployment, of `new` unless told, that ends with `status`."""
        done, hosts = self.run_deploy(release or self.new, *words, **how)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.done = done
        return hosts

    def assert_says(self, host, state, step, *words):
        self.assertEqual((host["state"], host["step"]), (state, step), host["message"])
        for word in words:
            self.assertIn(str(word), host["message"])

    def release_of(self, name):
        """The release that a host is at, if all that it must hold is there and nothing else."""
        (sha256,) = (self.root(name) / "active").read_text().split()
        folder = self.root(name) / "releases" / sha256
        with zipfile.ZipFile(self.wheels[sha256]) as wheel:
            for path in wheel.namelist():
                self.assertEqual((folder / path).read_bytes(), wheel.read(path), name)
            strangers = [str(path) for path in folder.rglob("*") if path.is_file()
                         and str(path.relative_to(folder)) not in wheel.namelist()
                         and (path.parent.name, path.suffix) != ("__pycache__", ".pyc")]
        self.assertEqual(strangers, [])
        said = subprocess.run([str(self.place(name) / "env/bin/python"), "-B", "-c",
                               "import demo; print(demo.__file__)"], stdout=subprocess.PIPE,
                              text=True, check=True, env=clean_environment()).stdout
        self.assertEqual(pathlib.Path(said.strip()).parent.parent, folder.resolve())
        return sha256

    def assert_at(self, release, *names):
        for name in names or self.names:
            self.assertEqual(self.release_of(name), release, name)

    def assert_reports_are_true(self, hosts):
        """What the report says of each host, seen by the independent reader."""
        for name, host in hosts.items():
            self.assertEqual(host["release"], self.release_of(name), host)

    def assert_heals(self, *names, release=None):
        """A plain deployment to all, after the fault, and what it leaves."""
        release = release or self.new
        hosts = self.deploy(0, release=release)
        self.assertLessEqual({host["state"] for host in hosts.values()}, {"confirmed", "unchanged"})
        for name in names or self.names:
            self.assertEqual(self.release_of(name), release)
            self.assertEqual(self.untidy(name), set())
        return hosts

    def untidy(self, name):
        """What lies in ROOT and is neither a release with its seal nor a note of one that ended."""
        root = self.root(name)
        left = {path.name for path in root.iterdir()} - AT_REST
        names = {path.name for path in (root / "releases").iterdir()}
        whole = {name for name in names if RELEASE.match(name) and name + ".json" in names}
        return left | names - whole - {name + ".json" for name in whole}
