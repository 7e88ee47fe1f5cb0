# SPDX-License-Identifier: Apache-2.0
# A parent's side, and the door at which peers come in. relay_pace.py stands before this text.
import socket
import threading

HANDSHAKES = 16    # at one time, of strangers as of peers
MORE_CHILDREN = 4  # beyond those of the tree: hosts whose own parent is gone
UNKNOWN = 20       # seconds in which a child waits for a stream that host.py has not told of yet
CALL_AFTER = 1     # seconds in which a child can come by itself
CALL_AGAIN = 2     # seconds
MOST_CALLS = 8     # until a child is given up
OFFERS = 8         # parents that have called, and wait to be wanted
OFFER_HOLDS = 10   # seconds


def hang_up(conn):
    """Ends what another thread does with it, which closes it then."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(conn, socket.SHUT_RDWR)


def start_thread(work, *words):
    """False where this user may have no more of them."""
    try:
        threading.Thread(target=work, args=words, daemon=True).start()
        return True
    except RuntimeError:
        return False


class Children:
    """Who is being served: each host once, the newest connection of it."""

    def __init__(self, most):
        self.most, self.lock, self.served = most, threading.Lock(), {}

    def take(self, peer, conn):
        with self.lock:
            before = self.served.get(peer)
            if before is None and len(self.served) >= self.most:
                raise Broken("there are enough children")
            self.served[peer] = conn
        if before is not None:
            hang_up(before)

    def release(self, peer, conn):
        with self.lock:
            if self.served.get(peer) is conn:
                del self.served[peer]


class Offers:
    """Parents that have called because this host could not connect to them: each once."""

    def __init__(self):
        self.lock, self.waiting = threading.Lock(), {}

    def put(self, peer, stream, conn):
        with self.lock:
            before = self.waiting.pop(peer, None)
            if before:
                before[1].close()
            if len(self.waiting) >= OFFERS:
                raise Broken("too many parents have called")
            self.waiting[peer] = (stream, conn, time.monotonic())

    def take(self, peer, stream):
        with self.lock:
            if self.waiting.get(peer, ("",))[0] == stream:
                return self.waiting.pop(peer)[1]
        return None

    def peers(self, stream):
        with self.lock:
            return [peer for peer, offer in self.waiting.items() if offer[0] == stream]

    def close_old(self, seconds=OFFER_HOLDS, of_stream=None):
        with self.lock:
            for peer, (stream, conn, since) in list(self.waiting.items()):
                if time.monotonic() - since > seconds and of_stream in (None, stream):
                    del self.waiting[peer]
                    conn.close()


class Parent:
    """Sends streams to children, over whichever side's connection."""

    def __init__(self, agent, most):
        self.agent, self.children, self.throttle = agent, Children(most), Throttle()

    def serve(self, conn, peer, stream, first):
        self.children.take(peer, conn)
        try:
            self.send_stream(conn, peer, self.stream_for(conn, stream), first)
        finally:
            self.children.release(peer, conn)

    def stream_for(self, conn, stream):
        """All agents run before the first stream is told of, and not all are told at one time."""
        end = time.monotonic() + UNKNOWN
        while time.monotonic() < end:
            store = self.agent.stream(stream, ALIVE)
            if store is not None:
                return store
            self.send_frame(conn, HEADER.pack(NO_CHUNK, 0, 0, 0))
        raise Broken("it wants a stream that is not this run's")

    @staticmethod
    def send_frame(conn, *pieces):
        conn.settimeout(TAKING)
        for piece in pieces:
            conn.sendall(piece)

    def send_stream(self, conn, peer, store, first):
        if first > store.number:
            raise Broken("it wants what is behind the end")
        store.served.add(peer)
        fd, buffer = store.open_reader(), memoryview(bytearray(PIECE))
        try:
            at = first
            while at < store.number and not store.dropped:
                have = store.wait_beyond(at, ALIVE)
                if have > at:
                    refuse_changed(store, fd, at, buffer)
                    self.send_chunk(conn, store, fd, at, buffer)
                    self.agent.account.add(self.agent.account.went, peer, store.size_of(at))
                    at += 1
                elif store.over:
                    return
                else:
                    self.send_frame(conn, HEADER.pack(NO_CHUNK, 0, have, store.root))
            # What was sent last is lost if this side closes first and the child's word comes late.
            conn.settimeout(TAKING)
            conn.recv(1)
        finally:
            os.close(fd)

    def send_chunk(self, conn, store, fd, at, buffer):
        left, place = store.size_of(at), at * store.chunk
        self.send_frame(conn, HEADER.pack(at, left, store.have, store.root))
        while left:
            piece = buffer[:min(left, self.throttle.piece())]
            self.throttle.wait_for(len(piece))
            read_into(fd, piece, place)
            self.send_frame(conn, piece)
            place, left = place + len(piece), left - len(piece)

    def call(self, child, store):
        """For one that has not come by itself: mostly it cannot. A connection that comes about is
        tried once: who closes it has a better parent."""
        begin = time.monotonic()
        for attempt in range(MOST_CALLS):
            time.sleep(max(0, begin + CALL_AFTER + attempt * CALL_AGAIN - time.monotonic()))
            if store.dropped or child["id"] in store.served:
                return
            try:
                conn = dial(child, self.agent.dialling)
            except (OSError, Broken):
                continue
            with conn, contextlib.suppress(OSError, ValueError, Broken):
                say_line(conn, {"give": store.name})
                first = wanted_chunk(hear_line(conn, OFFER_HOLDS), store.name)
                self.serve(conn, child["id"], store.name, first)
            return


class Door:
    """Who comes in has shown a certificate of this run, in time."""

    def __init__(self, agent, sockets):
        self.agent, self.sockets = agent, sockets
        self.lock, self.waiting = threading.Lock(), {}

    def run(self):
        while True:
            ready, _, _ = select.select(self.sockets, [], [], 1)
            self.agent.offers.close_old()
            for listening in ready:
                try:
                    plain, address = listening.accept()
                except OSError:  # gone again, or no descriptor is free
                    time.sleep(0.02)
                    continue
                self.let_in(plain, address[0])

    def let_in(self, plain, address):
        try:
            plain.settimeout(GREETING)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conn = self.agent.answering.wrap_socket(plain, server_side=True,
                                                    do_handshake_on_connect=False)
        except (OSError, ValueError):  # it has closed already
            plain.close()
            return
        with self.lock:
            if len(self.waiting) >= HANDSHAKES:
                hang_up(self.put_out())
            self.waiting[conn] = address
        if not start_thread(self.greet, conn):
            self.forget(conn)
            conn.close()

    def put_out(self):
        """The oldest of the address that has the most, so that one stranger displaces nobody."""
        count = {}
        for address in self.waiting.values():
            count[address] = count.get(address, 0) + 1
        most = max(count.values())
        conn = next(conn for conn, address in self.waiting.items() if count[address] == most)
        del self.waiting[conn]
        return conn

    def forget(self, conn):
        with self.lock:
            self.waiting.pop(conn, None)

    def name_shown(self, conn):
        try:
            conn.do_handshake()
            return name_of(conn)
        except (OSError, ValueError, Broken):
            self.agent.account.note_refused()
            raise

    def greet(self, conn):
        kept = False
        try:
            peer = self.name_shown(conn)
            words = hear_line(conn, GREETING)
            self.forget(conn)
            kept = self.agent.welcome(conn, peer, words)
        except (OSError, ValueError, Broken):
            pass  # it is there no more, or speaks another language
        finally:
            self.forget(conn)
            if not kept:
                conn.close()
