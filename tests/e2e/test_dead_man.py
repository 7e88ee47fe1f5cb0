# SPDX-License-Identifier: Apache-2.0
"""The dead-man's switch on a host: what is not confirmed in time goes back, whatever dies."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from support.host_side import OUTLIVING, HostSide, is_gone, text_of, until

LONG = os.environ.get("DS_DEPLOY_LONG") == "1"


class DeadMan(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.host = HostSide(self.folder)
        self.old, self.new = self.host.seal("a"), self.host.seal("b")
        self.host.activate([self.old], "run-0")
        self.assertEqual(self.host.ask("keep", activation="run-0")["state"], "confirmed")

    def watcher(self):
        return self.host.record("armed.json")["pid"]

    def assert_back(self, because):
        self.assertEqual(self.host.pointer(), [self.old])
        self.assertIsNone(self.host.record("unconfirmed.json"))
        self.assertIsNone(self.host.record("overdue.json"))
        self.assertIn(because, self.host.record("rolled-back.json")["because"])
        self.assertEqual(self.host.record("confirmed.json")["releases"], [self.old])

    def test_what_is_confirmed_stays(self):
        answer = self.host.activate([self.new], "run-1", seconds=2)
        self.assertEqual((answer["ok"], answer["previous"]), (True, [self.old]))
        watcher = self.watcher()
        self.assertEqual(self.host.ask("keep", activation="run-1")["state"], "confirmed")
        self.assertTrue(until(lambda: is_gone(watcher), 5))
        time.sleep(2)
        self.assertEqual(self.host.pointer(), [self.new])
        self.assertEqual(self.host.record("confirmed.json")["before"], [[], [self.old]])
        self.assertEqual(self.host.ask("keep", activation="run-1")["state"], "confirmed")

    def test_what_is_not_confirmed_goes_back(self):
        self.host.activate([self.new], "run-1", seconds=1)
        self.assertEqual(self.host.pointer(), [self.new])
        self.assertTrue(until(lambda: self.host.record("rolled-back.json") and
                              not self.host.record("overdue.json"), 5))
        self.assert_back("the coordinator did not confirm it within 1 s")
        answer = self.host.ask("keep", activation="run-1")
        self.assertEqual(answer["state"], "rolled-back")
        self.assertIn("did not confirm it", answer["because"])

    def test_the_watcher_has_left_the_session(self):
        self.host.activate([self.new], "run-1")
        with open("/proc/%d/stat" % self.watcher(), encoding="ascii") as source:
            fields = source.read().rpartition(")")[2].split()
        self.assertEqual(int(fields[3]), self.watcher())  # the session is its own
        os.kill(self.watcher(), signal.SIGKILL)

    def test_a_killed_watcher_is_noticed_at_the_next_contact(self):
        self.host.activate([self.new], "run-1", seconds=1)
        os.kill(self.watcher(), signal.SIGKILL)
        time.sleep(1.5)
        self.assertEqual(self.host.pointer(), [self.new])
        self.assertEqual(self.host.ask("recover", activation="run-1")["releases"], [self.old])
        self.assert_back("ended before it was confirmed")

    def test_a_confirmation_that_is_late_is_answered(self):
        self.host.activate([self.new], "run-1", seconds=1)
        os.kill(self.watcher(), signal.SIGKILL)
        time.sleep(1.2)
        self.assertEqual(self.host.ask("keep", activation="run-1")["state"], "rolled-back")
        self.assert_back("after its deadline")

    def test_after_a_reboot_it_goes_back(self):
        self.host.activate([self.new], "run-1", seconds=600)
        os.kill(self.watcher(), signal.SIGKILL)
        record = self.host.record("unconfirmed.json")
        record["boot"] = "another"
        (self.host.root / "unconfirmed.json").write_text(json.dumps(record))
        self.assertEqual(self.host.ask("keep", activation="run-1")["state"], "rolled-back")
        self.assert_back("after its deadline")

    def test_both_at_the_deadline(self):
        """Whoever comes first: what the host answers is where it is.

        When the two come at one time is bisected, as it depends on the machine.
        """
        early, late = 1.6, -0.2
        seen = set()
        for number in range(20 if LONG else 7):
            identity, ahead = "run-%d" % number, (early + late) / 2
            self.host.activate([self.new], identity, seconds=2)
            left = self.host.record("unconfirmed.json")["deadline"] - time.clock_gettime(7)
            time.sleep(max(0, left - ahead))
            state = self.host.ask("keep", activation=identity)["state"]
            self.assertEqual(self.host.pointer(),
                             [self.new] if state == "confirmed" else [self.old])
            time.sleep(0.05)
            self.assertEqual(self.host.pointer(),
                             [self.new] if state == "confirmed" else [self.old])
            seen.add(state)
            if state == "confirmed":
                early = ahead
                self.host.activate([self.old], identity + "-back")
                self.host.ask("keep", activation=identity + "-back")
            else:
                late = ahead
            if early - late < 0.01:
                early, late = early + 0.02, late - 0.02
        self.assertEqual(seen, {"confirmed", "rolled-back"})

    def test_killed_between_the_decision_and_the_pointer(self):
        self.host.activate([self.new], "run-1")
        os.kill(self.watcher(), signal.SIGKILL)
        (self.host.root / "unconfirmed.json").rename(self.host.root / "overdue.json")
        self.assertEqual(self.host.ask("recover", activation="run-1")["releases"], [self.old])
        self.assert_back("ended before")

    def test_one_that_is_killed_in_between_is_finished_by_the_watcher(self):
        self.host.activate([self.new], "run-1", seconds=600)
        (self.host.root / "unconfirmed.json").rename(self.host.root / "overdue.json")
        self.assertTrue(until(lambda: not self.host.record("overdue.json"), 5))
        self.assert_back("did not confirm")

    def test_the_deadline_takes_nothing_back_that_stays(self):
        """The watcher saw that the time was over; the word was there before it had the lock."""
        self.host.activate([self.new], "run-1", seconds=600)
        self.host.ask("keep", activation="run-1")
        words = "import sys; sys.argv[1:] = []; exec(sys.stdin.read()); " \
                "print(go_back(%r, 'late', 'run-1'))" % str(self.host.root)
        text = text_of(OUTLIVING[:-1])
        done = subprocess.run([sys.executable, "-c", words], input=text, check=True,
                              stdout=subprocess.PIPE, text=True)
        self.assertEqual(done.stdout, "None\n")
        self.assertEqual(self.host.pointer(), [self.new])

    def test_an_activation_that_comes_after_the_word_to_go_back(self):
        self.host.ask("rollback", activation="run-1", because="test")
        answer = self.host.activate([self.new], "run-1")
        self.assertIn("it was called off before it began", answer["problem"])
        self.assertEqual(self.host.pointer(), [self.old])
        self.assertTrue(self.host.activate([self.new], "run-2")["ok"])
        self.host.ask("keep", activation="run-2")

    def test_recover_is_for_the_one_that_was_seen(self):
        self.host.activate([self.new], "run-2")
        self.host.ask("recover", activation="run-1")
        self.assertEqual(self.host.pointer(), [self.new])
        self.host.ask("keep", activation="run-2")

    def test_killed_before_the_pointer_moved(self):
        """The note is there, the pointer is the old one: to go back changes nothing."""
        self.host.activate([self.new], "run-1")
        os.kill(self.watcher(), signal.SIGKILL)
        (self.host.root / "active").write_text(self.old + "\n")
        self.host.ask("recover", activation="run-1")
        self.assert_back("ended before")

    def test_one_at_a_time(self):
        third = self.host.seal("c")
        self.host.activate([self.new], "run-1")
        answer = self.host.activate([third], "run-2")
        self.assertFalse(answer["ok"])
        self.assertIn("not decided yet", answer["problem"])
        self.assertEqual(self.host.pointer(), [self.new])
        self.host.ask("rollback", activation="run-1", because="test")
        self.assert_back("test")

    def test_a_rollback_of_another_run_changes_nothing(self):
        self.host.activate([self.new], "run-1")
        answer = self.host.ask("rollback", activation="run-2", because="test")
        self.assertEqual(answer["releases"], [self.new])
        self.host.ask("keep", activation="run-1")

    def test_one_that_stays_goes_back_when_its_own_run_says_so(self):
        third = self.host.seal("c")
        for identity, release in (("run-1", self.new), ("run-2", third)):
            self.host.activate([release], identity)
            self.host.ask("keep", activation=identity)
        self.host.ask("rollback", activation="run-1", because="test")
        self.assertEqual(self.host.pointer(), [third])
        self.host.ask("rollback", activation="run-2", because="test")
        self.assertEqual(self.host.pointer(), [self.new])
        self.assertEqual(self.host.record("rolled-back.json")["because"], "test")
        last = self.host.record("confirmed.json")
        self.assertEqual((last["releases"], last["before"]), ([self.new], [[], [self.old]]))
        self.host.ask("rollback", activation="run-2", because="test")
        self.assertEqual(self.host.pointer(), [self.new])

    def test_a_damaged_note_is_named_and_nothing_moves(self):
        self.host.activate([self.new], "run-1")
        os.kill(self.watcher(), signal.SIGKILL)
        note = self.host.root / "unconfirmed.json"
        for planted in ("", "{}", "[]", '{"id": 1}', "\xff", "x" * (2 << 20),
                        json.dumps(dict(self.host.record(note.name), at=float("nan"))),
                        json.dumps(dict(self.host.record(note.name), previous=["../../x"]))):
            note.write_text(planted)
            for phase in ("recover", "keep"):
                answer = self.host.ask(phase, activation="run-1")
                self.assertFalse(answer["ok"])
                self.assertIn("%s is damaged" % note, answer["problem"])
            self.assertEqual(self.host.pointer(), [self.new])

    def test_a_link_in_place_of_the_note(self):
        (self.host.root / "unconfirmed.json").symlink_to("/etc/passwd")
        answer = self.host.ask("recover", activation="run-1")
        self.assertIn("cannot be read", answer["problem"])

    def test_the_previous_release_is_gone(self):
        self.host.activate([self.new], "run-1")
        shutil.rmtree(self.host.root / "releases" / self.old)
        answer = self.host.ask("rollback", activation="run-1", because="test")
        self.assertIn("the previous release aaaaaaaaaaaa is gone", answer["problem"])
        self.assertEqual(self.host.pointer(), [self.new])
        os.kill(self.watcher(), signal.SIGKILL)

    def test_a_process_shows_that_it_outlives(self):
        program = text_of(OUTLIVING)
        self.assertTrue(self.host.ask("show-outliving", run="r", dead_man=program)["ok"])
        pid = self.host.record("outlives.json")["pid"]
        self.assertTrue(self.host.ask("is-outlived", run="r")["outlives"])
        self.assertTrue(until(lambda: is_gone(pid), 5))
        self.assertFalse(self.host.ask("is-outlived", run="r")["outlives"])

    def test_one_that_is_killed_with_its_session_is_noticed(self):
        program = text_of(OUTLIVING)
        self.host.ask("show-outliving", run="r", dead_man=program)
        pid = self.host.record("outlives.json")["pid"]
        os.kill(pid, signal.SIGKILL)
        self.assertTrue(until(lambda: is_gone(pid), 5))
        self.assertFalse(self.host.ask("is-outlived", run="r")["outlives"])


class FullDisk(unittest.TestCase):
    """Going back needs no space: the pointer of before lies there already."""

    @unittest.skipIf(os.geteuid() != 0 or
                     subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL,
                                    check=False).returncode != 0,
                     "a file system that is full needs root and a mount namespace")
    def test_goes_back(self):
        with tempfile.TemporaryDirectory(prefix="ds-deploy-test.") as name:
            folder = pathlib.Path(name)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", name],
                           check=True)
            try:
                self.fill_and_go_back(folder)
            finally:
                subprocess.run(["umount", "-l", name], check=True)

    def fill_and_go_back(self, folder):
        with tempfile.TemporaryDirectory(prefix="ds-deploy-test.") as elsewhere:
            host = HostSide(pathlib.Path(elsewhere))
            root = host.root
            root.parent.mkdir(parents=True)
            root.symlink_to(folder)
            old, new = host.seal("a"), host.seal("b")
            host.activate([old], "run-0")
            host.ask("keep", activation="run-0")
            host.activate([new], "run-1")
            with open(folder / "filler", "wb", 0) as filler:
                try:
                    while True:
                        filler.write(b"x" * 512)
                except OSError:
                    pass
            self.assertEqual(os.statvfs(folder).f_bavail, 0)
            answer = host.ask("rollback", activation="run-1", because="test")
            self.assertEqual((answer["ok"], answer["releases"]), (True, [old]))
            self.assertIsNone(host.record("unconfirmed.json"))
            self.assertIsNone(host.record("overdue.json"))
            self.assertEqual(host.record("rolled-back.json")["id"], "run-1")


if __name__ == "__main__":
    unittest.main()
