# SPDX-License-Identifier: Apache-2.0
"""Hosts that pass a stream on: real programs of hosts and their agents, over TLS on 127.0.0.0/8."""
import ctypes
import os
import pathlib
import signal
import socket
import time
import unittest

from support.host_side import is_gone, sha256_of, until
from support.relay_case import CHUNK, RelayCase, RelayHost, SshdHost, Stream
from support.relay_peer import Parent, giving

SIZE = 12 << 20


class Trees(RelayCase):
    """Six hosts and 30 MB."""

    def assert_tree(self, parents):
        """{host: its parent}, the root first with none."""
        stream = Stream(30 << 20)
        hosts = dict(zip(parents, self.hosts(*parents)))
        answers = {number: self.stage(hosts[number], stream, [hosts[parent]])
                   for number, parent in parents.items() if parent}
        root = next(iter(parents))
        said = self.feed(hosts[root], stream).answer()
        self.assert_staged(hosts[root], stream, said)
        self.assertEqual(said["relay"]["in"], {})
        for number, answer in answers.items():
            self.assert_staged(hosts[number], stream, answer.result(60))
            self.assert_got_once(stream, answer.result(), hosts[parents[number]])
        for number, host in hosts.items():
            children = [str(child) for child, parent in parents.items() if parent == number]
            self.assertEqual(self.moved(host)["out"], {child: 30 << 20 for child in children})

    def test_along_a_chain(self):
        self.assert_tree({1: None, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5})

    def test_down_a_tree(self):
        self.assert_tree({1: None, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3})


class PassedOn(RelayCase):
    def setUp(self):
        super().setUp()
        self.stream = Stream(SIZE)

    def test_one_short_chunk_and_one_that_ends_with_the_stream(self):
        first, second = self.hosts(1, 2)
        for seed, size in ((2, 1000), (3, 2 * CHUNK)):
            stream = Stream(size, seed)
            answer = self.stage(second, stream, [first])
            self.assert_staged(first, stream, self.feed(first, stream).answer())
            self.assert_staged(second, stream, answer.result(20))

    def test_who_is_told_late_is_waited_for(self):
        first, second, third = self.hosts(1, 2, 3)
        last = self.stage(third, self.stream, [second])
        time.sleep(0.5)
        middle = self.stage(second, self.stream, [first])
        time.sleep(0.5)
        self.feed(first, self.stream).answer()
        self.assert_got_once(self.stream, last.result(60), second)
        self.assert_got_once(self.stream, middle.result(), first)

    def test_more_children_than_the_tree_has(self):
        """Four more are served; another one finds another source."""
        (root,) = self.hosts(1, degree=1)
        children = self.hosts(2, 3, 4, 5, 6, 7)
        feed = self.feed(root, self.stream)
        answers = [self.stage(child, self.stream, [root, children[0], children[1]])
                   for child in children]
        feed.upto(SIZE // 2)
        self.assertTrue(until(lambda: all(child.has(self.stream) for child in children), 30))
        feed.answer()
        sources = [set(answer.result(60)["relay"]["in"]) for answer in answers]
        self.assertLess(sum(source == {root.id} for source in sources), 6, sources)
        for child, answer in zip(children, answers):
            self.assert_staged(child, self.stream, answer.result())
            self.assertEqual(sum(answer.result()["relay"]["in"].values()), SIZE)

    def test_at_most_so_many_bytes_a_second(self):
        first, second = self.hosts(1, 2)
        stream = Stream(4 << 20, 4)
        answer = self.stage(second, stream, [first])
        began = time.monotonic()
        self.feed(first, stream, bytes_per_second=2 << 20).answer()
        self.assert_staged(second, stream, answer.result(30))
        self.assertGreater(time.monotonic() - began, 1.8)

    def test_a_parent_that_cannot_be_reached_calls(self):
        first, second = self.hosts(1, 2)
        answer = self.stage(second, self.stream, [self.not_at(first, calls=True)])
        self.feed(first, self.stream, calls=[second]).answer()
        self.assert_staged(second, self.stream, answer.result(60))
        self.assert_got_once(self.stream, answer.result(), first)

    def test_a_call_of_the_nearer_parent_ends_the_way_round(self):
        first, second, third = self.hosts(1, 2, 3)
        last = self.stage(third, self.stream, [self.not_at(second), first])
        middle = self.stage(second, self.stream, [first], calls=[third])
        self.feed(first, self.stream, rate=3 << 20).answer()
        self.assert_staged(third, self.stream, last.result(60))
        self.assertEqual(set(last.result()["relay"]["in"]), {first.id, second.id})
        self.assertEqual(sum(last.result()["relay"]["in"].values()), SIZE)
        self.assertTrue(middle.result()["ok"])


class Killed(RelayCase):
    def kill_at(self, percent):
        """The second of a chain of four is killed; those behind it go on elsewhere, each at its own
        next chunk."""
        stream = Stream(30 << 20)
        first, second, third, fourth = self.hosts(1, 2, 3, 4)
        feed = self.feed(first, stream)
        self.stage(second, stream, [first])
        answers = [self.stage(third, stream, [second, first]),
                   self.stage(fourth, stream, [third, second, first])]
        size = (30 << 20) * percent // 100
        feed.upto(size)
        whole = size // CHUNK * CHUNK
        self.assertTrue(until(lambda: third.has(stream) >= whole, 30))
        second.kill()
        feed.answer()
        third_said, fourth_said = [answer.result(60) for answer in answers]
        self.assert_staged(third, stream, third_said)
        self.assert_staged(fourth, stream, fourth_said)
        self.assert_got_once(stream, third_said, *([second, first] if whole else [first]))
        self.assert_got_once(stream, fourth_said, third)
        self.assertEqual(third_said["relay"]["in"].get(second.id, 0), whole)

    def test_at_0_percent(self):
        self.kill_at(0)

    def test_at_50_percent(self):
        self.kill_at(50)

    def test_at_99_percent(self):
        self.kill_at(99)


class SourcesLost(RelayCase):
    def setUp(self):
        super().setUp()
        self.stream = Stream(SIZE)

    def test_one_that_corrupts_is_named_and_cut_out(self):
        def alter(at, content):
            return content[:-1] + bytes([content[-1] ^ 1]) if at % 10 == 9 else content
        liar = Parent(self.authority, "9", giving(self.stream.chunks, alter))
        self.addCleanup(liar.close)
        first, second, third = self.hosts(1, 2, 3)
        self.feed(first, self.stream).answer()
        last = self.stage(third, self.stream, [second])
        said = self.stage(second, self.stream, [liar, first]).result(60)
        self.assert_staged(second, self.stream, said)
        self.assertEqual(said["relay"]["bad"], ["9"])
        self.assertEqual(said["relay"]["in"], {"9": 9 * CHUNK, "1": SIZE - 9 * CHUNK})
        self.assertEqual([heard["from"] for heard in liar.heard], [0])
        self.assertEqual(last.result(60)["relay"]["bad"], [])
        self.assert_staged(third, self.stream, last.result())

        again = Stream(SIZE, 5)  # of the same run
        liar.act = giving(again.chunks)
        self.feed(first, again).answer()
        said = self.stage(second, again, [liar, first]).result(60)
        self.assert_staged(second, again, said)
        self.assertEqual(len(liar.heard), 1)

    def test_a_slow_one_is_routed_around(self):
        first, second, third = self.hosts(1, 2, 3)
        middle = self.stage(second, self.stream, [first], bytes_per_second=400_000)
        last = self.stage(third, self.stream, [second, first])
        began = time.monotonic()
        self.feed(first, self.stream, rate=15 << 20).answer()
        said = last.result(60)
        self.assertLess(time.monotonic() - began, 20)
        self.assert_staged(third, self.stream, said)
        self.assertEqual(sum(said["relay"]["in"].values()), SIZE)
        (left,) = said["relay"]["left"]
        self.assertEqual(left["id"], second.id)
        self.assertIn("it was too slow", left["why"])
        self.assertTrue(middle.result()["ok"])

    def test_silence(self):
        hung = Parent(self.authority, "9", lambda conn, words: time.sleep(8))
        self.addCleanup(hung.close)
        first, second = self.hosts(1, 2)
        self.feed(first, self.stream).answer()
        said = self.stage(second, self.stream, [hung, first]).result(60)
        self.assert_staged(second, self.stream, said)
        self.assertEqual(said["relay"]["left"], [{"id": "9", "why": "nothing came for 3 s"}])

    def test_all_gone_and_the_rest_by_ssh(self):
        """What has come stays; the coordinator sends the rest, and it is passed on."""
        first, second, third = self.hosts(1, 2, 3)
        feed = self.feed(first, self.stream)
        answers = [self.stage(second, self.stream, [first]),
                   self.stage(third, self.stream, [second])]
        half = SIZE // 2
        feed.upto(half)
        self.assertTrue(until(lambda: third.has(self.stream) == half, 30))
        first.kill()
        for answer, host in zip(answers, (second, third)):
            said = answer.result(60)
            self.assertEqual((said["ok"], said["relay_failed"]), (False, True), said)
            self.assertIn("no other host could give the wheel: no source is left; host ",
                          said["problem"])
            self.assertEqual(host.has(self.stream), half)
        facts = second.say(second.child, "lacking", **self.stream.request)["part"]
        self.assertEqual(facts, {"bytes": half, "sha256": sha256_of(self.stream.content[:half])})
        last = self.stage(third, self.stream, [second])
        request = dict(self.request(self.stream), kept=facts)
        feed.__init__(second, self.stream, request)
        self.assert_staged(second, self.stream, feed.answer())
        self.assert_staged(third, self.stream, last.result(60))
        self.assert_got_once(self.stream, last.result(), second)

    def test_an_agent_that_dies(self):
        """Its own host says so, and can be sent the rest without one."""
        first, second = self.hosts(1, 2)
        feed = self.feed(first, self.stream)
        answer = self.stage(second, self.stream, [first])
        feed.upto(SIZE // 2)
        self.assertTrue(until(lambda: second.has(self.stream) >= SIZE // 2, 30))
        os.kill(second.agent(), signal.SIGKILL)
        said = answer.result(20)
        self.assertEqual((said["relay_failed"], said["relay"]), (True, None))
        self.assertIn("the relay agent has ended", said["problem"])
        os.kill(first.agent(), signal.SIGKILL)
        said = feed.answer()
        self.assertEqual((said["ok"], said["relay"]), (True, None))
        facts = second.say(second.child, "lacking", **self.stream.request)["part"]
        feed.__init__(second, self.stream, dict(self.request(self.stream), kept=facts))
        self.assertTrue(feed.answer()["ok"])
        self.assertTrue(second.staged(self.stream))

    def test_a_full_disk(self):
        """Its children get all from another one; it says what is wrong and takes no more space."""
        first, third = self.hosts(1, 3)
        (second,) = self.hosts(2, within=("prlimit", "--fsize=%d" % (SIZE // 3)))
        answers = [self.stage(second, self.stream, [first]),
                   self.stage(third, self.stream, [second, first])]
        self.feed(first, self.stream, rate=15 << 20).answer()
        said = answers[0].result(60)
        self.assertEqual(said["problem"], "File too large: %s" % second.part(self.stream))
        self.assertFalse(said["ok"] or "relay_failed" in said)
        self.assertEqual(list((second.root / "releases").iterdir()), [])
        self.assert_staged(third, self.stream, answers[1].result(60))
        self.assert_got_once(self.stream, answers[1].result(), second, first)
        descriptors = pathlib.Path("/proc/%d/fd" % second.agent())
        self.assertTrue(until(lambda: not [fd for fd in descriptors.iterdir()
                                           if ".part" in os.readlink(fd)], 5))


class Ends(RelayCase):
    def setUp(self):
        super().setUp()
        self.stream = Stream(SIZE)

    def test_with_the_coordinator_and_resume(self):
        """What was verified stays, and is not sent again."""
        first, second = self.hosts(1, 2)
        feed = self.feed(first, self.stream)
        self.stage(second, self.stream, [first])
        half = SIZE // 2
        feed.upto(half)
        self.assertTrue(until(lambda: second.has(self.stream) == half, 30))
        agents = [first.agent(), second.agent()]
        for host, agent in ((second, agents[1]), (first, agents[0])):
            host.child.stdin.close()
            self.assertTrue(until(lambda: is_gone(agent), 5))
            host.child.wait(5)
            self.assertEqual(host.part(self.stream).read_bytes(), self.stream.content[:half])
        first, second = self.hosts(1, 2)
        answer = self.stage(second, self.stream, [first])
        kept = {"bytes": half, "sha256": sha256_of(self.stream.content[:half])}
        feed.__init__(first, self.stream, dict(self.request(self.stream), kept=kept))
        self.assert_staged(first, self.stream, feed.answer())
        self.assert_staged(second, self.stream, answer.result(60))
        self.assertEqual(answer.result()["relay"]["in"], {first.id: SIZE - half})

    def test_with_the_client_s_end_of_an_sshd(self):
        (first,), second = self.hosts(1), SshdHost(self, 2)
        self.feed(first, self.stream).upto(SIZE // 2)
        self.stage(second, self.stream, [first])
        self.assertTrue(until(lambda: second.has(self.stream) == SIZE // 2, 30))
        agent = second.agent()
        second.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(until(lambda: is_gone(agent), 5))

    def test_what_was_changed_meanwhile_is_fetched_anew(self):
        first, second = self.hosts(1, 2)
        self.feed(first, self.stream).answer()
        second.part(self.stream).parent.mkdir(parents=True)
        damaged = bytearray(self.stream.content[:SIZE // 2])
        damaged[5 * CHUNK] ^= 1
        second.part(self.stream).write_bytes(damaged)
        said = self.stage(second, self.stream, [first]).result(60)
        self.assert_staged(second, self.stream, said)
        self.assertEqual(said["relay"]["in"], {first.id: SIZE - 5 * CHUNK})

    def test_a_damaged_chunk_is_not_passed_on(self):
        """What a disk, or a later run, did to it."""
        first, second = self.hosts(1, 2)
        feed = self.feed(first, self.stream)
        feed.upto(SIZE // 2)
        self.assertTrue(until(lambda: first.has(self.stream) == SIZE // 2, 30))
        with open(first.part(self.stream), "r+b") as part:
            part.seek(5 * CHUNK)
            part.write(b"damage")
        said = self.stage(second, self.stream, [first]).result(60)
        self.assertEqual((said["relay_failed"], said["relay"]["bad"]), (True, []))
        self.assertEqual(said["relay"]["in"], {first.id: 5 * CHUNK})

    def test_with_its_program(self):
        (host,) = self.hosts(1)
        host.kill()

    def test_when_its_time_is_over(self):
        (host,) = self.hosts(1, seconds=1)
        agent = host.agent()
        self.assertTrue(until(lambda: is_gone(agent), 5))
        said = host.say(host.child, "stage", **self.request(self.stream, [host]))
        self.assertEqual((said["ok"], said["relay_failed"]), (False, True))
        self.assertEqual(host.say(host.child, "relay-close"), {"relay": None, "ok": True})

    def test_when_it_is_closed_or_opened_anew(self):
        (host,) = self.hosts(1)
        agent = host.agent()
        self.assertGreater(host.say(host.child, "relay-open", **host.opening)["port"], 0)
        self.assertTrue(is_gone(agent))
        agent = host.agent()
        host.say(host.child, "relay-close")
        self.assertTrue(is_gone(agent))

    def test_no_time_without_a_chunk(self):
        first, second = self.hosts(1, 2)
        self.feed(first, self.stream).upto(CHUNK)
        said = self.stage(second, self.stream, [first], stall_seconds=2).result(20)
        self.assertIn("no chunk came for 2 s", said["problem"])
        self.assertTrue(said["relay_failed"])
        (third,) = self.hosts(3)
        said = self.stage(third, self.stream, [first], seconds=2).result(20)
        self.assertIn("its time was over", said["problem"])


class Opening(RelayCase):
    def test_its_priority_is_the_lowest(self):
        (host,) = self.hosts(1)
        agent = host.agent()
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, agent), 19)
        number = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
        self.assertEqual(ctypes.CDLL(None).syscall(number, 1, agent) >> 13, 3)

    def test_no_key_is_in_a_file_or_a_command_line(self):
        (host,) = self.hosts(1)
        process = pathlib.Path("/proc/%d" % host.agent())
        self.assertNotIn(b"PRIVATE", (process / "cmdline").read_bytes())
        self.assertNotIn(b"PRIVATE", (process / "environ").read_bytes())
        links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        self.assertEqual([link for link in links
                          if not link.startswith(("socket:", "/dev/null", "pipe:"))], [])

    def test_why_a_host_cannot(self):
        cases = {"in 203.0.113.0/24": {"relay_net": "203.0.113.0/24"},
                 "no os.memfd_create()": {"agent": "import os; del os.memfd_create\n"},
                 "has no TLS 1.3": {"agent": "import ssl; ssl.HAS_TLSv1_3 = False\n"},
                 "agent has ended": {"agent": "raise SystemExit\n"},
                 "key values mismatch": {"key": self.authority.texts("2")["key"]}}
        (good,) = self.hosts(1)
        for number, (said, opening) in enumerate(cases.items(), 2):
            if "agent" in opening:
                opening["agent"] += good.opening["agent"]
            with self.subTest(said):
                host = RelayHost(self, number, **opening)
                self.assertEqual((host.opened["ok"], host.opened["port"]), (True, 0))
                self.assertIn(said, host.opened["why"].replace("_", " ").lower()
                              if "mismatch" in said else host.opened["why"])

    def test_addresses(self):
        (host,) = self.hosts(1)
        self.assertEqual(host.opened["addresses"][0], host.address + "/8")
        self.assertIn("127.0.0.1/8", host.opened["addresses"])
        (other,) = self.hosts(2, relay_net="")
        self.assertNotIn("127.0.0.1/8", other.opened["addresses"][1:] if
                         len(other.opened["addresses"]) > 1 else [])


if __name__ == "__main__":
    unittest.main()
