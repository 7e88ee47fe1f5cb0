# SPDX-License-Identifier: Apache-2.0
"""Hosts with one environment on a shared file system: one writes, each confirms."""
import json
import os
import shutil
import subprocess
import threading
import time
import unittest

from support import shared_hosts
from support.deploy_case import PROGRAM, DeployCase, clean_environment


@unittest.skipIf(shared_hosts.missing(), "%s" % shared_hosts.missing())
class Shared(DeployCase):
    number = 4

    def setUp(self):
        super().setUp()
        self.fleet = shared_hosts.SharedHosts(self.folder / "fleet", self.number)
        self.addCleanup(self.fleet.stop)
        self.make_environment("fleet/export/env")
        self.root = self.fleet.export / ".ds-deploy" / "env"
        self.python = self.fleet.place / "env" / "bin" / "python"
        self.keys = {}
        self.wheel = self.pure_wheel()
        self.common = ["-F", self.fleet.config, "--state-dir", self.folder / "state"]

    def hostfile(self):
        return self.write("cluster", "".join(
            "%s slots=8 python=%s%s\n" % (name, self.python, self.keys.get(name, ""))
            for name in self.fleet.hosts))

    def take(self, *words, wheel=None, policy="", **how):
        if policy:
            words += ("--policy", self.write("policy.yaml", policy))
        report = self.deploy("deploy", "--hostfile", self.hostfile(), *self.common, "--wheel",
                             wheel or self.wheel, *words, **how)
        self.hosts = {host["name"]: host for host in report["hosts"]}
        return report

    def history(self):
        return [json.loads(line)["event"]
                for line in (self.root / "history.jsonl").read_text().splitlines()]

    def pointer(self):
        return (self.root / "active").read_text().split()


class OneCopy(Shared):
    number = 16

    def test_one_copy_for_all(self):
        self.fleet.start_sharing()
        dry = self.take("--dry-run")
        self.assertEqual(dry["rollout"]["bytes"], self.wheel.stat().st_size)
        self.assertEqual(len(dry["rollout"]["waves"][0]["hosts"]), 16)
        report = self.take()
        self.assertEqual(set(self.states(report).values()), {"confirmed"})
        self.assertEqual([name for name, host in self.hosts.items() if host["sent_bytes"]], ["n1"])
        for step in ("lock", "stage", "activate", "keep"):
            self.assertEqual([name for name, host in self.hosts.items()
                              if step in host["seconds"] and (step != "lock" or name == "n1")],
                             ["n1"], step)
        self.assertEqual([name for name, host in self.hosts.items()
                          if "confirm" not in host["seconds"]], [])
        self.assertEqual({host["writer"] for host in self.hosts.values()}, {None, "n1"})
        self.assertEqual(json.loads((self.root / "epoch.json").read_text())["epoch"], 1)
        self.assertEqual(len(list((self.root / "releases").glob("*.json"))), 1)
        self.assertEqual(self.history(), ["activated", "confirmed"])
        # One timer, which has ended.
        armed = json.loads((self.root / "armed.json").read_text().splitlines()[0])
        self.fleet.wait_for(lambda: not self.lives(armed["pid"]))
        # Again, of a wheel that is there.
        report = self.take()
        self.assertEqual(set(self.states(report).values()), {"unchanged"})

    @staticmethod
    def lives(pid):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as words:
                return b"watch" in words.read()
        except OSError:
            return False


class Few(Shared):
    def test_who_does_not_confirm(self):
        self.fleet.start_sharing()
        self.take()
        first = self.pointer()
        ill = "retries: 0\nhealth:\n  command: test ! -e %s/$DS_DEPLOY_HOST\n" % self.folder
        self.write("n3", "")
        # One of them may fail: the others keep it.
        second = self.pure_wheel(version="2.0")
        report = self.take(wheel=second, policy=ill + "shared_failures: 1\n", exit_status=4)
        self.assertEqual(self.states(report), {"n1": "confirmed", "n2": "confirmed", "n3": "failed",
                                               "n4": "confirmed"})
        self.assertEqual(self.hosts["n3"]["step"], "health")
        self.assertNotEqual(self.pointer(), first)
        kept = self.pointer()
        # Two are too many: it goes back once.
        self.write("n1", "")
        report = self.take(wheel=self.pure_wheel(version="3.0"),
                           policy=ill + "shared_failures: 1\n", exit_status=4)
        self.assertEqual(set(self.states(report).values()), {"rolled-back"})
        self.assertEqual(self.pointer(), kept)
        self.assertEqual(self.history(), ["activated", "confirmed"] * 2 +
                         ["activated", "rolled-back"])
        self.assertIn("the health command ended with status 1", self.hosts["n3"]["message"])
        self.assertIn("the environment that it has with n1: the health command ended",
                      self.hosts["n2"]["message"])
        # The writer may be the one that fails.
        (self.folder / "n3").unlink()
        report = self.take(wheel=self.pure_wheel(version="4.0"),
                           policy=ill + "shared_failures: 30%\n", exit_status=4)
        self.assertEqual(self.states(report), {"n1": "failed", "n2": "confirmed",
                                               "n3": "confirmed", "n4": "confirmed"})

    def test_an_old_view_is_waited_for(self):
        self.fleet.start_sharing()
        self.take()
        old = self.write("old", "\n".join(self.pointer()) + "\n")
        active = self.fleet.place / ".ds-deploy" / "env" / "active"

        def show_old(seconds):
            """n2 sees what was there until so long after it changed."""
            self.fleet.enter("n2", "mount", "--bind", old, active).wait()
            before = self.pointer()

            def end():
                self.fleet.wait_for(lambda: self.pointer() != before, 60)
                time.sleep(seconds)
                self.fleet.enter("n2", "umount", active).wait()
            thread = threading.Thread(target=end)
            thread.start()
            self.addCleanup(thread.join)
            return thread

        waits = show_old(3)
        report = self.take(wheel=self.pure_wheel(version="2.0"))
        waits.join()
        self.assertEqual(set(self.states(report).values()), {"confirmed"})
        self.assertGreater(self.hosts["n2"]["seconds"]["see"], 2)
        self.assertLess(self.hosts["n3"]["seconds"]["see"], 2)
        old.write_text("\n".join(self.pointer()) + "\n")
        waits = show_old(4)
        report = self.take(wheel=self.pure_wheel(version="3.0"), policy="shared_wait: 1s\n",
                           exit_status=4)
        waits.join()
        self.assertEqual(set(self.states(report).values()), {"rolled-back"})
        self.assertIn("does not show here after 1 s: active is ", self.hosts["n2"]["message"])

    def test_who_writes(self):
        # n1 can only read.
        self.fleet.start_sharing("n1", options=",ro")
        self.fleet.start_sharing("n2", "n3", "n4")
        report = self.take()
        self.assertEqual(set(self.states(report).values()), {"confirmed"})
        self.assertEqual(self.hosts["n1"]["writer"], "n2")
        self.keys = {"n4": " writer=yes"}
        report = self.take(wheel=self.pure_wheel(version="2.0"))
        self.assertEqual(set(self.states(report).values()), {"confirmed"})
        self.assertEqual(self.hosts["n1"]["writer"], "n4")

    def test_only_the_coordinator_can_write(self):
        """It is one of the hosts then, as the manual says."""
        self.fleet.start_sharing(options=",ro")
        hosts = self.hostfile()
        subprocess.run(["bindfs", "-o", "subtype=nfs", self.fleet.export, self.fleet.place],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.fleet.place], check=True)
        hosts.write_text(hosts.read_text() + "head slots=1 transport=local writer=yes python=%s\n"
                         % self.python)
        report = self.deploy("deploy", "--hostfile", hosts, *self.common, "--wheel", self.wheel)
        self.assertEqual(self.states(report), dict.fromkeys(["n1", "n2", "n3", "n4", "head"],
                                                            "confirmed"))
        self.assertEqual([host["writer"] for host in report["hosts"]], ["head"] * 4 + [None])

    def test_one_that_is_incompatible(self):
        self.fleet.start_sharing()
        self.keys = {"n3": " env-script=/nowhere"}
        report = self.take(exit_status=3)
        self.assertEqual(set(self.states(report).values()), {"refused"})
        self.assertIn("it has one environment with n3, which is refused",
                      self.hosts["n1"]["message"])
        self.assertFalse(self.root.exists())

    def test_one_that_is_down(self):
        self.fleet.start_sharing("n1", "n2", "n3")
        report = self.take("--unreachable", "leave-out", exit_status=5)
        self.assertEqual(self.states(report), {"n1": "confirmed", "n2": "confirmed",
                                               "n3": "confirmed", "n4": "unreachable"})
        # It comes back, and only has to confirm.
        self.fleet.start_sharing("n4")
        done = self.run_program("resume", "--owed", *self.common, "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.states(json.loads(done.stdout)), {"n4": "unchanged"})
        self.assertEqual(self.history(), ["activated", "confirmed"])

    def test_the_coordinator_is_killed(self):
        self.fleet.start_sharing()
        self.take()
        waits = self.write("waits.yaml", "health:\n  command: sleep 30\n")
        child = subprocess.Popen(
            [PROGRAM, "deploy", "--hostfile", self.hostfile(), *self.common, "--wheel",
             self.pure_wheel(version="2.0"), "--policy", waits], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment())
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.fleet.wait_for(lambda: len(self.history()) == 3)
        child.kill()
        child.wait()
        # Another host writes now: the first one is away.
        self.fleet.stop("n1")
        self.write("goes-on.yaml", "unreachable: leave-out\n")
        done = self.run_program("resume", *self.common, "--policy", self.folder / "goes-on.yaml",
                                "--connect-timeout", "2", "--json")
        self.assertEqual(done.returncode, 5, done.stdout + done.stderr)
        self.assertEqual(self.states(json.loads(done.stdout)), {
            "n1": "unreachable", "n2": "confirmed", "n3": "confirmed", "n4": "confirmed"})
        self.assertEqual(self.history(), ["activated", "confirmed", "activated", "rolled-back",
                                          "activated", "confirmed"])

    def test_what_only_seems_to_be_one_folder(self):
        one, two = self.folder / "one", self.folder / "two"
        for path in (one, two):
            path.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
            self.addCleanup(subprocess.run, ["umount", "-l", path], check=True)
            # The same inode on another file system.
            shutil.copytree(self.fleet.export / "env", path / "env", symlinks=True)
        self.fleet.start_sharing("n1", "n2", "n3", export=one)
        self.fleet.start_sharing("n4", export=two)
        report = self.take(policy="shared_wait: 1s\n", exit_status=4)
        self.assertIn("does not show here after 1 s: not its lock", self.hosts["n4"]["message"])
        self.assertEqual(self.states(report), {"n1": "ready", "n2": "ready", "n3": "ready",
                                               "n4": "failed"})
        self.assertFalse((one / ".ds-deploy" / "env" / "active").exists())

    def test_what_nobody_knew_to_be_one_folder(self):
        """By the mounts' names they are two, and this file system has no locks between hosts."""
        (self.folder / "other").mkdir()
        self.fleet.start_sharing("n1", "n2")
        self.fleet.start_sharing("n3", "n4", source=self.folder / "other")
        report = self.take(policy="shared_wait: 1s\n", exit_status=4)
        said = [host["message"] for host in report["hosts"] if host["state"] == "failed"]
        self.assertTrue(any("not its lock, but that of run %s of " % report["run"] in text
                            for text in said), said)
        self.assertFalse((self.root / "active").exists())

    def test_leaving(self):
        self.fleet.start_sharing()
        self.take()
        words = ["remove", "--all", "--hostfile", self.hostfile(), *self.common, "--json"]
        done = self.run_program(*words)
        self.assertEqual(done.returncode, 4, done.stdout + done.stderr)
        self.assertIn("if none of them uses it: --also-shared", done.stdout)
        self.assertEqual(len(self.pointer()), 1)
        dry = self.run_program(*words, "--also-shared", "--dry-run")
        self.assertEqual(set(self.states(json.loads(dry.stdout)).values()), {"ready"})
        done = self.run_program(*words, "--also-shared")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(set(self.states(json.loads(done.stdout)).values()), {"removed"})
        self.assertEqual([*self.fleet.export.glob(".ds-deploy/**/*")], [])
        self.assertFalse(self.root.parent.exists())
        self.assertEqual(list(self.fleet.export.glob("env/lib/python*/site-packages/*ds_deploy*")),
                         [])

    def test_old_releases(self):
        self.fleet.start_sharing()
        for version in ("1.0", "2.0", "3.0"):
            self.take(wheel=self.pure_wheel(version=version))
        seals = sorted((self.root / "releases").glob("*.json"))
        for path in seals:
            os.utime(path, (time.time() - 3 * 86400,) * 2)
        for name in ("confirmed.json", "rolled-back.json"):
            path = self.root / name
            if path.exists():
                record = json.loads(path.read_text())
                record["at"] -= 3 * 86400
                path.write_text(json.dumps(record))
        self.take("--keep", "0", "--keep-days", "2", wheel=self.pure_wheel(version="4.0"))
        # What was active until now was used now; the first ones were not for three days.
        self.assertEqual(len(list((self.root / "releases").glob("*.json"))), 2)

    def test_by_pip(self):
        self.fleet.start_sharing()
        self.take("--mode", "pip", exit_status=3)
        self.assertIn("only one pip may work", self.hosts["n2"]["message"])


if __name__ == "__main__":
    unittest.main()
