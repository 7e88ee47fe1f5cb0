# SPDX-License-Identifier: Apache-2.0
"""One run at a time on a host, and none that a later one overtook."""
import json
import pathlib
import shutil
import signal
import tempfile
import threading
import unittest

from support.host_side import HostSide

BY = {"who": "ada", "from": "head", "since": "2026-11-26T03:00:00Z"}


class Lock(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.host = HostSide(self.folder)
        self.file = self.host.root / "lock.json"

    def hold(self, run="run-1", **more):
        child = self.host.open()
        self.addCleanup(self.host.close, child)
        return child, self.host.say(child, "lock", run=run, **BY, **more)

    def test_one_at_a_time_and_it_says_who(self):
        first, answer = self.hold()
        self.assertEqual(answer, {"ok": True, "epoch": 0, "taken_over": "", "active": [],
                                  "trial": "", "remark": ""})
        _, refused = self.hold("run-2")
        self.assertEqual((refused["ok"], refused["locked"]), (False, True))
        self.assertEqual(refused["problem"],
                         "the environment is locked by run run-1 of ada from head, since "
                         "2026-11-26T03:00:00Z (process %d)" % first.pid)
        self.host.say(first, "unlock")
        self.assertEqual(self.hold("run-3")[1]["taken_over"], "")

    def test_one_that_was_killed_is_taken_over_and_named(self):
        first, _ = self.hold()
        first.send_signal(signal.SIGKILL)
        first.wait()
        _, answer = self.hold("run-2")
        self.assertTrue(answer["ok"])
        self.assertEqual(answer["taken_over"],
                         "run run-1 of ada from head, since 2026-11-26T03:00:00Z")

    def test_one_that_has_not_said_who_it_is_yet(self):
        first, _ = self.hold()
        note = self.file.read_text()
        self.file.write_text("")
        second = self.host.open()
        self.addCleanup(self.host.close, second)
        threading.Timer(0.3, self.file.write_text, (note,)).start()
        refused = self.host.say(second, "lock", run="run-2", **BY)
        self.assertIn("(process %d)" % first.pid, refused["problem"])

    def test_one_whose_coordinator_is_gone_ends(self):
        first, _ = self.hold()
        first.stdin.close()
        self.assertEqual(first.wait(10), 0)
        self.assertIn("run-1", self.hold("run-2")[1]["taken_over"])

    def test_a_run_waits_for_its_own_process_to_end(self):
        first, _ = self.hold()
        threading.Timer(0.5, first.send_signal, (signal.SIGKILL,)).start()
        _, answer = self.hold()
        self.assertEqual((answer["ok"], answer["taken_over"]), (True, ""))
        first.wait()

    def test_break_lock_does_not_break_a_living_one(self):
        self.hold()
        self.assertFalse(self.hold("run-2", break_lock=True)[1]["ok"])

    def test_another_machine_cannot_be_judged(self):
        """Its process is not seen here: the file system that both have tells only that it is held."""
        first, _ = self.hold()
        note = json.loads(self.file.read_text())
        self.file.write_text(json.dumps(dict(note, machine="another")))
        _, refused = self.hold("run-2")
        self.assertIn("another machine that shares it (run run-1 of ada", refused["problem"])
        self.assertIn("--break-lock", refused["problem"])
        self.assertTrue(self.hold("run-3", break_lock=True)[1]["ok"])
        self.assertFalse(self.hold("run-4")[1]["ok"])

    def test_what_lies_in_its_place(self):
        self.host.root.mkdir(parents=True)
        for planted in ("", "{", "[1]", "x" * 100000):
            self.file.write_text(planted)
            child, answer = self.hold()
            self.assertTrue(answer["ok"], planted[:10])
            self.host.say(child, "unlock")
        self.file.unlink()
        self.file.symlink_to("/etc/passwd")
        _, refused = self.hold()
        self.assertFalse(refused["ok"])
        self.assertIn("lock.json", refused["problem"])


class Epoch(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.host = HostSide(self.folder)
        self.host.root.mkdir(parents=True)

    def recover(self, epoch, run):
        return self.host.ask("recover", epoch=epoch, run=run, activation=run)

    def test_the_older_and_the_equal_of_another_run_are_refused(self):
        self.assertTrue(self.recover(4, "run-1")["ok"])
        self.assertTrue(self.recover(4, "run-1")["ok"])
        for epoch, run in ((3, "run-1"), (4, "run-2")):
            answer = self.recover(epoch, run)
            self.assertEqual((answer["ok"], answer["locked"]), (False, True))
            self.assertIn("run run-1 (epoch 4) came after this one (epoch %d)" % epoch,
                          answer["problem"])
        self.assertTrue(self.recover(5, "run-2")["ok"])
        self.assertFalse(self.recover(4, "run-1")["ok"])

    def test_the_lock_tells_it(self):
        self.recover(7, "run-1")
        child = self.host.open()
        self.addCleanup(self.host.close, child)
        self.assertEqual(self.host.say(child, "lock", run="run-2", **BY)["epoch"], 7)

    def test_a_damaged_one_is_named(self):
        for planted in ('{"epoch": "x"}', "{", "", "[]"):
            (self.host.root / "epoch.json").write_text(planted)
            self.assertIn("epoch.json is damaged", self.recover(1, "run-1")["problem"])


if __name__ == "__main__":
    unittest.main()
