# SPDX-License-Identifier: Apache-2.0
# A child's side: takes one stream from one source at a time, and goes on with another where that is
# of use. relay_serve.py stands before this text.
import hashlib
import socket

TICK = 0.2        # seconds between looks at how it goes
MOST_TRIES = 3    # of a source, without a chunk of it
ROUND_PAUSE = 0.5  # seconds before each, once all were tried without a chunk
CHUNK_TIME = 10   # seconds for each, and one for each so many bytes
CHUNK_RATE = 1 << 16
CALL_WAIT = 8     # seconds for a parent that calls where this host cannot connect to it


class Leave(Exception):
    """Nothing is wrong with the source, but another one is better now."""


class GivenUp(Exception):
    """No source is left; the text says why each was left."""


class Source:
    def __init__(self, rank, peer):
        self.rank, self.peer, self.id = rank, peer, peer["id"]
        self.tries = 0         # since its last chunk
        self.bad = False       # it sent a wrong chunk
        self.slow = False      # it was left for that
        self.rate = 0.0        # chunks a second while it was in use
        self.calls = peer.get("calls", False)
        self.why = "not tried"

    def usable(self):
        return not self.bad and self.tries < MOST_TRIES


class Fetch:
    def __init__(self, agent, store, message, degree):
        self.agent, self.store = agent, store
        bad = agent.account.said()["bad"]
        self.sources = [Source(rank, peer) for rank, peer in enumerate(message["sources"])]
        for source in self.sources:
            source.bad = source.id in bad
        self.stall, now = message["stall_seconds"], time.monotonic()
        self.end = now + message["seconds"]
        self.progress = now       # when the last chunk came
        self.next_rank = self.uses = 0
        self.source = None        # in use now
        self.buffer = memoryview(bytearray(min(store.chunk, store.bytes)))
        expected = message["expected_bytes_per_second"] / store.chunk
        self.pace = Pace(store.number, degree, expected, now)

    def run(self):
        """Until all is here; GivenUp or Full else."""
        while self.store.have < self.store.number:
            if self.uses > len(self.sources):
                time.sleep(ROUND_PAUSE)
            source = self.choose()
            if source is None:
                time.sleep(TICK)
                continue
            self.uses += 1
            self.next_rank = (source.rank + 1) % len(self.sources)
            self.use(source)
            self.source = None

    def choose(self):
        """A parent that has called comes first; then in turn; of those that were left because they
        are slow, the least slow. None: one may still call."""
        for peer in self.agent.offers.peers(self.store.name):
            for source in self.sources:
                if source.id == peer and self.wants_call(peer):
                    return source
        usable = [source for source in self.sources if source.usable()]
        if not usable and self.may_be_called():
            return None
        self.refuse_hopeless(usable)
        fresh = [source for source in usable if not source.slow]
        turn = [source for source in fresh if source.rank >= self.next_rank] + fresh
        return turn[0] if turn else max(usable, key=lambda source: source.rate)

    def may_be_called(self):
        return time.monotonic() - self.progress < CALL_WAIT and any(
            source.calls and not source.bad and not source.slow for source in self.sources)

    def refuse_hopeless(self, usable):
        now, text = time.monotonic(), ""
        if not usable:
            text = "no source is left"
        elif now >= self.end:
            text = "its time was over"
        elif now - self.progress > self.stall:
            text = "no chunk came for %d s" % self.stall
        if text:
            raise GivenUp("%s; %s" % (text, "; ".join(
                "host %s: %s" % (source.id, source.why) for source in self.sources)))

    def use(self, source):
        began, had = time.monotonic(), self.store.have
        try:
            conn = (self.agent.offers.take(source.id, self.store.name)
                    or dial(source.peer, self.agent.dialling))
            with conn:
                self.take_from(conn, source)
            return
        except Leave as better:
            source.why = str(better)
        except (OSError, ValueError, Broken) as error:
            source.why = why(error)
            source.tries += 1
        finally:
            source.rate = (self.store.have - had) / max(0.01, time.monotonic() - began)
        self.agent.account.note_left(source.id, source.why)

    def take_from(self, conn, source):
        say_line(conn, {"want": self.store.name, "from": self.store.have})
        conn.settimeout(TICK)
        self.source, self.source_has, self.source_began = source, 0, time.monotonic()
        self.pace.begin(self.source_began, self.store.have)
        header = memoryview(bytearray(HEADER.size))
        while self.store.have < self.store.number:
            self.receive(conn, header, 0)
            at, length, have, root = HEADER.unpack(header)
            if max(have, root) > self.store.number:
                raise Broken("it has more than there is")
            self.source_has = have
            self.pace.hear(time.monotonic(), root)
            self.store.heard(root)
            if at == NO_CHUNK and not length and have <= self.store.have:
                self.refuse_waiting()
            elif at != self.store.have or length != self.store.size_of(at) or have <= at:
                raise Broken("it sent a frame that is not the next one")
            else:
                self.take_chunk(conn, at, length)

    def take_chunk(self, conn, at, length):
        content, account = self.buffer[:length], self.agent.account
        self.receive(conn, content, length)
        if hashlib.sha256(content).digest() != self.store.hash_of(at):
            self.source.bad = True
            account.note_bad(self.source.id)
            account.wasted += length
            raise Broken("it sent chunk %d with wrong bytes" % at)
        self.store.append(content)
        account.add(account.came, self.source.id, length)
        self.source.tries, self.uses, self.progress = 0, 0, time.monotonic()
        self.refuse_worse()

    def receive(self, conn, view, of_chunk):
        """Fills it. `of_chunk`: its length if it is one, else 0."""
        done, last = 0, time.monotonic()
        end = last + CHUNK_TIME + len(view) / CHUNK_RATE
        while done < len(view):
            try:
                got = conn.recv_into(view[done:done + PIECE])
            except socket.timeout:
                got = None
            now = time.monotonic()
            if got:
                done, last = done + got, now
            elif got == 0:
                self.lose(done if of_chunk else 0, Broken("it closed the connection"))
            elif now - last > SILENCE:
                self.lose(done if of_chunk else 0, Broken("nothing came for %d s" % SILENCE))
            if done < len(view) and now > min(end, self.end):
                self.lose(done if of_chunk else 0, Broken("what it sent took too long"))
            self.refuse_slow(now, done / of_chunk if of_chunk else 0, done if of_chunk else 0)

    def lose(self, size, because):
        self.agent.account.wasted += size
        raise because

    def others(self):
        return [source for source in self.sources
                if source.usable() and source is not self.source]

    def refuse_slow(self, now, part, size):
        have = self.store.have + part
        if self.pace.is_slow(now, have, self.source_has) and not self.source.slow and self.others():
            self.source.slow = True
            self.lose(size, Leave("it was too slow: %s" % self.pace.seen))

    def wants_call(self, peer):
        """Of a parent that would call."""
        return any(source.id == peer and not source.bad and not source.slow
                   and (self.source is None or source.rank < self.source.rank)
                   for source in self.sources)

    def refuse_worse(self):
        """A parent that ranks higher has called: this host could not connect to it."""
        for peer in self.agent.offers.peers(self.store.name):
            if self.wants_call(peer):
                raise Leave("host %s, which comes before it, has called" % peer)

    def refuse_waiting(self):
        """It is there and has nothing that is lacking here."""
        now = time.monotonic()
        waited = now - max(self.progress, self.source_began)
        if now > self.end or now - self.progress > self.stall:
            raise Leave("it had nothing to send")
        self.refuse_worse()
        if waited > self.stall / 3 and self.others():
            raise Leave("it had nothing to send for %d s" % waited)
