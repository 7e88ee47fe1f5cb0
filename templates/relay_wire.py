# SPDX-License-Identifier: Apache-2.0
# The relay agent: a process beside host.py that takes a run's streams from other hosts of the run
# and passes them on while they arrive. relay_wire.py, relay_store.py, relay_pace.py,
# relay_serve.py, relay_fetch.py, relay_address.py and relay_agent.py are one program, in this
# order, for Python 3.8 or later and its standard library; host.py sends it to a new interpreter,
# see relay.py.
#
# What two agents say to each other
# ---------------------------------
# TLS 1.3 over TCP. Each shows a certificate of the run's own authority whose common name is the
# number of its host in the run; who connects also holds it against the number that it looks for.
# There are no tickets, so that each connection proves anew that both have their keys. A child takes
# a stream, a parent gives it.
#
# Who connects says one line of JSON, at most 200 bytes:
#     {"want": STREAM, "from": CHUNK}   a child: give me STREAM (its SHA-256) from CHUNK on
#     {"give": STREAM}                  a parent, to a child that could not connect to it. The
#                                       child answers with the line above, or closes
# From then on the child is silent, and the parent sends frames: a header of four numbers of 32 bits
# (network order) and the bytes of a chunk:
#     chunk    its index; 0xffffffff: none, while there is nothing to send
#     length   of the bytes that follow: what the list of chunks says of this one; without one 0
#     have     so many chunks the parent has; without a chunk no more than the child has
#     root     so many the root of the tree has, as far as the parent has heard
# Chunks come in order and without a gap. A frame comes at least every half second, or bytes of one.
# Either side may close at any time; the child goes on elsewhere, at its next chunk.
#
# What a peer cannot do
# ---------------------
# The list of chunks comes over SSH, so sizes and hashes are known before a peer says a word: a
# frame that is not the expected one ends the connection, and a chunk is written, and passed on,
# only when its SHA-256 is right. Who sends a wrong one is named to the coordinator and not asked
# again. `have` and `root` only help to choose a source, and each source is left at most once
# because it is slow. A peer has one connection as a child; there are as many children as the tree
# has, and four more. A stranger gets no further than the handshake: 3 s, 16 at one time, and of one
# more the oldest of the address that has the most goes. Lines are due within 3 s; silence of 3 s
# ends a transfer, as does a child that takes nothing for 10 s, and a chunk has 10 s and one for
# each 64 KiB.
import contextlib
import json
import os
import re
import select
import socket
import ssl
import struct
import threading
import time

HEADER = struct.Struct(">IIII")
NO_CHUNK = 0xffffffff
MOST_LINE = 200
GREETING = 3     # seconds for a handshake, and for a line
SILENCE = 3      # without a byte, and the source is gone
ALIVE = 0.4      # how often a parent shows that it is there
CONNECTING = 2   # seconds until an address is given up
STAGGER = 0.2    # until the next address is tried too
TAKING = 10      # seconds in which a child takes something of what it is sent
PIECE = 1 << 18  # bytes that are read and sent at one time

HOST_NUMBER = re.compile(r"^[0-9]{1,9}$")
STREAM_NAME = re.compile(r"^[0-9a-f]{64}$")


class Broken(Exception):
    """A connection is of no more use; the text says why."""


def tls_contexts(authority, certificate, key):
    """For who connects and for who is connected to; all three are PEM. ssl reads keys from files
    alone: this one is in memory and has no name."""
    if not ssl.HAS_TLSv1_3:
        raise Broken("this Python has no TLS 1.3")
    if not hasattr(os, "memfd_create"):
        raise Broken("this Python has no os.memfd_create(), and keys are not written to a disk")
    fd = os.memfd_create("ds-deploy-relay", os.MFD_CLOEXEC)
    try:
        os.write(fd, (certificate + "\n" + key).encode("ascii"))
        contexts = []
        for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
            context = ssl.SSLContext(protocol)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_REQUIRED
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_verify_locations(cadata=authority)
            context.load_cert_chain("/proc/self/fd/%d" % fd)
            contexts.append(context)
        contexts[1].num_tickets = 0
        return contexts
    finally:
        os.close(fd)


def name_of(conn):
    """The number of the host whose certificate the peer has shown."""
    names = [value for part in (conn.getpeercert() or {}).get("subject", ())
             for key, value in part if key == "commonName"]
    if len(names) != 1 or not HOST_NUMBER.match(names[0]):
        raise Broken("its certificate has no host's number")
    return names[0]


def why(error):
    """An error of the network in few words."""
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(text)[:200] or type(error).__name__


def say_line(conn, words):
    conn.settimeout(GREETING)
    conn.sendall(json.dumps(words).encode("ascii") + b"\n")


def hear_line(conn, seconds):
    """What the peer's line says; nothing may follow it."""
    text, end = b"", time.monotonic() + seconds
    while not text.endswith(b"\n"):
        left = end - time.monotonic()
        if left <= 0 or len(text) >= MOST_LINE:
            raise Broken("it said no line")
        conn.settimeout(left)
        more = conn.recv(MOST_LINE - len(text))
        if not more:
            raise Broken("it closed the connection")
        text += more
    try:
        words = json.loads(text.decode("ascii"))
    except (ValueError, RecursionError):
        raise Broken("its line is no JSON") from None
    if not isinstance(words, dict) or b"\n" in text[:-1]:
        raise Broken("its line is none of ours")
    return words


def wanted_chunk(words, stream):
    """Where the child is to be given the stream from on."""
    first = words.get("from")
    if words.get("want") != stream or type(first) is not int or not 0 <= first < NO_CHUNK:
        raise Broken("its line is none of ours")
    return first


def begin_connection(address, port):
    conn = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    conn.setblocking(False)
    try:
        conn.connect((address, port))
    except BlockingIOError:
        pass
    except OSError:
        conn.close()
        raise
    return conn


def connections(addresses, port, end):
    """Each that comes about by `end` (time.monotonic()); the next address is tried before the one
    before it has failed. What is not taken is closed; the texts say why others failed."""
    left, opening, failed = list(addresses), {}, []
    try:
        while left or opening:
            now = time.monotonic()
            if now >= end:
                break
            if left:
                address = left.pop(0)
                try:
                    opening[begin_connection(address, port)] = address
                except OSError as error:
                    failed.append("%s: %s" % (address, why(error)))
                    continue
            _, ready, _ = select.select([], list(opening), [], STAGGER if left else end - now)
            for conn in ready:
                address, error = opening.pop(conn), conn.getsockopt(socket.SOL_SOCKET,
                                                                    socket.SO_ERROR)
                if error:
                    failed.append("%s: %s" % (address, os.strerror(error)))
                    conn.close()
                else:
                    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    yield conn
    finally:
        for conn in opening:
            conn.close()
    failed += ["%s: no answer" % address for address in list(opening.values()) + left]
    if failed:
        raise Broken("it cannot be reached at port %d of %s" % (port, ", ".join(failed)))


def dial(peer, context):
    """A connection to that host of the run; Broken says why there is none. Several hosts may have
    an address alike, such as a container's bridge: what answers there is another one."""
    problems = []
    with contextlib.closing(connections(peer["addresses"], peer["port"],
                                        time.monotonic() + CONNECTING)) as found:
        try:
            for plain in found:
                try:
                    plain.settimeout(GREETING)
                    conn = context.wrap_socket(plain, do_handshake_on_connect=False)
                except OSError as error:
                    plain.close()
                    problems.append(why(error))
                    continue
                try:
                    conn.do_handshake()
                    if name_of(conn) == peer["id"]:
                        return conn
                    problems.append("another host of this run answered")
                except (OSError, ValueError, Broken) as error:
                    problems.append(why(error))
                conn.close()
        except Broken as nowhere:
            problems.append(str(nowhere))
    raise Broken("; ".join(problems[-3:]) or "it has no address")


class Throttle:
    """What all threads send together; no rate: as much as they can."""

    def __init__(self):
        self.rate, self.free, self.lock = 0, 0.0, threading.Lock()

    def piece(self):
        """So many bytes at one time that no peer waits long for the next ones."""
        return max(1024, min(PIECE, self.rate // 16)) if self.rate else PIECE

    def wait_for(self, size):
        with self.lock:
            if not self.rate:
                return
            now = time.monotonic()
            self.free = max(self.free, now - 0.1) + size / self.rate
            pause = self.free - now
        if pause > 0:
            time.sleep(pause)
