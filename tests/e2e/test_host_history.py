# SPDX-License-Identifier: Apache-2.0
"""What each host notes of who changed it, and how the notes of all are shown."""
import getpass
import json
import os
import socket
import unittest

from support.deploy_case import DeployCase, clean_environment


class HostHistory(DeployCase):
    def setUp(self):
        super().setUp()
        self.hosts = {name: self.make_environment(name + "/env") for name in ("n1", "n2", "n3")}
        self.hostfile = self.write("cluster", "".join(
            "%s slots=1 transport=local python=%s\n" % pair for pair in self.hosts.items()))

    def run_it(self, command, *words, state="state", exit_status=0, env=None):
        done = self.run_program(command, "--hostfile", self.hostfile, "--state-dir",
                                self.folder / state, *words, "--json", env=env)
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def entries(self, *words, **how):
        return self.run_it("history", "--hosts", *words, state="none", **how)["entries"]

    def file_of(self, name):
        return self.folder / name / ".ds-deploy" / "env" / "history.jsonl"

    def test_who_changed_what(self):
        self.assertEqual(self.entries(), [])
        first, second = self.pure_wheel(), self.pure_wheel(version="2.0")
        one = self.run_it("deploy", "--wheel", first, "--message", "for ticket 4711")
        old = one["wheels"][0]["sha256"]
        # Another coordinator, which knows nothing of the first one; become another user by sudo.
        two = self.run_it("deploy", "--wheel", second, "--limit", "n1", state="other",
                          env=clean_environment(SUDO_USER="bob\x1b[31m"))
        new = two["wheels"][0]["sha256"]
        policy = self.write("p.yaml", "health: {command: exit 1}\n")
        self.run_it("deploy", "--wheel", self.pure_wheel(version="3.0"), "--policy", policy,
                    exit_status=4)
        back = self.run_it("rollback", "--limit", "n1")

        seen = [(entry["run"], entry["event"], entry["hosts"]) for entry in self.entries()]
        runs = {one["run"]: "one", two["run"]: "two", back["run"]: "back"}
        self.assertEqual([(runs.get(run, "bad"), event, hosts) for run, event, hosts in seen
                          if runs.get(run)], [
            ("back", "confirmed", ["n1"]), ("back", "activated", ["n1"]),
            ("two", "confirmed", ["n1"]), ("two", "activated", ["n1"]),
            ("one", "confirmed", ["n1", "n2", "n3"]), ("one", "activated", ["n1", "n2", "n3"])])
        entries = {(entry["run"], entry["event"]): entry for entry in self.entries()}
        entry = entries[one["run"], "confirmed"]
        self.assertEqual((entry["from"], entry["to"], entry["message"]),
                         ([], [old], "for ticket 4711"))
        self.assertEqual((entry["user"], entry["machine"], entry["command"], entry["login"]),
                         (getpass.getuser(), socket.gethostname(), "deploy", getpass.getuser()))
        self.assertEqual(entries[two["run"], "activated"]["sudo_user"], "bob\\x1b[31m")
        failed = [entry for entry in self.entries() if entry["event"] == "rolled-back"]
        self.assertEqual(sorted(host for entry in failed for host in entry["hosts"]),
                         ["n1", "n2", "n3"])
        self.assertIn("not healthy", failed[0]["because"])
        entry = entries[back["run"], "confirmed"]
        self.assertEqual((entry["from"], entry["to"], entry["command"]), ([new], [old], "rollback"))

        text = self.run_program("history", "--hosts", "--hostfile", self.hostfile, "-N", "2").stdout
        self.assertEqual(text.count("\n"), 4)
        self.assertIn("  confirmed    n1  %s -> %s\n    run %s, rollback by " % (
            new[:12], old[:12], back["run"]), text)

    def test_nothing_is_noted_where_nothing_changes(self):
        wheel = self.pure_wheel()
        self.run_it("deploy", "--wheel", wheel)
        before = {name: self.file_of(name).read_bytes() for name in self.hosts}
        self.run_it("deploy", "--wheel", wheel)
        self.assertEqual({name: self.file_of(name).read_bytes() for name in self.hosts}, before)
        self.assertEqual(before["n1"].count(b"\n"), 2)

    def test_damage_and_hostile_text(self):
        self.run_it("deploy", "--wheel", self.pure_wheel())
        good = len(self.entries())
        with self.file_of("n1").open("ab") as lines:
            lines.write(b"{\n[]\n\xff\xfe\n" + b"x" * 100_000 + b"\n" + b'{"at": 1}\n')
        with self.file_of("n2").open("ab") as lines:
            lines.write(b'{"at": 5, "run": "r\\u001b[2J", "event": "e", "from": [], "to": ["..%s"]}'
                        % (b"/" * 62))
        done = self.run_program("history", "--hosts", "--hostfile", self.hostfile)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("\x1b", done.stdout + done.stderr)
        self.assertIn("n[1-3]", done.stdout)
        # A line that a kill cut short spoils none that follows.
        with self.file_of("n3").open("ab") as lines:
            lines.write(b'{"at": 5, "ru')
        self.run_it("deploy", "--wheel", self.pure_wheel(version="2.0"), "--limit", "n3")
        found = self.entries("--limit", "n3")
        self.assertEqual(len(found), 4)
        self.assertEqual(good, 2)

    def test_what_is_no_file_of_ours_is_refused(self):
        self.run_it("deploy", "--wheel", self.pure_wheel())
        self.file_of("n1").unlink()
        os.mkdir(self.file_of("n1"))
        report = self.run_it("deploy", "--wheel", self.pure_wheel(version="2.0"), exit_status=4)
        self.assertIn(str(self.file_of("n1")), report["hosts"][0]["message"])


if __name__ == "__main__":
    unittest.main()
