# SPDX-License-Identifier: Apache-2.0
"""What the relay agent decides without a network: when a source is too slow, and which addresses
of a host others are told."""
import os
import re
import unittest
from unittest import mock

from support.host_side import FILES, TEMPLATES, text_of


class Programs(unittest.TestCase):
    def test_the_coordinator_s_program_of_a_host_is_that_of_the_tests(self):
        text = (TEMPLATES.parent / "src" / "rollout" / "phase.cc").read_text(encoding="utf-8")
        (listed,) = re.findall(r"host_files = \{(.*?)\};", text, re.S)
        self.assertEqual(tuple(re.findall(r'"(.*?)"', listed)), FILES)


class PaceOfSources(unittest.TestCase):
    """A stream of 1,000 chunks, of which the root gets 20 a second."""

    def setUp(self):
        self.text = {}
        exec(text_of(["relay_pace.py"]), self.text)
        self.pace = self.of(degree=1)

    def of(self, number=1000, degree=1, expected=0):
        return self.text["Pace"](number, degree, expected, 0)

    def first_slow(self, rate, ahead, seconds=10, lag=0, root=lambda now: 20 * now, heard=True):
        """When this host, which gets `rate` chunks a second from a source that is `ahead`, is told
        to leave it; None: not within the time."""
        for tick in range(seconds * 20):
            now = tick / 20
            if heard:
                self.pace.hear(now, min(1000, int(root(now)) + lag))
            have = rate * now
            if self.pace.is_slow(now, have, have + ahead):
                return now
        return None

    def test_as_fast_as_the_root(self):
        self.assertIsNone(self.first_slow(20, 2, lag=30))

    def test_a_little_slower(self):
        self.assertIsNone(self.first_slow(12, 50))

    def test_the_connection_is_slow(self):
        self.assertLessEqual(self.first_slow(2, 3), 1.2)

    def test_the_cause_is_farther_up(self):
        """Those nearer to it have the time of four windows."""
        left = self.first_slow(2, 1)
        self.assertGreaterEqual(left, 2)
        self.assertLessEqual(left, 3)

    def test_children_share_what_a_host_can_send(self):
        """Where all links are alike each of four gets a fourth of what the root gets."""
        self.pace = self.of(degree=4)
        self.assertIsNone(self.first_slow(5, 50))
        self.pace = self.of(degree=4)
        self.assertLessEqual(self.first_slow(1, 50), 1.2)

    def test_the_root_waits_too(self):
        self.assertIsNone(self.first_slow(0, 2, lag=4, root=lambda now: min(now * 20, 3)))

    def test_the_root_had_all(self):
        self.assertIsNone(self.first_slow(1, 50, root=lambda now: 1000))
        self.pace = self.of(expected=20)
        self.assertLessEqual(self.first_slow(1, 50, root=lambda now: 1000), 1.2)

    def test_who_has_not_heard_of_the_root_says_nothing(self):
        self.assertIsNone(self.first_slow(1, 50, root=lambda now: 1000 if now > 1 else 0))

    def test_the_root_has_all_by_now(self):
        self.assertIsNotNone(self.first_slow(
            1, 50, root=lambda now: 400 * now if now < 2.5 else 1000))

    def test_no_word_for_as_long_as_a_chunk_takes(self):
        """The bytes of a large chunk come and come."""
        for now in range(3):
            self.pace.hear(now, 20 * now)
            self.pace.is_slow(now, 20 * now, 20 * now)
        self.assertFalse(self.pace.is_slow(2.4, 40.1, 50))
        self.assertTrue(self.pace.is_slow(3.5, 40.6, 50))

    def test_at_the_end_few_are_lacking(self):
        self.pace.hear(0, 0)
        self.pace.hear(10, 1000)
        self.assertFalse(self.pace.is_slow(10, 997, 1000))


class Addresses(unittest.TestCase):
    FOUND = [("127.0.0.1", 8), ("192.0.2.5", 24), ("192.0.2.6", 24), ("10.0.0.5", 16), ("::1", 128),
             ("fe80::5", 64), ("2001:db8::5", 64)]

    def setUp(self):
        self.text = {}
        exec(text_of(["relay_wire.py", "relay_address.py"]), self.text)

    def of(self, net="", ssh="", found=None):
        self.text["kernel_addresses"] = lambda: list(found or self.FOUND)
        self.text["is_ours"] = lambda address: True
        with mock.patch.dict(os.environ, SSH_CONNECTION="198.51.100.1 1 %s 22" % ssh):
            return self.text["own_addresses"](net)

    def test_the_kernel_s(self):
        found = self.text["kernel_addresses"]()
        self.assertIn(("127.0.0.1", 8), found)
        for address, _ in found:
            self.assertTrue(self.text["is_ours"](address) or address.startswith("fe80"), found)
        self.assertFalse(self.text["is_ours"]("203.0.113.7"))

    def test_all_but_those_that_nobody_reaches(self):
        self.assertEqual(self.of(), ["192.0.2.5/24", "192.0.2.6/24", "10.0.0.5/16",
                                     "2001:db8::5/64"])

    def test_that_of_ssh_first(self):
        self.assertEqual(self.of(ssh="10.0.0.5")[0], "10.0.0.5/16")
        self.assertEqual(self.of(ssh="2001:db8:0::5")[0], "2001:db8::5/64")
        self.assertEqual(self.of(ssh="203.0.113.7")[0], "203.0.113.7/32")
        self.assertEqual(len(self.of(ssh="UNKNOWN")), 4)

    def test_a_net_chooses(self):
        self.assertEqual(self.of("10.0.0.0/8"), ["10.0.0.5/16"])
        self.assertEqual(self.of("2001:db8::/32"), ["2001:db8::5/64"])
        self.assertEqual(self.of("10.0.0.1/8", ssh="192.0.2.5"), ["10.0.0.5/16"])
        self.assertEqual(self.of("127.0.0.0/8", ssh="127.0.0.7"), ["127.0.0.7/8", "127.0.0.1/8"])
        self.assertEqual(self.of("203.0.113.0/24"), [])

    def test_the_loopback_where_there_is_nothing_else(self):
        self.assertEqual(self.of(found=[("127.0.0.1", 8), ("fe80::5", 64)]), ["127.0.0.1/8"])

    def test_sockets_have_one_port(self):
        for net, number in (("127.0.0.0/8", 2), ("", 1)):
            sockets, port = self.text["listen"](["127.0.0.1/8", "127.0.0.9/8"], net)
            try:
                self.assertEqual([one.getsockname()[1] for one in sockets], [port] * number)
            finally:
                for one in sockets:
                    one.close()


if __name__ == "__main__":
    unittest.main()
