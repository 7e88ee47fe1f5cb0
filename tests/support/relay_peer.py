# SPDX-License-Identifier: Apache-2.0
"""A peer of relay agents that tests play: with a certificate of the run, and manners of their own.
The protocol is written down in templates/relay_wire.py; this is another reading of it."""
import contextlib
import json
import socket
import ssl
import struct
import threading
import time

NONE = 0xffffffff


def context_of(authority, name, server=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.certificate)
    if name is not None:
        context.load_cert_chain(*map(str, authority.files(name)))
    return context


def connect(authority, name, address, port, seconds=5):
    """As that host of the run; None: with no certificate."""
    plain = socket.create_connection((address, port), seconds)
    return context_of(authority, name).wrap_socket(plain)


def frame(at, content, have, root):
    return struct.pack(">IIII", at, len(content), have, root) + content


def exactly(conn, size):
    data = b""
    while len(data) < size:
        more = conn.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def read_frame(conn):
    """(index, have, root, bytes)"""
    at, length, have, root = struct.unpack(">IIII", exactly(conn, 16))
    return at, have, root, exactly(conn, length)


class Parent:
    """Listens on 127.0.0.1; `act(conn, words)` is what it does with each child, in a thread."""

    def __init__(self, authority, name, act):
        self.id, self.act, self.heard = name, act, []
        self.context = context_of(authority, name, server=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.peer = {"id": name, "port": self.port, "addresses": ["127.0.0.1"]}
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self.listening.accept()
                threading.Thread(target=self.meet, args=(plain,), daemon=True).start()

    def meet(self, plain):
        with contextlib.suppress(OSError, ValueError, EOFError):
            with self.context.wrap_socket(plain, server_side=True) as conn:
                conn.settimeout(20)
                line = b""
                while not line.endswith(b"\n"):
                    line += exactly(conn, 1)
                self.heard.append(json.loads(line))
                self.act(conn, self.heard[-1])

    def close(self):
        self.listening.close()


def giving(chunks, alter=lambda at, content: content, rate=None, most=None):
    """What a parent does that has all chunks: `alter`s them, at `rate` bytes a second, and closes
    after `most`."""
    def act(conn, words):
        for at in range(words["from"], len(chunks))[:most]:
            data = frame(at, alter(at, chunks[at]), len(chunks), len(chunks))
            for place in range(0, len(data), 1 << 14):
                conn.sendall(data[place:place + (1 << 14)])
                if rate:
                    time.sleep((1 << 14) / rate)
        if most is None:
            with contextlib.suppress(OSError):
                conn.recv(1)
    return act
