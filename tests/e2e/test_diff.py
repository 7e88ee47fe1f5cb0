# SPDX-License-Identifier: Apache-2.0
"""What differs between two runs, and between a run and its hosts now."""
import json
import os
import sqlite3
import unittest

from support import recorded_wheel
from support.deploy_case import DeployCase, clean_environment

SMI = """#!/bin/sh
echo '0, GPU-1, NVIDIA A100, 8.0, %s, 40960, [N/A], Enabled'
"""


class Diff(DeployCase):
    def setUp(self):
        super().setUp()
        self.hosts = {name: self.make_environment(name + "/env") for name in ("n1", "n2", "n3")}
        self.hostfile = self.write("cluster", "".join(
            "%s slots=1 transport=local python=%s\n" % pair for pair in self.hosts.items()))
        self.drive("550.54.14")

    def drive(self, version):
        self.write("bin/nvidia-smi", SMI % version).chmod(0o755)

    def install(self, host, name, version):
        """As pip leaves it."""
        site = next((self.folder / host / "env" / "lib").glob("python3*")) / "site-packages"
        for old in site.glob(name + "-*.dist-info"):
            (old / "METADATA").unlink()
            old.rmdir()
        self.write(site / ("%s-%s.dist-info" % (name, version)) / "METADATA",
                   "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version))

    def say(self, *words, exit_status=0):
        env = clean_environment(PATH="%s:%s" % (self.folder / "bin", os.environ["PATH"]))
        done = self.run_program(*words, "--state-dir", self.folder / "state", env=env)
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        self.stderr = done.stderr
        return done.stdout

    def take(self, wheel, *words, **how):
        """A deployment; its id."""
        return json.loads(self.say("deploy", "--hostfile", self.hostfile, "--wheel", wheel, "--json",
                                   *words, **how))["run"]

    def diff(self, *words, **how):
        return json.loads(self.say("diff", *words, "--json", **how))

    @staticmethod
    def moves(answer, *sections):
        return {one["name"]: (one["before"], one["after"], one["hosts"])
                for one in answer["differences"] if one["section"] in sections}

    def built(self, version, compiler):
        return recorded_wheel.pack(self.folder, {"demo/__init__.py": b""}, "demo", version,
                                   ops=[], compiler=compiler, nvcc="")

    def test_two_runs(self):
        self.install("n1", "nvidia_nccl_cu12", "2.21.5")
        old = self.built("1.0", "g++ 12.2.0")
        one = self.take(old, "--keep", "3")
        self.drive("580.65.06")
        self.install("n1", "nvidia_nccl_cu12", "2.27.5")
        policy = self.write("p.yaml", "strategy: rolling  # by halves\n")
        two = self.take(self.built("2.0", "g++ 13.1.0"), "--limit", "n1,n2", "--policy", policy)

        answer = self.diff(one, two)
        self.assertEqual((answer["differs"], answer["exit"]), (True, 0))
        self.assertEqual((answer["before_alone"], answer["after_alone"]), (["n3"], []))
        wheel = self.moves(answer, "wheel")
        self.assertEqual(wheel["file"], ("demo-1.0-py3-none-linux_x86_64.whl",
                                         "demo-2.0-py3-none-linux_x86_64.whl", ["n1", "n2"]))
        flags = self.moves(answer, "flags")
        self.assertEqual(flags["policy"], ("", "strategy: rolling", []))
        self.assertIn("--keep 3", flags["options"][0])
        self.assertIn("--policy", flags["options"][1])
        self.assertNotIn("--json", "".join(flags["options"][:2]))
        self.assertEqual(self.moves(answer, "toolchain"),
                         {"compiler": ("g++ 12.2.0", "g++ 13.1.0", ["n1", "n2"])})
        self.assertEqual(self.moves(answer, "facts"), {
            "driver": ("550.54.14", "580.65.06", ["n1", "n2"]),
            "NCCL": ("2.21.5", "2.27.5", ["n1"])})

        text = self.say("diff", one[:-1], two)
        self.assertIn("  driver        n[1-2]  550.54.14 -> 580.65.06\n", text)
        self.assertIn("  n3  run %s alone has it\n" % one, text)
        back = self.diff(two, one)
        self.assertEqual((back["before_alone"], back["after_alone"]), ([], ["n3"]))
        self.assertEqual(self.say("diff", one, one),
                         "nothing differs between run %s and run %s, on 3 hosts\n" % (one, one))

    def test_a_run_and_now(self):
        self.install("n2", "nvidia_nccl_cu12", "2.21.5")
        one = self.take(self.built("1.0", "g++ 12.2.0"))
        self.assertEqual(self.say("diff", one, "now"),
                         "nothing differs between run %s and now, on 3 hosts\n" % one)
        self.take(self.built("2.0", "g++ 13.1.0"), "--limit", "n3")
        self.install("n2", "nvidia_nccl_cu12", "2.27.5")
        answer = self.diff(one, "now")
        self.assertEqual(self.moves(answer, "facts", "toolchain"), {
            "NCCL": ("2.21.5", "2.27.5", ["n2"]), "compiler": ("g++ 12.2.0", "g++ 13.1.0", ["n3"])})
        self.assertEqual(self.moves(answer, "wheel")["file"][2], ["n3"])
        only = self.diff(one, "now", "--limit", "n1")
        self.assertEqual((only["differs"], only["before_alone"]), (False, []))

    def test_a_host_that_gives_no_answer_is_named(self):
        with self.hostfile.open("a") as lines:
            lines.write("n4 slots=1 addr=127.0.0.1 port=1\n")
        one = self.take(self.pure_wheel(), "--unreachable", "leave-out", exit_status=5)
        text = self.say("diff", one, "now", exit_status=5)
        self.assertIn("nothing differs between run %s and now, on 3 hosts\n" % one, text)
        self.assertRegex(text, "n4  gave no answer in run %s: .*\n  n4  gave no answer now: " % one)

    def test_a_run_of_before_has_no_facts(self):
        one = self.take(self.built("1.0", "g++ 12.2.0"))
        two = self.take(self.built("2.0", "g++ 13.1.0"))
        journal = sqlite3.connect(self.folder / "state" / "journal.db")
        with journal:
            journal.execute("DELETE FROM texts WHERE run = ? AND which = 'facts'", (one,))
        journal.close()
        answer = self.diff(one, two)
        self.assertEqual(answer["notes"], ["no facts were kept of run %s, which an earlier ds-deploy "
                                           "made" % one])
        self.assertEqual(self.moves(answer, "facts", "toolchain"), {})
        self.assertEqual(self.moves(answer, "wheel")["file"][2], ["n1", "n2", "n3"])

    def test_what_names_no_run(self):
        one = self.take(self.pure_wheel())
        self.say("diff", one, "2011", exit_status=2)
        self.assertIn("the journal has no run '2011'", self.stderr)
        self.say("diff", one[:2], one, "--limit", "n1", exit_status=2)
        self.assertIn("asks no host", self.stderr)


if __name__ == "__main__":
    unittest.main()
