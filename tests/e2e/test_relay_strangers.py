# SPDX-License-Identifier: Apache-2.0
"""Who is no host of the run changes nothing, and hosts with wrong clocks are hosts of it."""
import json
import shutil
import socket
import subprocess
import threading
import time
import unittest

from support.host_side import TEMPLATES, until
from support.relay_authority import Authority
from support.relay_case import RelayCase, Stream
from support.relay_peer import Parent, connect, giving, read_frame

SIZE = 8 << 20
CC = shutil.which("cc")
SUPPORT = TEMPLATES.parent / "tests" / "support"


class Recorder:
    """Between a child and its parent; keeps what the child said."""

    def __init__(self, address, port):
        self.there, self.said = (address, port), b""
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        child, _ = self.listening.accept()
        with child, socket.create_connection(self.there) as parent:
            back = threading.Thread(target=self.copy, args=(parent, child))
            back.start()
            self.copy(child, parent, keep=True)
            back.join()

    def copy(self, source, target, keep=False):
        try:
            for data in iter(lambda: source.recv(1 << 16), b""):
                self.said += data if keep else b""
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listening.close()


def ended(conn, seconds):
    """Whether the other side closes it within that time, without a byte of application data."""
    conn.settimeout(seconds)
    try:
        return conn.recv(1) == b""
    except socket.timeout:
        return False
    except OSError:
        return True


class Strangers(RelayCase):
    def setUp(self):
        super().setUp()
        self.stream = Stream(SIZE)
        self.root, self.child = self.hosts(1, 2)

    def want(self, first=0):
        return json.dumps({"want": self.stream.name, "from": first}).encode() + b"\n"

    def assert_works(self):
        said = self.stage(self.child, self.stream, [self.root]).result(60)
        self.assert_staged(self.child, self.stream, said)
        self.assertEqual(self.moved(self.root)["out"], {self.child.id: SIZE})

    def assert_refused(self, authority, name, said):
        with self.assertRaisesRegex(OSError, said):
            with connect(authority, name, self.root.address, self.root.port) as conn:
                conn.sendall(self.want())
                self.assertEqual(conn.recv(1), b"")
                raise OSError("it closed the connection")

    def test_without_a_certificate_or_with_one_of_another_run(self):
        self.feed(self.root, self.stream).answer()
        self.assert_refused(self.authority, None, "certificate required|closed")
        other = Authority(self.folder / "other")
        other.certificate = self.authority.certificate  # so that this side does not refuse
        self.assert_refused(other, "2", "unknown ca|decrypt error|closed")
        for name in ("nobody", "-1", "1234567890"):
            with self.subTest(name):
                self.assert_refused(self.authority, name, "closed")
        self.assert_works()

    def test_another_host_of_the_run_in_a_source_s_place(self):
        self.feed(self.root, self.stream).answer()
        other = Parent(self.authority, "7", giving(self.stream.chunks))
        self.addCleanup(other.close)
        other.peer["id"] = "8"
        said = self.stage(self.child, self.stream, [other, self.root]).result(60)
        self.assert_staged(self.child, self.stream, said)
        self.assertEqual(said["relay"]["left"],
                         [{"id": "8", "why": "another host of this run answered"}])
        self.assert_got_once(self.stream, said, self.root)

    def test_a_source_of_another_run(self):
        self.feed(self.root, self.stream).answer()
        other = Parent(Authority(self.folder / "other"), "7", giving(self.stream.chunks))
        self.addCleanup(other.close)
        said = self.stage(self.child, self.stream, [other, self.root]).result(60)
        self.assert_staged(self.child, self.stream, said)
        self.assertIn("CERTIFICATE_VERIFY_FAILED", said["relay"]["left"][0]["why"])

    def test_what_a_peer_may_not_ask(self):
        self.feed(self.root, self.stream).answer()
        for words in ({"want": "0" * 64, "from": 0}, {"want": self.stream.name, "from": 9},
                      {"want": self.stream.name, "from": -1}, {"want": "../etc", "from": 0},
                      {"want": self.stream.name, "from": True}, {"give": self.stream.name}):
            with self.subTest(words), connect(self.authority, "5", self.root.address,
                                              self.root.port) as conn:
                conn.sendall(json.dumps(words).encode() + b"\n")
                if words.get("want") == "0" * 64:  # perhaps it is told of it yet
                    self.assertEqual(read_frame(conn), (0xffffffff, 0, 0, b""))
                else:
                    self.assertTrue(ended(conn, 5))
        self.assert_works()

    def test_replayed(self):
        """All that a host of the run said, said again by a stranger."""
        self.feed(self.root, self.stream).answer()
        recorder = Recorder(self.root.address, self.root.port)
        self.addCleanup(recorder.close)
        source = self.not_at(self.root)
        source.peer.update(port=recorder.port, addresses=["127.0.0.1"])
        said = self.stage(self.child, self.stream, [source]).result(60)
        self.assert_staged(self.child, self.stream, said)
        self.assertGreater(len(recorder.said), 500)
        with socket.create_connection((self.root.address, self.root.port)) as conn:
            conn.sendall(recorder.said)
            heard = b""
            conn.settimeout(5)
            try:
                for data in iter(lambda: conn.recv(1 << 16), b""):
                    heard += data
            except ConnectionResetError:
                pass
        self.assertLess(len(heard), 4096)  # its part of a handshake
        moved = self.moved(self.root)
        self.assertEqual((moved["out"], moved["refused"]), ({self.child.id: SIZE}, 1))

    def test_silent_ones_are_put_out(self):
        self.feed(self.root, self.stream).answer()
        began = time.monotonic()
        silent = socket.create_connection((self.root.address, self.root.port))
        half = connect(self.authority, "5", self.root.address, self.root.port)
        half.sendall(b'{"want": ')
        for conn in (silent, half):
            self.assertTrue(ended(conn, 10))
            conn.close()
        self.assertLess(time.monotonic() - began, 8)
        self.assert_works()

    def test_a_flood(self):
        """Of connections that say nothing, from an address of their own, faster than they are put
        out."""
        over, opened = threading.Event(), []

        def flood():
            while not over.is_set():
                conn = socket.socket()
                conn.bind(("127.0.0.200", 0))
                conn.settimeout(1)
                try:
                    conn.connect((self.root.address, self.root.port))
                except OSError:
                    conn.close()
                    continue
                opened.append(conn)
                if len(opened) > 200:
                    opened.pop(0).close()
                time.sleep(0.002)
        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            self.assertTrue(until(lambda: len(opened) > 100, 20))
            feed = self.feed(self.root, self.stream, rate=8 << 20)
            answer = self.stage(self.child, self.stream, [self.root])
            self.assert_staged(self.root, self.stream, feed.answer())
            self.assert_staged(self.child, self.stream, answer.result(60))
        finally:
            over.set()
            flooding.join()
            for conn in opened:
                conn.close()
        moved = self.moved(self.root)
        self.assertEqual(moved["out"], {self.child.id: SIZE})
        self.assertLess(moved["peak_kb"], 64 << 10)
        self.assertGreater(moved["refused"], 100)


@unittest.skipUnless(CC, "no cc")
class WrongClocks(RelayCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.library = cls.shared / "libwrong_clock.so"
        subprocess.run([CC, "-shared", "-fPIC", "-O1", "-o", str(cls.library),
                        str(SUPPORT / "wrong_clock.c"), "-ldl"], check=True)

    def at(self, number, seconds):
        (host,) = self.hosts(number, within=("LD_PRELOAD=%s" % self.library,
                                             "CLOCK_SECONDS=%d" % seconds))
        return host

    def test_hosts_of_1971_and_2106_and_today(self):
        stream = Stream(SIZE)
        first, second, (third,) = self.at(1, 4300000000), self.at(2, 40000000), self.hosts(3)
        answers = [self.stage(second, stream, [first]), self.stage(third, stream, [second])]
        self.feed(first, stream).answer()
        self.assert_staged(second, stream, answers[0].result(60))
        self.assert_staged(third, stream, answers[1].result(60))

    def test_that_their_clocks_are_wrong(self):
        """With dates as others have them they would refuse each other."""
        self.authority = Authority(self.folder / "dated", ("20200101000000Z", "20400101000000Z"))
        stream = Stream(SIZE)
        (first,), second = self.hosts(1), self.at(2, 40000000)
        self.feed(first, stream).answer()
        said = self.stage(second, stream, [first]).result(60)
        self.assertFalse(said["ok"])
        self.assertIn("CERTIFICATE_VERIFY_FAILED", said["problem"])


if __name__ == "__main__":
    unittest.main()
