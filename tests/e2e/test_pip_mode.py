# SPDX-License-Identifier: Apache-2.0
"""--mode pip: the pip of each environment installs the wheel. Real sshd, real pip."""
import hashlib
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, DeployCase, clean_environment
from support.fault_case import run_at_start, until
from support.host_side import HostSide
from support.recorded_wheel import pack

PIP_IS_MISSING = subprocess.run([sys.executable, "-c", "import ensurepip"],
                                stderr=subprocess.DEVNULL, check=False).returncode
# What a host's environment runs at its start, isolated interpreters too.
FLIP = """import sys
def hear(event, words):
    if event == "open" and str(words[0]).endswith(".whl") and words[1] == "r":
        with open(words[0], "r+b") as wheel:
            wheel.seek(100)
            wheel.write(b"#")
sys.addaudithook(hear)
"""
WAIT = """import os, time
if b"--force-reinstall" in open("/proc/self/cmdline", "rb").read().split(b"\\0"):
    open(%(began)r, "w").close()
    while not os.path.exists(%(go)r):
        time.sleep(0.01)
"""


def setUpModule():
    if PIP_IS_MISSING or sshd_hosts.missing():
        raise unittest.SkipTest(sshd_hosts.missing() or "python3 has no ensurepip")
    PipCase.shared = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
    unittest.addModuleCleanup(shutil.rmtree, PipCase.shared, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(PipCase.shared / "env")], check=True,
                   env=clean_environment())
    PipCase.fleet = sshd_hosts.SshdHosts(PipCase.shared / "fleet", 2)
    unittest.addModuleCleanup(PipCase.fleet.stop)
    PipCase.fleet.start()


class PipCase(DeployCase):
    """Two hosts, each with an environment of its own at place(name)/env."""

    def setUp(self):
        super().setUp()
        self.state = self.folder / "state"
        self.hostfile = self.folder / "cluster"
        for name in ("n1", "n2"):
            self.place(name).mkdir()
            # The files of pip are one: nobody changes them.
            subprocess.run(["cp", "-al", str(self.shared / "env"), str(self.place(name))],
                           check=True)
            (self.place(name) / "env.sh").write_text("")
        self.write_hostfile()
        self.wheels = {version: self.demo(version) for version in ("1.0", "2.0")}

    def demo(self, version, ops=None, **files):
        info = "demo-%s" % version
        folder = self.folder / ("wheel" + version)
        folder.mkdir(exist_ok=True)
        return pack(folder, {
            "demo/__init__.py": b"VERSION = '%s'\ndef main():\n    print('demo', VERSION)\n"
                                % version.encode(),
            "demo/only_%s.py" % version[0]: b"",
            info + ".dist-info/entry_points.txt": b"[console_scripts]\ndemo = demo:main\n",
            info + ".data/scripts/demo-script": b"#!python\nimport demo\ndemo.main()\n",
            info + ".data/data/share/demo/note": b"a note\n", **files}, "demo", version, ops)

    def write_hostfile(self, **pythons):
        self.hostfile.write_text("".join(
            "%s slots=1 python=%s env-script=%s/env.sh\n"
            % (name, pythons.get(name, self.python_of(name)), self.place(name))
            for name in ("n1", "n2")))

    def place(self, name):
        return self.folder / name

    def python_of(self, name):
        return self.place(name) / "env/bin/python"

    def root(self, name):
        return self.place(name) / ".ds-deploy/env"

    def site(self, name):
        (site,) = self.place(name).glob("env/lib/python*/site-packages")
        return site

    def command(self, command, *words, hosts=True):
        hosts = ("--hostfile", self.hostfile) if hosts else ()
        ssh = ("-F", self.fleet.config) if command not in ("history", "show") else ()
        state = ("--state-dir", self.state) if command != "status" else ()
        return [str(word) for word in (command, *hosts, *ssh, *state, *words, "--json")]

    def run_it(self, command, *words, exit_status=0, **how):
        done = self.run_program(*self.command(command, *words, **how))
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        self.stderr = done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def take(self, version, *words, **how):
        """The report's hosts, by name."""
        report = self.run_it("deploy", "--mode", "pip", "--wheel", self.wheels[version], *words,
                             **how)
        return {host["name"]: host for host in report["hosts"]} if report else None

    def assert_states(self, hosts, **states):
        self.assertEqual({name: host["state"] for name, host in hosts.items()}, states, hosts)

    def assert_at(self, version, *names):
        """By pip and by hash; what a job gets, too."""
        for name in names or ("n1", "n2"):
            site, env = self.site(name), self.place(name) / "env"
            infos = [path.name for path in site.glob("demo-*")]
            if version is None:
                self.assertEqual(infos, [])
                continue
            self.assertEqual(infos, ["demo-%s.dist-info" % version])
            self.assertEqual(sorted(path.name for path in (site / "demo").glob("*.py")),
                             ["__init__.py", "only_%s.py" % version[0]])
            shown = self.python(env / "bin/python", "-m", "pip", "show", "demo")
            self.assertIn("Version: " + version, shown)
            self.assertIn("Location: %s" % site, shown)
            self.assertEqual(self.python(env / "bin/demo"), "demo %s\n" % version)
            script = (env / "bin/demo-script").read_text()
            self.assertEqual(script, "#!%s/bin/python\nimport demo\ndemo.main()\n" % env)
            self.assertEqual((env / "share/demo/note").read_text(), "a note\n")

    def assert_nothing_of_ours(self, *names):
        """No release, no hook, and what was sent is gone."""
        for name in names or ("n1", "n2"):
            left = {path.name for path in self.root(name).glob("*")}
            self.assertLessEqual(left, {"lock.json", "epoch.json"})
            self.assertEqual(list(self.site(name).glob("*ds_deploy*")), [])

    def slow_pip(self, name):
        """pip of that host waits for a file; it, and one that is there once pip has begun."""
        files = {key: str(self.place(name) / key) for key in ("began", "go")}
        run_at_start(self.site(name), WAIT % files)
        return pathlib.Path(files["began"]), pathlib.Path(files["go"])


class Installs(PipCase):
    def test_installs_and_then_has_nothing_to_do(self):
        dry = self.run_it("deploy", "--mode", "pip", "--wheel", self.wheels["1.0"], "--dry-run")
        self.assertIn("the pip of each environment installs it", " ".join(dry["notes"]))
        self.assert_at(None)
        hosts = self.take("1.0")
        self.assert_states(hosts, n1="confirmed", n2="confirmed")
        size = self.wheels["1.0"].stat().st_size
        self.assertEqual([host["sent_bytes"] for host in hosts.values()], [size, size])
        self.assert_at("1.0")
        self.assert_nothing_of_ours()
        before = {name: self.tree(self.place(name)) for name in hosts}
        hosts = self.take("1.0")
        self.assert_states(hosts, n1="unchanged", n2="unchanged")
        self.assertEqual([host["sent_bytes"] for host in hosts.values()], [0, 0])
        self.assertEqual({name: self.tree(self.place(name)) for name in hosts}, before)
        self.assert_other_commands_know()

        (self.site("n2") / "demo/__init__.py").write_text("VERSION = 'x'\n")
        before = self.tree(self.place("n1"))
        self.assert_states(self.take("1.0"), n1="unchanged", n2="confirmed")
        self.assertEqual(self.tree(self.place("n1")), before)
        self.assert_at("1.0")
        self.assert_states(self.take("2.0"), n1="confirmed", n2="confirmed")
        self.assert_at("2.0")

    def assert_other_commands_know(self):
        self.assertEqual(self.states(self.run_it("status")), {"n1": "none", "n2": "none"})
        self.assertEqual(self.states(self.run_it("verify")), {"n1": "none", "n2": "none"})
        runs = self.run_it("history", hosts=False)["runs"]
        self.assertEqual([run["state"] for run in runs], ["exit 0", "exit 0"])
        shown = self.run_it("show", runs[1]["run"], hosts=False)["run"]
        self.assertEqual([host["state"] for host in shown["hosts"]], ["confirmed"] * 2)
        self.run_it("activate", runs[1]["run"], hosts=False, exit_status=2)
        self.assertIn("installs by pip, which leaves nothing to activate", self.stderr)

    def test_what_the_login_says_changes_nothing(self):
        evil = self.folder / "evil"
        (evil / "path/pip").mkdir(parents=True)
        (evil / "path/pip/__init__.py").write_text("")
        (evil / "path/pip/__main__.py").write_text("open(%r, 'w')\n" % str(evil / "ran"))
        config = "[global]\ntarget = %s/target\nno-compile = true\n" % evil
        (evil / "pip.conf").write_text(config)
        home = self.fleet.hosts["n1"]["folder"] / "home"
        (home / ".config/pip").mkdir(parents=True)
        self.addCleanup(shutil.rmtree, home / ".config")
        (home / ".config/pip/pip.conf").write_text(config)
        (self.place("n1") / "env.sh").write_text(
            "umask 077\nexport PIP_CONFIG_FILE=%(evil)s/pip.conf PIP_TARGET=%(evil)s/target "
            "PIP_INDEX_URL=http://127.0.0.1:1/simple PIP_PREFIX=%(evil)s/prefix PIP_USER=1 "
            "PIP_ROOT=%(evil)s/root PIP_NO_COMPILE=1 PIP_DRY_RUN=1 PYTHONPATH=%(evil)s/path "
            "PYTHONUSERBASE=%(evil)s/base SOURCE_DATE_EPOCH=315532800\n" % {"evil": evil})
        before, at_home = self.tree(evil), self.tree(home)
        self.assert_states(self.take("1.0"), n1="confirmed", n2="confirmed")
        self.assertEqual((self.tree(evil), self.tree(home)), (before, at_home))
        self.assert_at("1.0")
        written = [self.written(name) for name in ("n1", "n2")]
        self.assertEqual(*written)
        self.assertIn("demo/__init__.py", written[0])

    def written(self, name):
        """Path -> content, mode; without what has a time or a path in it. Of .pyc files how they
        are held against their source."""
        found = {}
        for path in [*self.site(name).glob("demo*/**/*"), *self.site(name).glob("demo*")]:
            if path.is_file() and path.name not in ("RECORD", "direct_url.json"):
                content = path.read_bytes()
                found[str(path.relative_to(self.site(name)))] = (
                    content[4:8] if path.suffix == ".pyc" else content, path.stat().st_mode)
        return found

    def test_the_operating_system_s_environment_is_left_alone(self):
        """PEP 668: an interpreter outside of any virtual environment, and its marker."""
        python = self.plain_python("n2")
        self.write_hostfile(n2=python)
        hosts = self.take("1.0", exit_status=3)
        self.assert_states(hosts, n1="ready", n2="refused")
        hosts = self.take("1.0", "--ignore", "externally-managed", exit_status=4)
        self.assert_states(hosts, n1="confirmed", n2="failed")
        self.assertIn("externally-managed-environment", hosts["n2"]["message"])
        self.assertIn("of demo there is now nothing", hosts["n2"]["message"])
        self.assertEqual(list((self.place("n2") / "py").rglob("demo*")), [])

    def plain_python(self, name):
        """A copy of this interpreter whose library is this one's, with a marker and pip."""
        base = pathlib.Path(sysconfig.get_path("stdlib"))
        prefix = self.place(name) / "py"
        lib = prefix / "lib" / base.name
        lib.mkdir(parents=True)
        (prefix / "bin").mkdir()
        python = prefix / "bin" / base.name
        shutil.copy(pathlib.Path(sys.executable).resolve(), python)
        for path in base.iterdir():
            if path.name not in ("site-packages", "dist-packages", "EXTERNALLY-MANAGED"):
                (lib / path.name).symlink_to(path)
        (lib / "EXTERNALLY-MANAGED").write_text("[externally-managed]\nError=Ask the system.\n")
        site = pathlib.Path(self.python(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        self.assertIn(prefix, site.parents)
        site.mkdir(parents=True)
        for path in self.site(name).glob("pip*"):
            shutil.copytree(path, site / path.name)
        return python


class Fails(PipCase):
    def test_a_damaged_copy_is_refused_before_anything_is_installed(self):
        run_at_start(self.site("n2"), FLIP)
        hosts = self.take("1.0", exit_status=8)
        self.assert_states(hosts, n1="ready", n2="failed")
        self.assertEqual(hosts["n2"]["step"], "send")
        self.assertIn("damaged on this host's disk", hosts["n2"]["message"])
        self.assertIn("the wheel was not installed, because n2 could not take it",
                      hosts["n1"]["message"])
        self.assert_at(None)
        run_at_start(self.site("n2"), "")
        self.assert_nothing_of_ours()

        # The bytes themselves, from the moment on that the wheel was found sound.
        (self.place("n1") / "env.sh").write_text(
            '[ -n "${nonce-}" ] || printf "#" | dd of=%s bs=1 seek=100 conv=notrunc 2>/dev/null\n'
            % self.wheels["1.0"])
        hosts = self.take("1.0", "--limit", "n1", exit_status=8)
        self.assertIn("the wheel was damaged on its way", hosts["n1"]["message"])
        self.assert_at(None)
        self.assert_nothing_of_ours()

    def test_pip_fails_on_one_of_two(self):
        self.assert_states(self.take("1.0"), n1="confirmed", n2="confirmed")
        self.wheels["2.0"] = self.demo("2.0", **{"zz_clash/__init__.py": b""})
        (self.site("n2") / "zz_clash").write_text("in the way\n")
        hosts = self.take("2.0", exit_status=4)
        self.assert_states(hosts, n1="confirmed", n2="failed")
        self.assertEqual(hosts["n2"]["step"], "install")
        self.assertRegex(hosts["n2"]["message"],
                         r"pip could not install it: ERROR: .*zz_clash.*; of demo there is now 1.0 "
                         r"with all of its \d+ files, and a part of 2.0")
        shutil.rmtree(self.site("n2") / "demo-2.0.dist-info")
        self.assert_at("1.0", "n2")
        self.assert_nothing_of_ours()
        (self.site("n2") / "zz_clash").unlink()
        hosts = self.run_it("resume", hosts=False)["hosts"]
        self.assertEqual([host["state"] for host in hosts], ["unchanged", "confirmed"])
        self.assert_at("2.0", "n2")

    def test_what_is_installed_does_not_confirm(self):
        self.wheels["1.0"] = self.demo(
            "1.0", [{"name": "op", "self_test": "demo.op:self_test"}],
            **{"demo/op.py": b"def self_test():\n    raise RuntimeError('not here')\n"})
        hosts = self.take("1.0", "--limit", "n1", exit_status=4)
        self.assert_states(hosts, n1="failed")
        self.assertEqual(hosts["n1"]["step"], "confirm")
        self.assertEqual(hosts["n1"]["message"],
                         "self-test of op failed: RuntimeError: not here; what pip installed "
                         "stays: ds-deploy has nothing to go back to")

    def test_beside_a_release_that_is_active(self):
        self.run_it("deploy", "--wheel", self.wheels["1.0"], "--limit", "n1")
        before = self.tree(self.folder)
        for more in ((), ("--dry-run",)):
            self.take("2.0", *more, exit_status=2)
            self.assertRegex(self.stderr, r"release [0-9a-f]{12} is active on n1, and would hide")
            self.assertIn("ds-deploy rollback --to pip", self.stderr)
        for path in self.state.glob("*"):
            before.pop(str(path))
        after = self.tree(self.folder)
        self.assertEqual({path: after.get(path) for path in before}, before)
        self.run_it("rollback", "--to", "pip", "--limit", "n1")
        self.assert_states(self.take("2.0"), n1="confirmed", n2="confirmed")
        self.assert_at("2.0")

    def test_what_has_no_meaning(self):
        for text, why in (("strategy: rolling\n", "cannot honour strategy: rolling"),
                          ("retries: 2\n", "cannot honour on_failure: roll-back-all")):
            self.take("1.0", "--policy", self.write("policy.yaml", text), exit_status=2)
            self.assertIn(why, self.stderr)
        self.take("1.0", "--keep", "1", exit_status=2)
        self.assertIn("pip keeps no releases", self.stderr)
        self.run_it("stage", "--mode", "pip", "--wheel", self.wheels["1.0"], exit_status=2)
        self.assertIn("nothing can be staged", self.stderr)
        policy = self.write("policy.yaml", "on_failure: stop\nhealth:\n  command: "
                            "test $DS_DEPLOY_HOST = n1 || { echo no fan >&2; exit 3; }\n")
        hosts = self.take("1.0", "--policy", policy, exit_status=4)
        self.assert_states(hosts, n1="confirmed", n2="failed")
        self.assertIn("status 3: no fan; what pip installed stays", hosts["n2"]["message"])


class Cut(PipCase):
    """What ends in the middle."""

    def test_an_interrupt_lets_pip_finish(self):
        began, go = self.slow_pip("n1")
        child = subprocess.Popen(
            [PROGRAM, *self.command("deploy", "--mode", "pip", "--wheel", self.wheels["1.0"],
                                    "--limit", "n1")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
        until(began.exists, 60)
        child.send_signal(signal.SIGINT)
        while "pip is let finish" not in child.stderr.readline():
            self.assertIsNone(child.poll())
        go.write_text("")
        out, said = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 130, said)
        (host,) = json.loads(out)["hosts"]
        self.assertEqual((host["state"], host["step"]), ("active", "install"))
        self.assertIn("it is not confirmed, because the run was interrupted", host["message"])
        self.assert_at("1.0", "n1")
        (host,) = self.run_it("resume", hosts=False)["hosts"]
        self.assertEqual(host["state"], "unchanged")

    def test_a_process_that_is_killed(self):
        """pip goes on without it and holds the lock; what was sent goes with the next run."""
        host = HostSide(self.place("n1"))
        began, go = self.slow_pip("n1")
        content = self.wheels["1.0"].read_bytes()
        child = host.open()
        self.addCleanup(host.close, child)
        by = {"who": "ada", "from": "head", "since": "2026-11-26T03:00:00Z"}
        self.assertTrue(host.say(child, "lock", run="run-1", **by)["ok"])
        self.assertTrue(host.say(
            child, "pip-send", content, file=self.wheels["1.0"].name,
            stream={"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})["ok"])
        child.stdin.write(json.dumps({
            "phase": "pip-install", "nonce": "NONCE",
            "wheels": [{"name": "demo", "file": self.wheels["1.0"].name}]}).encode() + b"\n")
        child.stdin.flush()
        until(began.exists, 60)
        child.kill()
        child.wait()
        refused = host.ask("lock", run="run-2", **by)
        self.assertTrue(refused["locked"])
        self.assertIn("locked by run run-1 of ada", refused["problem"])
        go.write_text("")
        until(lambda: host.ask("lock", run="run-2", **by)["ok"], 60)
        self.assert_at("1.0", "n1")
        self.assertEqual(len(list(host.root.glob("wheels.*.new"))), 1)
        run_at_start(self.site("n1"), "")
        self.assert_states(self.take("2.0", "--limit", "n1"), n1="confirmed")
        self.assert_nothing_of_ours("n1")
        (host.root / "wheels.1.new").mkdir()
        (host.root / "wheels.1.new/demo.whl").write_text("of a run that was killed\n")
        self.assertTrue(host.ask("remove", releases=None, all_asked=False)["ok"])
        self.assertFalse(host.root.parent.exists())
        self.assert_at("2.0", "n1")


if __name__ == "__main__":
    unittest.main()
