# SPDX-License-Identifier: Apache-2.0
"""Two hundred sessions under valgrind; its build has no sanitizer."""
import unittest

from support.fleet_case import DRIVER, Ended, FleetCase


class Leaks(FleetCase):
    number = 100

    def test_none_after_two_hundred_sessions(self):
        """Half of the hosts are reached twice, for an idle connection was closed; some are dead."""
        self.faults(n1="refuse", n2="reset:+300", n3="kill:30", n4="startups:2")
        orders = self.order("echo one", "echo two; exit 3", connect=60, login=60, stall=60)
        limit = ("ulimit -n 100; exec valgrind -q --leak-check=full --error-exitcode=99 "
                 "--show-leak-kinds=definite,indirect "
                 "--errors-for-leak-kinds=definite,indirect '%s'" % DRIVER)
        done = Ended(["/bin/sh", "-c", limit], orders, timeout=600)
        self.assertEqual(done.status, 0, done.err.decode(errors="replace"))
        self.assertIn(b"idle connection", done.out)
        self.assertEqual(done.err, b"")


if __name__ == "__main__":
    unittest.main()
