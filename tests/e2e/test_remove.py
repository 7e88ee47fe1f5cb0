# SPDX-License-Identifier: Apache-2.0
"""Leaving: after `remove --all` an environment is what it was before the first deployment."""
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

from support import sshd_hosts
from support.deploy_case import PROGRAM, DeployCase, clean_environment
from support.host_side import HostSide
from support.keep_case import mapping, state_of
from support.package_index import PackageIndex


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class RemoveCase(DeployCase):
    """Two hosts, each with an empty environment."""

    names = ("n1", "n2")

    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", len(self.names))
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        self.pythons = {name: self.make_host(name) for name in self.names}
        self.hostfile = self.write("cluster", "".join(
            "%s slots=1 python=%s\n" % pair for pair in self.pythons.items()))
        self.words = ["--hostfile", self.hostfile, "-F", self.fleet.config,
                      "--state-dir", self.folder / "state", "--connect-timeout", "5"]
        self.wheels = {version: self.pure_wheel(version=version) for version in ("1.0", "2.0")}
        self.before = {name: state_of(self.folder / name) for name in self.names}

    def make_host(self, name):
        return self.make_environment(name + "/env")

    def run_it(self, command, *words, exit_status=0):
        done = self.run_program(command, *self.words, *words, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        self.stderr = done.stderr
        return {host["name"]: host for host in json.loads(done.stdout)["hosts"]}

    def deploy_both(self):
        """The SHA-256 of what is active then, and of what was before."""
        shas = []
        for version in ("1.0", "2.0"):
            hosts = self.run_it("deploy", "--wheel", self.wheels[version])
            self.assertEqual({host["state"] for host in hosts.values()}, {"confirmed"})
            shas.insert(0, hosts["n1"]["release"])
        return shas

    def remove(self, states, exit_status=0):
        """The messages of hosts that come to these states."""
        hosts = self.run_it("remove", "--all", exit_status=exit_status)
        self.assertEqual({name: host["state"] for name, host in hosts.items()}, states,
                         {name: host["message"] for name, host in hosts.items()})
        return {name: host["message"] for name, host in hosts.items()}

    def assert_as_before(self, *names):
        for name in names or self.names:
            now = state_of(self.folder / name)
            self.assertEqual(sorted(now), sorted(self.before[name]))
            for path, was in self.before[name].items():
                self.assertEqual((path, now[path]), (path, was))

    def root(self, name):
        return self.folder / name / ".ds-deploy" / "env"

    def version_on(self, name):
        said = self.python(self.pythons[name], "-B", "-c", "import foreign; print(foreign.VERSION)",
                           check=False)
        return said.splitlines()[-1]


class Starts(RemoveCase):
    """n1: pip installed an older version; n2: a folder as conda makes it; n3: nothing."""

    names = ("n1", "n2", "n3")

    def make_host(self, name):
        return {"n1": self.with_pip, "n2": self.like_conda,
                "n3": super().make_host}[name](name)

    def with_pip(self, name):
        python = self.make_environment(name + "/env", pip=True)
        index = PackageIndex(self.folder / "index")
        self.addCleanup(index.stop)
        index.add(self.pure_wheel(version="0.9"))
        index.add(self.pure_wheel("needy", requires=["foreign<1"]))
        self.python(python, "-m", "pip", "install", "-q", "--disable-pip-version-check",
                    "--index-url", index.url(), "needy")
        self.pip_says(python)
        return python

    def like_conda(self, name):
        """A prefix of its own, with conda-meta and without pyvenv.cfg."""
        prefix = self.folder / name / "env"
        version = "python%d.%d" % sys.version_info[:2]
        base = pathlib.Path(sys.base_prefix)
        left_out = shutil.ignore_patterns("test", "tests", "idlelib", "site-packages", "config-*",
                                          "dist-packages", "ensurepip", "tkinter", "lib2to3")
        shutil.copytree(base / "lib" / version, prefix / "lib" / version, symlinks=True,
                        ignore=left_out)
        for library in (base / "lib").glob("libpython3*.so*"):
            shutil.copy2(library, prefix / "lib", follow_symlinks=False)
        (prefix / "bin").mkdir()
        shutil.copy2(os.path.realpath(sys.executable), prefix / "bin" / version)
        (prefix / "bin" / "python").symlink_to(version)
        (prefix / "conda-meta").mkdir()
        (prefix / "conda-meta" / "history").write_text("==> 2026-11-01 03:00:00 <==\n")
        python = prefix / "bin" / "python"
        said = json.loads(self.python(python, "-B", "-c", (
            "import json, sys, sysconfig; print(json.dumps("
            "[sys.prefix, sysconfig.get_paths()['purelib']]))")))
        self.assertEqual(said[0], str(prefix))
        package = pathlib.Path(said[1]) / "foreign"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("VERSION = '0.8'\n")
        return python

    def pip_says(self, python):
        return [self.python(python, "-m", "pip", "--disable-pip-version-check", *words, check=False)
                for words in (["check"], ["list"], ["show", "-f", "foreign"])]

    def test_what_was_there_is_there_again(self):
        said = self.pip_says(self.pythons["n1"])
        self.assertEqual(said[0], "No broken requirements found.\n")
        was = [self.version_on(name) for name in self.names]
        self.assertEqual(was[:2], ["0.9", "0.8"])
        self.assert_as_before()
        active, previous = self.deploy_both()
        self.assertEqual([self.version_on(name) for name in self.names], ["2.0"] * 3)
        self.assertIn("needy 1.0 has requirement foreign<1", self.pip_says(self.pythons["n1"])[0])
        now = {name: state_of(self.folder / name) for name in self.names}
        for name, host in self.run_it("remove", "--all", "--dry-run").items():
            self.assertEqual(host["state"], "ready")
            for text in ("what is active (%s) gives way to what pip installed" % active[:12],
                         "would be removed: 2 releases", previous[:12],
                         "history, launchers and hook"):
                self.assertIn(text, host["message"])
            self.assertEqual(state_of(self.folder / name), now[name])
        messages = self.remove(dict.fromkeys(self.names, "removed"))
        for message in messages.values():
            self.assertRegex(message, "^2 releases removed, [0-9.]+ [kKMi]*B, and all else that is "
                                      "ds-deploy's$")
        self.assert_as_before()
        self.assertEqual([self.version_on(name) for name in self.names], was)
        self.assertEqual(self.pip_says(self.pythons["n1"]), said)
        self.assert_as_before()
        self.remove(dict.fromkeys(self.names, "unchanged"))
        self.assert_as_before()
        self.assertEqual(self.run_it("remove", "--all", "--dry-run")["n1"]["state"], "unchanged")
        self.deploy_both()


class Leaving(RemoveCase):
    def test_where_a_process_uses_a_release(self):
        """Also one that is not active."""
        _, previous = self.deploy_both()
        release = self.root("n2") / "releases" / previous
        child = mapping(self, release / "foreign" / "__init__.py")
        now = state_of(self.folder / "n2")
        why = "release %s stays, and so does all else: process %d uses it" % (previous[:12],
                                                                             child.pid)
        dry = self.run_it("remove", "--all", "--dry-run", exit_status=4)
        self.assertEqual([(host["state"], host["message"] == why) for host in dry.values()],
                         [("ready", False), ("failed", True)])
        messages = self.remove({"n1": "removed", "n2": "failed"}, exit_status=4)
        self.assertEqual(messages["n2"], why)
        self.assertEqual(state_of(self.folder / "n2"), now)
        self.assertEqual(self.version_on("n2"), "2.0")
        self.assert_as_before("n1")
        child.stdin.close()
        child.wait()
        self.remove({"n1": "unchanged", "n2": "removed"})
        self.assert_as_before()

    def test_where_a_job_was_promised_a_release(self):
        _, previous = self.deploy_both()
        done = self.run_program("pin", previous, *self.words[:4], "--limit", "n1", "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        pins = self.root("n1") / "pins.json"
        messages = self.remove({"n1": "failed", "n2": "removed"}, exit_status=4)
        self.assertIn("a job was promised it (ds-deploy pin) until 20", messages["n1"])
        self.assertIn("remove %s first" % pins, messages["n1"])
        self.assertEqual(self.version_on("n1"), "2.0")
        pins.unlink()
        self.remove({"n1": "removed", "n2": "unchanged"})
        self.assert_as_before()

    def test_a_host_that_is_down_stops_no_other(self):
        self.deploy_both()
        self.fleet.stop("n2")
        self.remove({"n1": "removed", "n2": "unreachable"}, exit_status=5)
        self.assert_as_before("n1")
        self.assertEqual(self.version_on("n2"), "2.0")
        self.fleet.start("n2")
        self.remove({"n1": "unchanged", "n2": "removed"})
        self.assert_as_before()

    def test_a_host_that_does_not_work_without_a_release_keeps_it(self):
        """It goes back to it, and the others leave."""
        self.deploy_both()
        site = next((self.folder / "n2").rglob("site-packages"))
        (site / "a.pth").write_text(
            "import os, sys; open(%r).read() == 'none\\n' and sys.argv[:1] == ['-c'] and "
            "not sys.flags.isolated and os._exit(7)\n" % str(self.root("n2") / "active"))
        self.remove({"n1": "removed", "n2": "failed"}, exit_status=6)
        self.assert_as_before("n1")
        self.assertEqual(self.version_on("n2"), "2.0")
        (site / "a.pth").unlink()
        self.remove({"n1": "unchanged", "n2": "removed"})
        self.assert_as_before()

    def test_a_lock_that_is_held(self):
        self.deploy_both()
        self.run_it("rollback", "--to", "pip", "--limit", "n1")
        other = HostSide(self.folder / "n2")
        child = other.open()
        self.addCleanup(other.close, child)
        self.assertTrue(other.say(child, "lock", run="run-x", who="eve", since="?",
                                  **{"from": "head"})["ok"])
        for words in ((), ("--limit", "n2")):
            hosts = self.run_it("remove", "--all", *words, exit_status=7)
            self.assertIn("locked by run run-x of eve", hosts["n2"]["message"])
            if "n1" in hosts:
                self.assertEqual(hosts["n1"]["message"],
                                 "nothing was removed, because n2 could not be locked")
        self.assertEqual(self.version_on("n2"), "2.0")
        self.assertTrue((self.root("n1") / "releases").exists())
        other.say(child, "unlock")
        self.remove({"n1": "removed", "n2": "removed"})
        self.assert_as_before()

    def ended_once(self, happened, number=signal.SIGKILL):
        """The exit status and the report of a removal that got a signal then."""
        words = [PROGRAM, "remove", "--all", *map(str, self.words), "--json"]
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, env=clean_environment())
        self.addCleanup(child.kill)
        end = time.monotonic() + 60
        while not happened():
            self.assertLess(time.monotonic(), end)
            self.assertIsNone(child.poll())
            time.sleep(0.001)
        child.send_signal(number)
        said = child.communicate(timeout=60)[0]
        return child.returncode, json.loads(said) if said else None

    def wait_for_hosts(self):
        """Until no process of a run is left there."""
        end = time.monotonic() + 60
        for name in self.names:
            try:
                pid = json.loads((self.root(name) / "lock.json").read_text())["pid"]
            except (OSError, ValueError):
                continue
            while pathlib.Path("/proc/%d" % pid).exists():
                self.assertLess(time.monotonic(), end)
                time.sleep(0.01)

    def killed_once(self, happened):
        self.assertEqual(self.ended_once(happened), (-signal.SIGKILL, None))
        self.wait_for_hosts()

    def test_killed_on_the_way_back_to_pip(self):
        self.deploy_both()
        self.killed_once((self.root("n1") / "unconfirmed.json").exists)
        self.remove(dict.fromkeys(self.names, "removed"))
        self.assert_as_before()

    def test_killed_while_it_removes(self):
        self.deploy_both()
        site = next((self.folder / "n1").rglob("site-packages"))
        self.killed_once(lambda: not (site / "ds_deploy.pth").exists())
        hosts = self.run_it("remove", "--all")
        self.assertLessEqual({host["state"] for host in hosts.values()}, {"removed", "unchanged"})
        self.assert_as_before()

    def test_interrupted_while_it_removes(self):
        self.deploy_both()
        self.run_it("rollback", "--to", "pip")
        with open(self.root("n2") / "decide.lock", "rb") as decides:
            fcntl.flock(decides, fcntl.LOCK_EX)
            status, report = self.ended_once(lambda: not self.root("n1").exists(), signal.SIGINT)
        self.assertEqual(status, 130)
        n2 = report["hosts"][1]
        self.assertEqual((n2["state"], n2["message"]),
                         ("unknown", "it is at what pip installed, and not all that is ds-deploy's "
                                     "is gone, because the run was interrupted"))
        self.assertIn("what is left goes when the command is given again", report["notes"])
        self.wait_for_hosts()
        self.run_it("remove", "--all")
        self.assert_as_before()

    def test_named_releases_take_no_policy(self):
        done = self.run_program("remove", "0123", "--busy", "leave-out", *self.words)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--busy and the like", done.stderr)


if __name__ == "__main__":
    unittest.main()
