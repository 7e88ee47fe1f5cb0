# SPDX-License-Identifier: Apache-2.0
"""Hosts of the run that play foul, on both sides of a connection: nothing of theirs is kept,
nothing hangs, nothing crashes, and all others get their stream. With DS_DEPLOY_LONG=1 for ten
minutes."""
import collections
import contextlib
import json
import os
import pathlib
import random
import socket
import struct
import threading
import time
import unittest

from support.host_side import until
from support.relay_case import RelayCase, Stream
from support.relay_peer import NONE, Parent, connect, frame

LONG = os.environ.get("DS_DEPLOY_LONG") == "1"
SECONDS = 600 if LONG else 6
SEED = int(os.environ.get("DS_DEPLOY_SEED", random.SystemRandom().randrange(10 ** 9)))
CHUNK = 1 << 16


def reset(conn):
    """Ends it as a machine that has lost its memory does."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


class Foul:
    """What a hostile host does next, by chance."""

    def __init__(self, seed, streams):
        self.random, self.streams = random.Random(seed), streams

    def number(self):
        return self.random.choice((0, 1, 2, 3, 7, 255, 65535, 65536, 1 << 20, 1 << 24, 1 << 31,
                                   NONE - 1, NONE, self.random.randrange(1 << 32)))

    def noise(self, most=5000):
        return self.random.randbytes(self.random.randrange(most))

    def pause(self):
        time.sleep(self.random.choice((0, 0, 0.01, 0.1, 0.5, 3.5 if self.random.random() < 0.1
                                       else 0.2)))

    def line(self):
        stream = self.random.choice(self.streams).name
        key = self.random.choice(("want", "want", "want", "give", "have", ""))
        words = self.random.choice((
            {key: stream, "from": self.random.choice((0, 1, 2, 5, 6, -1, 1 << 40, 1.5, None, "0"))},
            {key: stream}, {key: [stream], "from": {}}, {key: "f" * 64, "from": 0},
            [stream], stream, None, {"want": stream, "give": stream, "from": 0}, {key: 7}))
        text = json.dumps(words).encode()
        return self.random.choice((
            text + b"\n", text + b"\n", text + b"\n", text, text * 40 + b"\n", b"\n", b"[" * 300,
            b"[" * 150 + b"\n", b"9" * 180 + b"\n", b"\0" * 50 + b"\n", text[:20] + b"\n" + text,
            text + b"\n" + self.noise(), self.noise(300), b"\xff\xfe\n", b'{"want": NaN}\n'))

    def frames(self, stream, at):
        """A few, the first of them good ones now and then."""
        data, chunks = b"", stream.chunks
        for _ in range(self.random.randrange(1, 6)):
            kind = self.random.randrange(10)
            if kind < 4 and at < len(chunks):
                data += frame(at, chunks[at], self.random.choice((at + 1, len(chunks))),
                              len(chunks))
                at += 1
            elif kind == 4:
                data += frame(NONE, b"", min(at, len(chunks)), self.random.randrange(7))
            elif kind == 5 and at < len(chunks):
                damaged = bytearray(chunks[at])
                damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
                data += frame(at, bytes(damaged), len(chunks), len(chunks))
            elif kind == 6:
                data += struct.pack(">IIII", *(self.number() for _ in range(4)))
            elif kind == 7 and at < len(chunks):
                data += struct.pack(">IIII", at, self.number(), len(chunks), len(chunks))
            elif kind == 8:
                data += frame(self.number(), chunks[-1], len(chunks), self.number())
            else:
                data += self.noise()
        return data if self.random.random() < 0.6 else data[:self.random.randrange(len(data) + 1)]

    def send(self, conn, data):
        """In pieces of all sizes."""
        while data:
            size = self.random.choice((1, 7, 16, 1000, 1 << 14, 1 << 17))
            if size < 16 and self.random.random() < 0.9:
                size = 1 << 17
            conn.sendall(data[:size])
            data = data[size:]

    def end(self, conn):
        kind = self.random.randrange(4)
        if kind == 0:
            reset(conn)
        elif kind == 1:
            self.pause()
        elif kind == 2:
            conn.settimeout(0.3)
            conn.recv(1 << 16)

    def as_source(self, conn, words):
        stream = next(one for one in self.streams if one.name == words["want"])
        for _ in range(self.random.randrange(3)):
            self.send(conn, self.frames(stream, words["from"]))
            self.pause()
        if self.random.random() < 0.1:  # nothing for as long as it is let
            end = time.monotonic() + 4
            while time.monotonic() < end:
                conn.sendall(frame(NONE, b"", 0, len(stream.chunks)))
        self.end(conn)

    def as_client(self, authority, name, host):
        if self.random.random() < 0.2:
            with socket.create_connection((host.address, host.port), 5) as conn:
                conn.sendall(self.noise())
                return self.end(conn)
        with connect(authority, name, host.address, host.port) as conn:
            for _ in range(self.random.randrange(3)):
                self.send(conn, self.line())
            if self.random.random() < 0.3:
                conn.settimeout(0.3)
                conn.recv(1 << 16)
                self.send(conn, self.frames(self.random.choice(self.streams), 0))
            self.end(conn)
        return None


class Fuzz(RelayCase):
    def setUp(self):
        super().setUp()
        print("DS_DEPLOY_SEED=%d" % SEED, end=" ", flush=True)
        self.streams = [Stream(5 * CHUNK + 321, seed, CHUNK) for seed in range(12)]
        self.played = collections.Counter()

    def hammer(self, number, hosts):
        foul = Foul(SEED + number, self.streams[:3])
        while time.monotonic() < self.end:
            self.played["clients"] += 1
            with contextlib.suppress(OSError, ValueError):
                foul.as_client(self.authority, "9", foul.random.choice(hosts))

    def tree_of(self, host):
        return {str(path.relative_to(host.root)) for path in host.root.rglob("*")}

    def one_stage(self, child, stream, sources, honest):
        """From a hostile host, and mostly an honest one too."""
        said = self.threads.submit(child.say, child.child, "stage", **dict(
            self.request(stream, sources), again=True)).result(60)
        self.played["good" if said["ok"] else "cut"] += 1
        if honest:
            self.assert_staged(child, stream, said)
        elif not said["ok"]:
            self.assertTrue(said["relay_failed"], said)
            part = child.part(stream).read_bytes()
            self.assertEqual(part, stream.content[:len(part)])
            self.assertIn(len(part), [min(at * CHUNK, len(stream.content)) for at in range(7)])
        expected = {"releases"}
        for path in (child.root / "releases").iterdir():
            expected.add("releases/" + path.name)
            self.assertIn(path.name.partition(".")[0], {one.release for one in self.streams})
        self.assertEqual({path for path in self.tree_of(child) if path.count("/") < 2}, expected)
        if said["relay"]["bad"]:
            self.assertEqual(said["relay"]["bad"], ["9"])
            self.played["bad"] += 1
            # Its agent asks that host no more: another one does.
            child.port = child.say(child.child, "relay-open", **child.opening)["port"]

    def play(self, child, root, number):
        foul = Foul(SEED + 100 + number, self.streams)
        hostile = Parent(self.authority, "9", foul.as_source)
        try:
            while time.monotonic() < self.end:
                honest = foul.random.random() < 0.7
                self.one_stage(child, foul.random.choice(self.streams),
                               [hostile, root] if honest else [hostile], honest)
        finally:
            hostile.close()

    def test_hostile_hosts(self):
        root, *children = self.hosts(1, 2, 3, seconds=SECONDS + 300)
        for stream in self.streams:
            self.assertTrue(self.feed(root, stream).answer()["ok"])
        agent, self.end = root.agent(), time.monotonic() + SECONDS
        hammers = [threading.Thread(target=self.hammer, args=(number, [root, *children]))
                   for number in range(3)]
        for hammering in hammers:
            hammering.start()
        games = [self.threads.submit(self.play, child, root, number)
                 for number, child in enumerate(children)]
        for game in games:
            game.result(SECONDS + 120)
        for hammering in hammers:
            hammering.join()
        self.assertEqual(root.agent(), agent)
        for host in (root, *children):
            status = pathlib.Path("/proc/%d/status" % host.agent())
            self.assertTrue(until(lambda: "\nThreads:\t2\n" in status.read_text(), 40),
                            status.read_text())
            self.assertLess(self.moved(host)["peak_kb"], 64 << 10)
        self.assertGreater(min(self.played[what] for what in ("clients", "good", "cut")), 3,
                           self.played)


if __name__ == "__main__":
    unittest.main()
