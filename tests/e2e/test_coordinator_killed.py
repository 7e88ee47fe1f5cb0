# SPDX-License-Identifier: Apache-2.0
"""The coordinator is killed before it has decided: every host goes back by itself, or is taken back
by the next run where nothing there can do it any more, and status explains it."""
import time
import unittest

from support import sshd_hosts
from support.killed_case import KilledCase


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class Killed(KilledCase):
    def test_all_go_back_by_themselves(self):
        self.kill_while_confirming()
        began = time.monotonic()
        self.assertEqual({host["state"] for host in self.status(5)}, {"unconfirmed"})
        self.until(lambda: not self.on_trial() and set(self.releases().values()) == {self.old}, 40)
        self.assertLess(time.monotonic() - began, 35 + 5)
        for host in self.status(0):
            self.assertEqual(host["state"], "rolled-back")
            self.assertIn("the coordinator did not confirm it within 35 s", host["message"])
        self.assertEqual(self.run_lives(), ["died", "exit 0"])
        self.hold.unlink()
        self.assert_all_at(self.new, self.second_run(self.new))

    def test_rebooted_hosts_are_taken_back_by_the_next_run(self):
        self.kill_while_confirming()
        self.reboot()
        for host in self.status(5):
            self.assertEqual(host["state"], "overdue")
            self.assertIn("the next deployment takes it back to %s first" % self.old[:12],
                          host["message"])
        self.hold.unlink()
        self.assertEqual(self.deployed(self.old), {"confirmed"})
        self.assertEqual(set(self.releases().values()), {self.old})

    def test_hosts_whose_timer_was_killed_are_taken_back_by_the_next_run(self):
        self.kill_while_confirming()
        self.kill_timers()
        for host in self.status(5):
            self.assertIn("the process that would take it back to %s then is gone" % self.old[:12],
                          host["message"])
        self.let_deadlines_pass()
        self.assertEqual({host["state"] for host in self.status(5)}, {"overdue"})
        self.assertEqual(set(self.releases().values()), {self.new})
        self.hold.unlink()
        self.assert_all_at(self.new, self.second_run(self.new))

    def test_hosts_that_had_nothing_have_nothing_again(self):
        self.forget_all()
        self.kill_while_confirming()
        self.let_deadlines_pass()
        self.until(lambda: not self.undecided(), 5)
        self.assertEqual(set(self.releases().values()), {"none"})
        self.assertEqual({host["state"] for host in self.status(0)}, {"rolled-back"})
        python = self.folder / "n1" / "env" / "bin" / "python"
        self.assertIn("No module named", self.python(python, "-c", "import foreign", check=False))
        self.hold.unlink()
        self.assert_all_at(self.new, self.second_run(self.new))


if __name__ == "__main__":
    unittest.main()
