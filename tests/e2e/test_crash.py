# SPDX-License-Identifier: Apache-2.0
"""The coordinator is killed around each of its writes to the journal and at any other moment: every
host is whole, at the old release or the new one, nothing was done before it was written down, and a
second run ends as one that was not disturbed."""
import contextlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

from support import sshd_hosts
from support.deploy_case import TESTS
from support.killed_case import HOSTS, KilledCase

LONG = bool(os.environ.get("DS_DEPLOY_LONG"))
MOMENTS = 200 if LONG else 2
SEED = 20261126
BEGIN = 2  # of the log's header and the run's first record
# The last boundaries of a run that nothing disturbs.
LAST = ("activate", "decide", "keep", "clean", "finish", "checkpoint")
ALWAYS = (("activate", "done", HOSTS), ("activate", "got", 0.9), ("decide", "before", 0),
          ("decide", "after", 0), ("keep", "after", 0), ("keep", "sent", 4), ("keep", "got", 0.5),
          ("checkpoint", "within", 0))
CC = shutil.which("cc")


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
@unittest.skipUnless(CC, "no cc")
class Crash(KilledCase):
    def make_fleet(self):
        super().make_fleet()
        self.library = self.folder / "crash.so"
        subprocess.run([CC, "-shared", "-fPIC", "-o", str(self.library),
                        str(TESTS / "support" / "crash.c"), "-ldl"], check=True)
        self.look_where_they_are()
        self.counts, self.seconds = self.undisturbed()

    def setUp(self):
        super().setUp()
        self.forget_new()
        self.kills = 0

    def crashing(self, **environment):
        # A program that is built with a sanitizer wants to be the first to be loaded.
        return self.begin(self.new, LD_PRELOAD=str(self.library),
                          ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0", **environment)

    def undisturbed(self):
        """For each boundary, how often something is sent after it, how often something comes, and
        when it is reached, in ms; and how many seconds all takes."""
        log = self.folder / "log"
        self.forget_new()
        began = time.monotonic()
        self.assertEqual(self.crashing(CRASH_LOG=str(log)).wait(), 0)
        seconds = time.monotonic() - began
        counts = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
        log.unlink()
        return counts, seconds

    def journal(self):
        """What the last run wrote down, read from a copy: hosts about to be active, decisions."""
        with tempfile.TemporaryDirectory() as folder:
            for path in self.state.iterdir():
                shutil.copy(path, folder)
            file = pathlib.Path(folder) / "journal.db"
            if not file.exists():
                return set(), []
            with contextlib.closing(sqlite3.connect(file)) as database:
                last = "(SELECT id FROM runs ORDER BY number DESC LIMIT 1)"
                active = database.execute("SELECT host FROM transitions WHERE run = " + last
                                          + " AND to_state = 'active'")
                decided = database.execute("SELECT what FROM decisions WHERE run = " + last)
                return {name for (name,) in active}, [what for (what,) in decided]

    def check_hosts(self):
        """Whole, and not further than the journal says."""
        announced, decided = self.journal()
        found = self.releases()
        self.assertLessEqual(set(found.values()), {self.old, self.new})
        for (name, release), root in zip(found.items(), self.roots()):
            if release == self.new:
                self.assertIn(name, announced)
                if not (root / "unconfirmed.json").exists():
                    self.assertIn("confirm", decided)

    def killed(self, child, then):
        self.kills += 1
        self.assertEqual(child.wait(), -signal.SIGKILL)
        self.check_hosts()
        if then == "rebooted":
            self.reboot()
        elif then == "waited":
            self.let_deadlines_pass()
            self.until(lambda: not self.undecided(), 5)
            self.check_hosts()
        self.assert_all_at(self.new, self.second_run(self.new))
        self.assertEqual(self.undecided(), [])

    def number_of(self, name):
        return len(self.counts) - len(LAST) + 1 + LAST.index(name)

    def cases(self):
        """(boundary, moment, number) in the order of the run, and those that matter most."""
        names = {self.number_of(name): name for name in LAST}
        every, matter = [], []
        for boundary, (sent, got, _) in enumerate(self.counts, 1):
            moments = [("before", 0), ("within", 0), ("after", 0)]
            if sent:
                moments += [("sent", 1), ("sent", 4), ("done", HOSTS), ("done", 0.9)]
            if got:
                moments += [("got", 1), ("got", 0.5), ("got", 0.9)]
            for moment, number in moments:
                most = got if moment == "got" else sent
                times = number if isinstance(number, int) else max(1, int(number * most))
                every.append((boundary, moment, times))
                if (names.get(boundary), moment, number) in ALWAYS:
                    matter.append(every[-1])
        self.assertEqual(len(matter), len(ALWAYS), self.counts)
        return every, matter

    def test_at_every_boundary(self):
        chosen = random.Random(SEED)
        every, matter = self.cases()
        cases = every if LONG else sorted({*matter, chosen.choice(every)}, key=every.index)
        for case in cases:
            self.look_where_they_are()
            self.forget_new()
            then = chosen.choice(self.AFTERWARDS)
            with self.subTest(case=case, of=len(self.counts), then=then):
                self.killed(self.crashing(CRASH_AT="%d %s %d" % case), then)
        print("%d boundaries, %d kills" % (len(self.counts), self.kills), flush=True)

    def test_while_the_journal_is_made(self):
        """Before any host is asked."""
        self.state = self.folder / "another"
        counts, _ = self.undisturbed()
        self.look_where_they_are()
        asked = next(at for at, count in enumerate(counts, 1) if count[0])
        cases = [(boundary, moment, 0) for boundary in range(1, asked + 1)
                 for moment in ("before", "within", "after")]
        chosen = random.Random(SEED)
        for case in cases if LONG else chosen.sample(cases, 1):
            shutil.rmtree(self.state)
            self.look_where_they_are()
            self.forget_new()
            with self.subTest(case=case, of=asked):
                self.killed(self.crashing(CRASH_AT="%d %s %d" % case), "")
        print("%d boundaries, %d kills" % (asked, self.kills), flush=True)

    def test_at_any_moment(self):
        """Three of four are killed when the run is written down, since hosts change only then."""
        moments = random.Random(SEED)
        begun = self.counts[BEGIN - 1][2] / 1000
        while self.kills < MOMENTS:
            later, then = self.kills % 4 > 0, moments.choice(self.AFTERWARDS)
            moment = moments.uniform(0, self.seconds - begun if later else self.seconds)
            with self.subTest(seed=SEED, later=later, moment=moment, then=then):
                if later:
                    at = "%d later %d" % (BEGIN, moment * 1000)
                    child = self.crashing(CRASH_AT=at)
                else:
                    child = self.begin(self.new)
                    time.sleep(moment)
                    child.kill()
                if child.wait() != 0:  # else it was faster
                    self.killed(child, then)
            self.look_where_they_are()
            self.forget_new()

    def test_a_mix_is_named_and_ended(self):
        """Half of the hosts heard that they stay."""
        child = self.crashing(CRASH_AT="%d done 4" % self.number_of("keep"))
        self.assertEqual(child.wait(), -signal.SIGKILL)
        self.until(lambda: len(self.on_trial()) == 4, 5)
        self.assertEqual(set(self.releases().values()), {self.new})
        self.let_deadlines_pass()
        self.until(lambda: not self.undecided(), 5)
        self.assertEqual(sorted(self.releases().values()), sorted([self.old, self.new] * 4))
        done = self.run_program("status", *self.reach)
        for release in (self.old, self.new):
            self.assertRegex(done.stdout, "(?m)^not the same everywhere: .*%s on 4 hosts"
                             % release[:12])
        self.assert_all_at(self.new, self.second_run(self.new))


if __name__ == "__main__":
    unittest.main()
