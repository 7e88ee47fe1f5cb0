# SPDX-License-Identifier: Apache-2.0
"""What a run shows while it goes on: live lines on a terminal, a state for whoever asks."""
import os
import pty
import re
import signal
import subprocess
import sys
import time
import unittest

from support.deploy_case import PROGRAM, TESTS, DeployCase, clean_environment


class Screen(DeployCase):
    def setUp(self):
        super().setUp()
        hosts = "".join("n%d slots=8 transport=local python=%s\n" % (
            at, self.make_environment("env%d" % at)) for at in (1, 2, 3))
        policy = self.write("policy.yaml", "health:\n  command: sleep 3; test $DS_DEPLOY_HOST != n3\n"
                                           "retries: 0\n")
        self.words = [PROGRAM, "deploy", "--hostfile", str(self.write("cluster", hosts)), "--wheel",
                      str(self.pure_wheel()), "--policy", str(policy), "--state-dir",
                      str(self.folder / "state")]

    def test_at_a_terminal(self):
        done = subprocess.run([sys.executable, TESTS / "support" / "at_terminal.py", "[]",
                               *self.words, "-y"], stdout=subprocess.PIPE,
                              env=clean_environment(TERM="xterm"), check=False)
        shown = done.stdout.decode()
        self.assertEqual(done.returncode, 4, shown)
        # Each time it was written over, what stood there is taken away.
        frames = re.split("\r(?:\x1b\\[[0-9]+A)?\x1b\\[J", shown)
        live = [frame for frame in frames if "[activate 0/3]" in frame]
        self.assertGreater(len(live), 5, shown)
        self.assertRegex(live[-1].replace("\r", ""),
                         r"(?s)\[activate 0/3\]\n3 under way\nlongest: n1 \d\.\d s, n2 \d\.\d s, "
                         r"n3 \d\.\d s$")
        self.assertIn("n3  rolled-back at health", frames[-1])
        self.assertNotIn("under way", frames[-1])

    def ask(self, child, log, how):
        """Again and again, until all three are asked for their health."""
        seen = re.compile(r"\[activate 0/3\]\n3 under way\nlongest: n1 ")
        latest = time.monotonic() + 60
        while not seen.search(log.read_text()):
            self.assertLess(time.monotonic(), latest, log.read_text())
            time.sleep(0.3)
            if "reached" in log.read_text():  # from then on somebody listens
                how()
        child.wait()
        self.assertEqual(child.returncode, 4)

    def test_by_a_signal(self):
        log = self.folder / "log"
        with open(log, "w") as err:
            child = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=err, env=clean_environment())
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.ask(child, log, lambda: child.send_signal(signal.SIGUSR1))

    def test_by_enter(self):
        log = self.folder / "log"
        pid, terminal = pty.fork()
        if pid == 0:
            err = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(err, 2)
            os.dup2(err, 1)
            os.execve(PROGRAM, self.words, clean_environment())
        self.addCleanup(os.close, terminal)

        class Child:
            def wait(self):
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        while not log.exists():
            time.sleep(0.05)
        self.ask(Child(), log, lambda: os.write(terminal, b"\n"))


if __name__ == "__main__":
    unittest.main()
