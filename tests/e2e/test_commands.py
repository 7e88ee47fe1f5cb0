# SPDX-License-Identifier: Apache-2.0
"""The commands beside deploy: each half of a deployment, the way back, and what is left at the end."""
import grp
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

from support.deploy_case import PROGRAM, DeployCase, clean_environment
from support.host_side import HostSide


class Commands(DeployCase):
    def setUp(self):
        super().setUp()
        self.hosts = {}
        for name in ("n1", "n2"):
            self.hosts[name] = self.make_environment(name + "/env")
        self.hostfile = self.write("cluster", "".join(
            "%s slots=1 transport=local python=%s\n" % pair for pair in self.hosts.items()))
        self.state = self.folder / "state"
        self.wheels = {version: self.pure_wheel(version=version)
                       for version in ("1.0", "2.0", "3.0")}

    def run_it(self, command, *words, exit_status=0, hosts=True):
        hosts = ("--hostfile", self.hostfile) if hosts else ()
        done = self.run_program(command, *hosts, "--state-dir", self.state, *words, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        self.stderr = done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def take(self, version, *words, **how):
        return self.states(self.run_it("deploy", "--wheel", self.wheels[version], *words, **how))

    def active(self):
        return (self.folder / "n1/.ds-deploy/env/active").read_text().strip()

    def assert_at(self, version):
        for python in self.hosts.values():
            said = self.python(python, "-c", "import foreign; print(foreign.VERSION)", check=False)
            self.assertEqual(said.splitlines()[-1], version or
                             "ModuleNotFoundError: No module named 'foreign'")

    def all_hosts(self, state):
        return dict.fromkeys(self.hosts, state)

    def test_stage_then_activate(self):
        self.take("1.0")
        report = self.run_it("stage", "--wheel", self.wheels["2.0"])
        self.assertEqual(self.states(report), self.all_hosts("staged"))
        self.assert_at("1.0")
        again = self.run_it("stage", "--wheel", self.wheels["2.0"])
        self.assertEqual([host["sent_bytes"] for host in again["hosts"]], [0, 0])
        self.wheels["2.0"].unlink()  # hosts have it
        report = self.run_it("activate", hosts=False)
        self.assertEqual(self.states(report), self.all_hosts("confirmed"))
        self.assert_at("2.0")

    def test_activate_of_what_is_not_there(self):
        self.run_it("activate", hosts=False, exit_status=2)
        self.assertIn("there is no journal in", self.stderr)
        self.run_it("stage", "--wheel", self.wheels["1.0"])
        releases = self.folder / "n2" / ".ds-deploy" / "env" / "releases"
        for seal in releases.glob("*.json"):
            seal.unlink()
        self.run_it("activate", hosts=False, exit_status=2)
        self.assertIn("some hosts do not hold what run", self.stderr)
        self.assert_at(None)

    def test_what_was_said_on_the_way_is_kept(self):
        """Also by the third run of a chain: that it activates, and for whom."""
        self.run_it("stage", "--wheel", self.wheels["1.0"])
        self.run_it("activate", "--owner-group", "nosuchgroup", hosts=False, exit_status=4)
        for _ in range(2):
            report = self.run_it("resume", hosts=False, exit_status=4)
            self.assertIn("this host has no group nosuchgroup", report["hosts"][0]["message"])
        self.run_it("resume", "--owner-group", grp.getgrgid(os.getegid()).gr_name, hosts=False)
        self.assert_at("1.0")
        root = self.folder / "n1/.ds-deploy/env"
        self.assertEqual(root.stat().st_mode & 0o7777, 0o2775)
        self.assertEqual(root.parent.stat().st_mode & 0o7777, 0o755)

    def test_a_group_is_given_where_nothing_else_is_to_be_done(self):
        self.take("1.0")
        group = grp.getgrgid(os.getegid()).gr_name
        self.assertEqual(self.take("1.0", "--owner-group", group), self.all_hosts("unchanged"))
        for name in self.hosts:
            root = self.folder / name / ".ds-deploy/env"
            self.assertEqual(root.stat().st_mode & 0o7777, 0o2775)
        before = {name: self.tree(self.folder / name) for name in self.hosts}
        self.assertEqual(self.take("1.0", "--owner-group", group), self.all_hosts("unchanged"))
        for name in self.hosts:
            self.assertEqual(self.tree(self.folder / name), before[name])

    def test_resume_without_a_journal(self):
        self.run_it("resume", exit_status=2)
        self.assertIn("no run has changed these hosts", self.stderr)
        self.take("1.0")
        self.run_it("deploy", "--wheel", self.wheels["2.0"], "--limit", "n1")
        self.state = self.folder / "elsewhere"
        self.run_it("resume", hosts=False, exit_status=2)
        self.assertIn("there is no journal in", self.stderr)
        self.run_it("resume", exit_status=2)
        self.assertIn("name it with --wheel", self.stderr)
        report = self.run_it("resume", "--wheel", self.wheels["2.0"])
        self.assertEqual(self.states(report), {"n1": "unchanged", "n2": "confirmed"})
        self.assert_at("2.0")

    def test_resume_of_another_coordinators_rollback(self):
        for version in ("1.0", "2.0"):
            self.take(version)
        run = self.run_it("rollback", "--limit", "n1")["run"]
        self.state = self.folder / "elsewhere"
        self.run_it("stage", "--wheel", self.wheels["3.0"])
        self.run_it("resume", "x", exit_status=2)
        self.assertIn("neither a journal nor a host knows a run x", self.stderr)
        report = self.run_it("resume", run)
        self.assertEqual(self.states(report), {"n1": "unchanged", "n2": "rolled-back"})
        self.assert_at("1.0")
        self.run_it("rollback")  # further back, on both
        self.assert_at(None)

    def test_rollback_goes_back_never_forward(self):
        for version in ("1.0", "2.0", "3.0"):
            self.take(version)
        for wheel in self.wheels.values():
            wheel.unlink()
        for version in ("2.0", "1.0", None):
            report = self.run_it("rollback")
            self.assertEqual(self.states(report), self.all_hosts("rolled-back"))
            self.assert_at(version)
        self.run_it("rollback", exit_status=2)
        self.assertIn("n[1-2]: nothing was confirmed there before what is active", self.stderr)

    def test_rollback_to_a_release_and_to_pip(self):
        self.take("1.0")
        first = self.active()
        self.take("2.0")
        dry = self.run_it("rollback", "--to", first[:12], "--dry-run")
        self.assertIn("-> " + first[:12], dry["notes"][0])
        self.assert_at("2.0")
        self.run_it("rollback", "--to", first[:12])
        self.assert_at("1.0")
        self.run_it("rollback", "--to", "abc", exit_status=2)
        self.assertIn("release abc is not there", self.stderr)
        self.run_it("rollback", "--to", "pip")
        self.assert_at(None)

    def test_rollback_to_different_releases_is_refused(self):
        self.take("1.0")
        self.take("2.0", "--limit", "n1")
        self.take("3.0")
        self.run_it("rollback", exit_status=2)
        self.assertIn("hosts would go to different releases", self.stderr)
        self.assert_at("3.0")
        self.run_it("rollback", "--mixed")
        self.assertEqual(
            [self.python(python, "-c", "import foreign; print(foreign.VERSION)")
             for python in self.hosts.values()], ["2.0\n", "1.0\n"])

    def test_a_release_that_is_damaged_is_not_gone_back_to(self):
        self.take("1.0")
        self.take("2.0")
        for file in self.folder.glob("n2/.ds-deploy/env/releases/*/foreign/__init__.py"):
            if "1.0" in file.read_text():
                file.parent.chmod(0o755)
                file.chmod(0o644)
                file.write_text("VERSION = 'x'\n")
        report = self.run_it("rollback", exit_status=8)
        self.assertEqual(self.states(report)["n2"], "failed")
        self.assertIn("foreign/__init__.py has other content", report["hosts"][1]["message"])
        self.assert_at("2.0")

    def test_verify_names_damage_and_drift(self):
        self.take("1.0")
        first = self.active()
        self.take("2.0")
        self.assertEqual(self.states(self.run_it("verify")), self.all_hosts("whole"))
        (self.folder / "n1/.ds-deploy/env/active").write_text(first + "\n")
        self.assertEqual(self.states(self.run_it("verify", exit_status=5)),
                         {"n1": "drifted", "n2": "whole"})
        file = next(file for file in
                    self.folder.glob("n2/.ds-deploy/env/releases/*/foreign/__init__.py")
                    if "2.0" in file.read_text())
        file.chmod(0o644)
        self.assertEqual(self.states(self.run_it("verify", exit_status=8)),
                         {"n1": "drifted", "n2": "damaged"})

    def test_remove(self):
        self.take("1.0")
        first = self.active()
        self.take("2.0")
        self.run_it("remove", exit_status=2)
        self.run_it("remove", self.active(), exit_status=4)
        dry = self.run_it("remove", first[:10], "--dry-run")
        self.assertEqual(self.states(dry), self.all_hosts("ready"))
        self.assertEqual(dry["hosts"][0]["message"],
                         "would be removed: 1 release (%s)" % first[:12])
        report = self.run_it("remove", first[:10])
        self.assertEqual(self.states(report), self.all_hosts("removed"))
        self.run_it("remove", first[:10], exit_status=2)
        self.assert_at("2.0")
        report = self.run_it("remove", "--all")
        self.assertEqual(self.states(report), self.all_hosts("removed"))
        for name in self.hosts:
            left = [path.name for path in (self.folder / name).rglob("*ds_deploy*")]
            self.assertEqual((left, (self.folder / name / ".ds-deploy").exists()), ([], False))
        self.assertEqual(self.states(self.run_it("remove", "--all")), self.all_hosts("unchanged"))
        self.assertEqual(self.take("1.0"), self.all_hosts("confirmed"))

    def test_resume_goes_on_with_a_run_that_died(self):
        self.take("1.0")
        self.killed_while("deploy", "--hostfile", self.hostfile, "--wheel", self.wheels["2.0"])
        report = self.run_it("resume", hosts=False)
        self.assertLessEqual(set(self.states(report).values()), {"confirmed", "unchanged"})
        self.assert_at("2.0")
        runs = self.run_it("history", hosts=False)["runs"]
        self.assertEqual([run["state"] for run in runs], ["exit 0", "died", "exit 0"])
        receipt = self.run_it("show", runs[0]["run"], "--receipt", hosts=False)
        self.assertEqual(receipt["hosts"], report["hosts"])

    def test_a_host_that_does_not_tell_stays_where_it_is(self):
        """Its interpreter answers once: facts are well, and what it noted is not told."""
        self.take("1.0")
        self.take("2.0")
        calls = self.write("calls", "0\n")
        python = self.write("python", "#!/bin/sh\nread n < %s\necho $((n + 1)) > %s\n"
                            "[ $n -eq 1 ] && exit 3\nexec %s \"$@\"\n"
                            % (calls, calls, self.hosts["n2"]))
        python.chmod(0o755)
        text = self.hostfile.read_text()
        self.hostfile.write_text(text.replace(str(self.hosts["n2"]), str(python)))
        self.run_it("rollback", exit_status=5)
        self.assertIn("n2 did not tell what was noted of its releases", self.stderr)
        self.assert_at("2.0")

    def killed_while(self, command, *words):
        """Once n1 is on trial."""
        note = self.folder / "n1/.ds-deploy/env/unconfirmed.json"
        child = subprocess.Popen([PROGRAM, command, "--state-dir", self.state, *words],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 env=clean_environment())
        end = time.monotonic() + 60
        while not note.exists():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
        for name in self.hosts:
            lock = json.loads((self.folder / name / ".ds-deploy/env/lock.json").read_text())
            while pathlib.Path("/proc/%d" % lock["pid"]).exists():
                self.assertLess(time.monotonic(), end)
                time.sleep(0.01)

    def test_resume_of_an_activation_activates(self):
        self.take("1.0")
        self.run_it("stage", "--wheel", self.wheels["2.0"])
        self.killed_while("activate")
        report = self.run_it("resume", "--exclude", "n2", hosts=False)
        self.assertEqual(self.states(report), {"n1": "confirmed"})
        self.run_it("resume", hosts=False, exit_status=2)  # the last of that chain ended well

    def test_resume_of_a_rollback_and_what_verify_says_then(self):
        self.take("1.0")
        self.take("2.0")
        self.killed_while("rollback", "--hostfile", self.hostfile)
        report = self.run_it("resume", hosts=False)
        self.assertEqual(self.states(report), self.all_hosts("rolled-back"))
        self.assert_at("1.0")
        self.assertEqual(self.states(self.run_it("verify")), self.all_hosts("whole"))

    def test_a_removal_is_not_resumed(self):
        self.take("1.0")
        first = self.active()
        self.take("2.0")
        self.run_it("remove", first)
        run = self.run_it("history", hosts=False)["runs"][0]["run"]
        self.run_it("resume", run, hosts=False, exit_status=2)
        self.assertIn("removed releases, which has no rest", self.stderr)
        self.assert_at("2.0")

    def test_releases_of_which_nothing_was_noted(self):
        self.take("1.0")
        self.take("2.0")
        for seal in self.folder.glob("*/.ds-deploy/env/releases/*.json"):
            seal.chmod(0o644)
            seal.write_text(json.dumps(dict(json.loads(seal.read_text()), record=None)))
        self.run_it("rollback", exit_status=2)
        self.assertIn("was not noted on n[1-2] when it was staged", self.stderr)
        self.run_it("rollback", "--no-audit")
        self.assert_at("1.0")

    def test_an_active_release_without_its_seal_is_not_replaced(self):
        self.take("1.0")
        release = self.folder / "n2/.ds-deploy/env/releases" / self.active()
        before = release.stat().st_ino
        release.with_name(release.name + ".json").unlink()
        report = self.run_it("deploy", "--wheel", self.wheels["1.0"], exit_status=4)
        self.assertIn("is active, so it is not staged again", report["hosts"][1]["message"])
        self.assertEqual(release.stat().st_ino, before)
        self.assert_at("1.0")

    def test_old_releases_go(self):
        for version in ("1.0", "2.0", "3.0"):
            self.take(version)
        releases = self.folder / "n1/.ds-deploy/env/releases"
        for seal in releases.glob("*.json"):  # long ago
            subprocess.run(["touch", "-d", "3 days ago", str(seal)], check=True)
        notes = releases.parent / "confirmed.json"
        notes.write_text(json.dumps(dict(json.loads(notes.read_text()), at=0)))
        self.wheels["4.0"] = self.pure_wheel(version="4.0")
        self.take("4.0", "--keep", "1")
        self.assertEqual(len(list(releases.glob("*.json"))), 2)
        self.assert_at("4.0")

    def locks(self):
        report = json.loads(self.run_program("audit", self.wheels["2.0"], "--hostfile", self.hostfile,
                                             "--json").stdout)
        return [(one["severity"], one["because"]) for host in report["hosts"]
                for one in host["findings"] if one["rule"] == "lock"]

    def test_a_host_that_is_locked_stops_all(self):
        self.take("1.0")
        other = HostSide(self.folder / "n2")
        child = other.open()
        self.addCleanup(other.close, child)
        answer = other.say(child, "lock", run="run-x", who="eve", since="2026-01-01T00:00:00Z",
                           **{"from": "head"})
        self.assertTrue(answer["ok"])
        self.assertEqual(self.locks(), [
            ("ok", "no run holds the environment"),
            ("warn", "the environment is locked by run run-x of eve from head, since "
                     "2026-01-01T00:00:00Z")])
        report = self.run_it("deploy", "--wheel", self.wheels["2.0"], exit_status=7)
        self.assertEqual(self.states(report), {"n1": "ready", "n2": "refused"})
        self.assertIn("locked by run run-x of eve from head", report["hosts"][1]["message"])
        self.assertIn("n2 could not be locked", report["hosts"][0]["message"])
        self.assert_at("1.0")
        self.assertEqual(self.take("1.0"), self.all_hosts("unchanged"))  # writes nothing
        other.say(child, "unlock")
        self.assertEqual(self.locks(), [("ok", "no run holds the environment")] * 2)
        self.assertEqual(self.take("2.0"), self.all_hosts("confirmed"))

    def test_nothing_to_do_writes_nothing(self):
        self.take("1.0")
        before = {name: self.tree(self.folder / name) for name in self.hosts}
        self.assertEqual(self.take("1.0"), self.all_hosts("unchanged"))
        for name in self.hosts:
            self.assertEqual(self.tree(self.folder / name), before[name])


if __name__ == "__main__":
    unittest.main()
