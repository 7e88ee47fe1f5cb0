# SPDX-License-Identifier: Apache-2.0
# Streams by way of other hosts: host.py's side of the relay agent, a process of its own (see
# relay_wire.py) that begins and ends with the run. durable.py and receive.py stand before this
# text.
#
# The agent reads the .part file by a descriptor of its own, so that it passes on what is there as
# long as it lives, and writes to it only while it fetches: by the locked one, which it gives up
# then.
import array
import contextlib
import hashlib
import json
import os
import select
import struct
import subprocess
import sys

RELAY = []  # the agent, while there is one


class RelayFailed(CutShort):
    """Other hosts could not give the stream; the coordinator can still send it."""


class AgentGone(Exception):
    """The agent has ended, or does not answer."""


class RelayAgent:
    def __init__(self, program):
        import socket

        self.control, there = socket.socketpair()
        self.control.settimeout(30)  # for what takes no time
        with there:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c",
                 "import sys; exec(sys.stdin.buffer.read().decode())", str(there.fileno())],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=[there.fileno()], cwd="/",
                env=dict(os.environ, MALLOC_ARENA_MAX="2"))  # of its many threads
        with self.process.stdin as text, contextlib.suppress(BrokenPipeError):
            text.write(program.encode("utf-8"))

    def say(self, words, fds=()):
        import socket

        text = json.dumps(words).encode("utf-8")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.control.sendmsg([struct.pack(">I", len(text))], rights)
            self.control.sendall(text)
        except OSError as error:
            raise AgentGone("the relay agent has ended: %s" % error) from None

    def hear(self):
        try:
            return json.loads(self.exactly(struct.unpack(">I", self.exactly(4))[0]).decode("utf-8"))
        except OSError as error:
            raise AgentGone("the relay agent has ended: %s" % error) from None

    def exactly(self, size):
        text = b""
        while len(text) < size:
            more = self.control.recv(size - len(text))
            if not more:
                raise AgentGone("the relay agent has ended")
            text += more
        return text

    def ask(self, words):
        self.say(words)
        return self.hear()

    def wait_for_end(self):
        """What the agent says in the end. CutShort once the coordinator is gone: the host must not
        wait for others then."""
        both = select.poll()
        both.register(self.control, select.POLLIN)
        both.register(sys.stdin, select.POLLRDHUP)
        while True:
            ready = dict(both.poll())
            if self.control.fileno() in ready:
                return self.hear()
            if ready.get(sys.stdin.fileno(), 0) & (select.POLLRDHUP | select.POLLHUP
                                                   | select.POLLERR):
                raise CutShort("the coordinator is gone")

    def close(self):
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def relay_open(request, _root):
    """Starts the agent, which listens from now on; port 0: it cannot, and why."""
    close_relay()
    try:
        agent = RelayAgent(request["agent"])
        RELAY.append(agent)
        said = agent.ask({"do": "open", "ca": request["ca"], "certificate": request["certificate"],
                          "key": request["key"], "relay_net": request["relay_net"],
                          "degree": request["degree"], "seconds": request["seconds"]})
    except (AgentGone, OSError) as error:
        said = {"port": 0, "addresses": [], "why": str(error)}
    if not said["port"]:
        close_relay()
    return said


def relay_close(_request, _root):
    """What it has moved; null where there is none, or none any more."""
    said = relay_account()
    close_relay()
    return {"relay": said}


def close_relay():
    while RELAY:
        RELAY.pop().close()


def relay_account():
    with contextlib.suppress(AgentGone, IndexError):
        return RELAY[0].ask({"do": "account"})
    return None


class PassedOn:
    """A .part file that tells the agent how far it is; without an agent any more it is a file."""

    def __init__(self, part, agent, stream):
        self.part, self.agent, self.stream, self.at = part, agent, stream, 0
        self.read = part.read

    def tell_agent(self, at):
        self.at = at
        if self.agent:
            try:
                self.agent.say({"do": "have", "stream": self.stream, "bytes": at})
            except AgentGone:
                self.agent = None

    def truncate(self, size):
        self.part.truncate(size)
        self.tell_agent(size)

    def write(self, block):
        written = self.part.write(block)
        self.tell_agent(self.at + written)
        return written


def held_chunks(part, stream, chunks):
    """So many of them an earlier run left; what is behind them goes."""
    size, hashes, have = chunks["bytes"], bytes.fromhex(chunks["sha256"]), 0
    while 32 * have < len(hashes):
        digest = hashlib.sha256()
        left = copy_into(digest, part, min(size, stream["bytes"] - have * size))
        if left or digest.digest() != hashes[32 * have:32 * have + 32]:
            break
        have += 1
    part.truncate(min(have * size, stream["bytes"]))
    return have


def bring(request, part, path):
    """The stream into `part`, from stdin or other hosts; the agent passes it on meanwhile."""
    relay, stream = request.get("relay"), request["stream"]
    agent = RELAY[0] if relay and RELAY else None
    is_root = not relay or not relay["sources"]
    have = 0 if is_root else held_chunks(part, stream, request["chunks"])
    if agent:
        hold_stream(agent, request, part, path, have, is_root)
    if is_root:
        receive(stream, request["kept"], PassedOn(part, agent, stream["sha256"]))
    else:
        take_from_hosts(agent, path)


def hold_stream(agent, request, part, path, have, is_root):
    relay = request["relay"]
    words = {"do": "hold", "stream": request["stream"], "chunks": request["chunks"], "have": have,
             "root": is_root, "calls": relay["calls"], "sources": relay["sources"],
             "bytes_per_second": relay["bytes_per_second"],
             "expected_bytes_per_second": relay["expected_bytes_per_second"],
             "seconds": relay["seconds"], "stall_seconds": relay["stall_seconds"]}
    reads = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not os.path.samestat(os.fstat(reads), os.fstat(part.fileno())):
            raise Refused("%s was replaced while it was filled" % path)
        agent.say(words, [reads] if is_root else [reads, part.fileno()])
    except AgentGone as gone:
        if not is_root:
            raise RelayFailed(str(gone)) from None
    finally:
        os.close(reads)


def take_from_hosts(agent, path):
    try:
        if not agent:
            raise AgentGone("this host has no relay agent")
        said = agent.wait_for_end()
    except AgentGone as gone:
        raise RelayFailed(str(gone)) from None
    if "errno" in said:
        raise OSError(said["errno"], os.strerror(said["errno"]), path)
    if said["problem"]:  # the prefix stays
        raise RelayFailed("no other host could give the wheel: " + said["problem"])


def stop_passing_on(stream, keep):
    """What was cut stays a source as far as it is; what failed otherwise takes no more space."""
    with contextlib.suppress(AgentGone, IndexError):
        RELAY[0].say({"do": "end" if keep else "drop", "stream": stream["sha256"]})
