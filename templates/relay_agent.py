# SPDX-License-Identifier: Apache-2.0
# The agent's process: does what host.py tells it, and ends with it. The texts that relay_wire.py
# names stand before this one; its argument is the number of the descriptor that leads to host.py.
import array
import json
import socket
import sys
import threading

MOST_MESSAGE = 1 << 28


def be_modest():
    """Training on this host comes first: lowest priority of CPU, and disk when nobody else wants it
    (ioprio_set(2), which Python does not have)."""
    os.nice(19)
    number = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}.get(
        os.uname().machine)
    with contextlib.suppress(Exception):  # no ctypes, or it is denied: the rest works without
        import ctypes
        if number:
            ctypes.CDLL(None).syscall(number, 1, 0, 3 << 13)


class Control:
    """Messages from and to host.py: their length, then JSON; descriptors come with the length."""

    def __init__(self, fd):
        self.socket, self.lock = socket.socket(fileno=fd), threading.Lock()

    def hear(self, seconds):
        """None where host.py is gone, or the time is over."""
        fds, space = array.array("i"), socket.CMSG_SPACE(2 * array.array("i").itemsize)
        if not select.select([self.socket], [], [], max(0, seconds))[0]:
            return None
        start, ancillary, _, _ = self.socket.recvmsg(4, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
        text = self.exactly(struct.unpack(">I", start)[0]) if len(start) == 4 else None
        return None if text is None else (json.loads(text.decode("utf-8")), list(fds))

    def exactly(self, size):
        text = bytearray()
        while size <= MOST_MESSAGE and len(text) < size:
            more = self.socket.recv(min(1 << 16, size - len(text)))
            if not more:
                return None
            text += more
        return bytes(text) if len(text) == size else None

    def say(self, words):
        text = json.dumps(words).encode("utf-8")
        with self.lock:
            self.socket.sendall(struct.pack(">I", len(text)) + text)


class Agent:
    def __init__(self, control):
        self.control, self.account, self.offers = control, Account(), Offers()
        self.end = time.monotonic() + 60  # until host.py says another
        self.streams, self.told = {}, threading.Condition()
        self.fetches, self.degree = {}, 1
        self.parent = self.dialling = self.answering = None

    def run(self):
        """Until host.py ends, or says so, or the time is over. Threads end with the process."""
        does = {"open": self.open, "hold": self.hold, "have": self.take_have,
                "end": self.end_stream, "drop": self.end_stream, "account": self.say_account}
        while True:
            heard = self.control.hear(self.end - time.monotonic())
            if heard is None:
                return
            does[heard[0]["do"]](*heard)

    def open(self, message, _fds):
        self.end, self.degree = time.monotonic() + message["seconds"], message["degree"]
        self.parent = Parent(self, self.degree + MORE_CHILDREN)
        try:
            self.dialling, self.answering = tls_contexts(
                message["ca"], message["certificate"], message["key"])
            addresses = own_addresses(message["relay_net"])
            if not addresses:
                raise Broken("this host has no address %s" % (
                    "in %s" % message["relay_net"] if message["relay_net"] else "at all"))
            sockets, port = listen(addresses, message["relay_net"])
            if not start_thread(Door(self, sockets).run):
                raise Broken("this user can have no more threads")
        except (OSError, ValueError, Broken) as error:
            self.control.say({"port": 0, "addresses": [], "why": why(error)})
            return
        self.control.say({"port": port, "addresses": addresses, "why": ""})

    def hold(self, message, fds):
        """A stream, as far as it is here, by a descriptor to read it; with one to write, the rest
        is to be fetched, and an answer says how that ended."""
        name = message["stream"]["sha256"]
        store = self.streams.get(name) or Store(message)
        store.hold(message, fds)
        self.parent.throttle.rate = message["bytes_per_second"]
        if not message["root"]:
            self.fetches[name] = Fetch(self, store, message, self.degree)
        with self.told:
            self.streams[name] = store
            self.told.notify_all()
        for child in message["calls"]:
            start_thread(self.parent.call, child, store)
        if not message["root"] and not start_thread(self.fetch, self.fetches[name]):
            self.control.say({"problem": "this user can have no more threads"})

    def stream(self, name, seconds):
        """None where host.py has not told of it until then."""
        with self.told:
            if name not in self.streams:
                self.told.wait(seconds)
            return self.streams.get(name)

    def take_have(self, message, _fds):
        store, size = self.streams[message["stream"]], message["bytes"]
        store.grown(store.number if size == store.bytes else size // store.chunk, True)

    def end_stream(self, message, _fds):
        """It grows no more, or is not to be passed on any more."""
        store = self.streams.get(message["stream"])
        if store and message["do"] == "drop":
            store.drop()
        elif store:
            store.end()

    def say_account(self, _message, _fds):
        self.control.say(self.account.said())

    def fetch(self, fetch):
        said = {"problem": ""}
        try:
            fetch.run()
        except GivenUp as over:
            said = {"problem": str(over)}
        except Full as full:
            said = {"problem": "", "errno": full.error.errno}
        except Exception as error:
            said = {"problem": "the relay agent failed: %s: %s" % (type(error).__name__, error)}
        fetch.store.end()
        del self.fetches[fetch.store.name]
        self.offers.close_old(0, fetch.store.name)
        self.control.say(said)

    def welcome(self, conn, peer, words):
        """Whether the connection is kept for later."""
        stream = words.get("give", words.get("want"))
        if not isinstance(stream, str) or not STREAM_NAME.match(stream):
            raise Broken("it names no stream")
        if "give" not in words:
            self.parent.serve(conn, peer, stream, wanted_chunk(words, stream))
            return False
        fetch, store = self.fetches.get(stream), self.streams.get(stream)
        if (store and not fetch) or (fetch and not fetch.wants_call(peer)):
            return False
        self.offers.put(peer, stream, conn)
        return True


be_modest()
Agent(Control(int(sys.argv[1]))).run()
os._exit(0)
