# SPDX-License-Identifier: Apache-2.0
"""What the tests of the relay share: real programs of hosts, each with an address of its own of
this machine, that pass one stream on."""
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import random
import signal
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import types
import unittest

from support.host_side import AGENT, HostSide, is_gone, sha256_of, text_of, until
from support.relay_authority import Authority

CHUNK = 1 << 20


class Stream:
    """A release with one file of `size` random bytes, as a stream, and its chunks."""

    def __init__(self, size, seed=1, chunk=CHUNK):
        self.content, self.chunk = random.Random(seed).randbytes(size), chunk
        self.name = sha256_of(self.content)
        self.release = sha256_of(b"release %d" % seed)
        self.chunks = [self.content[at:at + chunk] for at in range(0, size, chunk)]
        hashes = "".join(map(sha256_of, self.chunks))
        file = {"path": "demo/data", "size": size, "mode": 0o644, "sha256": self.name}
        wheel = {"file": "demo-1.0-py3-none-any.whl", "sha256": self.release, "bytes": size}
        self.request = {
            "run": "run-1", "again": False, "manifest": {"wheel": wheel, "files": [file]},
            "kept": {"bytes": 0, "sha256": sha256_of(b"")},
            "stream": {"bytes": size, "sha256": self.name, "packing": "none", "files": [0, 1]},
            "chunks": {"bytes": chunk, "sha256": hashes}}


class RelayHost(HostSide):
    """One whose program runs; `number` is that in the run, and of its address."""

    def __init__(self, case, number, **opening):
        self.place = case.folder / str(number)
        self.place.mkdir(exist_ok=True)
        if not (self.place / "env").exists():
            subprocess.run(["cp", "-a", str(case.origin), str(self.place / "env")], check=True)
        super().__init__(self.place)
        self.id, self.address = str(number), "127.0.0.%d" % (10 + number)
        self.child = self.open(["env", "SSH_CONNECTION=127.0.0.9 1 %s 22" % self.address,
                                *opening.pop("within", ())])
        case.addCleanup(self.end)
        self.opening = dict({"agent": text_of(AGENT), "relay_net": "127.0.0.0/8", "degree": 2,
                             "seconds": 120}, **case.authority.texts(self.id))
        self.opening.update(opening)
        self.opened = self.say(self.child, "relay-open", **self.opening)
        self.port = self.opened.get("port")
        self.peer = {"id": self.id, "port": self.port, "addresses": [self.address]}

    def end(self):
        self.child.kill()
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        self.close(self.child)

    def agent(self):
        """Its process."""
        path = "/proc/%d/task/%d/children" % (self.child.pid, self.child.pid)
        (pid,) = map(int, pathlib.Path(path).read_text().split())
        return pid

    def kill(self):
        """As if the machine were gone; its agent goes with it."""
        agent = self.agent()
        os.kill(self.child.pid, signal.SIGKILL)
        self.child.wait()
        assert until(lambda: is_gone(agent), 3)

    def part(self, stream):
        return self.root / "releases" / (stream.release + ".part")

    def has(self, stream):
        """Bytes of the stream."""
        try:
            return self.part(stream).stat().st_size
        except FileNotFoundError:
            return 0

    def staged(self, stream):
        path = self.root / "releases" / stream.release / "demo" / "data"
        with open(path, "rb") as content:
            return hashlib.sha256(content.read()).hexdigest() == stream.name


class SshdHost(RelayHost):
    """As sshd(8) starts it: input and output are one socket, of which the client ends one half."""

    def open(self, within=()):
        self.socket, there = socket.socketpair()
        words = [*within, str(self.prefix / "bin/python"), "-I", "-B", "-c",
                 "import sys; exec(sys.stdin.buffer.read(%d))" % len(self.program.encode())]
        with there:
            child = subprocess.Popen(words, stdin=there, stdout=there, stderr=subprocess.PIPE)
        child.stdin, child.stdout = self.socket.makefile("wb"), self.socket.makefile("rb")
        child.stdin.write(self.program.encode())
        return child

    def end(self):
        super().end()
        self.socket.close()


class Feed:
    """A root's stdin: the request, and the stream as far as the test lets it come."""

    def __init__(self, host, stream, request, rate=None):
        self.host, self.stream, self.rate, self.at = host, stream, rate, request["kept"]["bytes"]
        line = json.dumps(dict(request, phase="stage", nonce="NONCE")).encode() + b"\n"
        host.child.stdin.write(line)
        host.child.stdin.flush()

    def upto(self, end):
        while self.at < end:
            piece = self.stream.content[self.at:min(end, self.at + (1 << 18))]
            self.host.child.stdin.write(piece)
            self.host.child.stdin.flush()
            self.at += len(piece)
            if self.rate:
                time.sleep(len(piece) / self.rate)

    def answer(self):
        self.upto(len(self.stream.content))
        for line in self.host.child.stdout:
            if line.startswith(b"NONCE "):
                return json.loads(line.decode().partition(" ")[2])
        raise AssertionError(self.host.child.stderr.read().decode())


class RelayCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.authority = Authority(cls.shared / "authority")
        cls.origin = cls.shared / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(cls.origin)], check=True)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test."))
        self.addCleanup(self.remove_folder)
        self.threads = concurrent.futures.ThreadPoolExecutor(32)
        self.addCleanup(self.threads.shutdown, wait=False)

    def remove_folder(self):
        subprocess.run(["chmod", "-R", "u+w", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def hosts(self, *numbers, **opening):
        made = list(self.threads.map(lambda number: RelayHost(self, number, **opening), numbers))
        for host in made:
            self.assertGreater(host.port or 0, 0, host.opened)
        return made

    @staticmethod
    def request(stream, sources=(), calls=(), **more):
        relay = {"sources": [source.peer for source in sources],
                 "calls": [child.peer for child in calls], "bytes_per_second": 0,
                 "expected_bytes_per_second": 0, "seconds": 60, "stall_seconds": 20}
        relay.update(more)
        return dict(stream.request, relay=relay)

    def stage(self, host, stream, sources, **more):
        """A future answer."""
        return self.threads.submit(host.say, host.child, "stage",
                                   **self.request(stream, sources, **more))

    def feed(self, host, stream, rate=None, **more):
        return Feed(host, stream, self.request(stream, **more), rate)

    def assert_staged(self, host, stream, answer):
        self.assertTrue(answer["ok"], answer)
        self.assertTrue(host.staged(stream))
        self.assertLess(answer["relay"]["peak_kb"], 64 << 10)

    def assert_got_once(self, stream, answer, *sources):
        """Every chunk came once, from these."""
        came = answer["relay"]["in"]
        self.assertEqual(set(came), {source.id for source in sources}, answer)
        self.assertEqual(sum(came.values()), len(stream.content))

    def moved(self, host):
        """What its agent says at the end."""
        answer = host.say(host.child, "relay-close")
        self.assertTrue(answer["ok"], answer)
        return answer["relay"]

    @staticmethod
    def not_at(host, **more):
        """What others are told of it where they cannot connect to it."""
        return types.SimpleNamespace(id=host.id, peer=dict(host.peer, port=1, **more))
