# SPDX-License-Identifier: Apache-2.0
# Streams as far as they are here, and what was moved. relay_wire.py stands before this text.
import hashlib
import threading


class Full(Exception):
    """A chunk could not be written; `error` is the system's."""

    def __init__(self, error):
        super().__init__(str(error))
        self.error = error


class Store:
    """A prefix of whole chunks of one stream, in host.py's .part file. Either host.py writes there
    and says how far it is, or this agent does."""

    def __init__(self, message):
        stream, chunks = message["stream"], message["chunks"]
        self.name, self.bytes, self.chunk = stream["sha256"], stream["bytes"], chunks["bytes"]
        self.hashes = bytes.fromhex(chunks["sha256"])
        self.number = len(self.hashes) // 32
        self.have = self.root = 0
        self.over = False      # it grows no more
        self.dropped = False   # and is passed on no more
        self.served = set()    # hosts that have come for it
        self.reads = self.writes = -1
        self.changed = threading.Condition()

    def hold(self, message, fds):
        """Also again, after an attempt that failed. Who is being served goes on with its own
        descriptor."""
        with self.changed:
            self.close()
            self.reads, self.writes = (fds + [-1])[:2]
            self.over, self.dropped = False, False
            self.have, self.served = 0, set()
            if message["root"]:
                self.root = 0
        self.grown(message["have"], message["root"])

    def close(self):
        for fd in {self.reads, self.writes} - {-1}:
            os.close(fd)
        self.reads = self.writes = -1

    def drop(self):
        with self.changed:
            self.over = self.dropped = True
            self.close()
            self.changed.notify_all()

    def end(self):
        """What is here stays, and is passed on. Nobody holds the lock of the file any more."""
        with self.changed:
            self.over = True
            if self.writes != -1:
                os.close(self.writes)
                self.writes = -1
            self.changed.notify_all()

    def size_of(self, at):
        return min(self.chunk, self.bytes - at * self.chunk)

    def hash_of(self, at):
        return self.hashes[32 * at:32 * at + 32]

    def grown(self, have, is_root):
        with self.changed:
            self.have = have
            self.root = max(self.root, have if is_root else 0)
            self.changed.notify_all()

    def heard(self, root):
        """What a peer says of the root."""
        with self.changed:
            self.root = max(self.root, min(root, self.number))

    def wait_beyond(self, at, seconds):
        """How many chunks are here, once chunk `at` is, or so much time has passed."""
        with self.changed:
            if self.have <= at and not self.over:
                self.changed.wait(seconds)
            return self.have

    def open_reader(self):
        """A descriptor of the caller's own; Broken where the stream is no more here."""
        with self.changed:
            if self.reads == -1:
                raise Broken("the stream is not here")
            return os.dup(self.reads)

    def append(self, content):
        """The next chunk, which was checked."""
        place, rest = self.have * self.chunk, memoryview(content)
        while rest:
            try:
                written = os.pwrite(self.writes, rest, place)
            except OSError as error:
                raise Full(error) from None
            place, rest = place + written, rest[written:]
        self.grown(self.have + 1, False)


def read_into(fd, buffer, place):
    """Fills the buffer; Broken where the file ends before."""
    done = 0
    while done < len(buffer):
        got = os.preadv(fd, [buffer[done:]], place + done)
        if not got:
            raise Broken("the file has become shorter")
        done += got


def refuse_changed(store, fd, at, buffer):
    """Broken where the chunk is not, or not any more, what it has to be: disks and later runs
    change files, and who passes on a wrong chunk is cut out."""
    digest, place = hashlib.sha256(), at * store.chunk
    left = store.size_of(at)
    while left:
        piece = buffer[:min(left, len(buffer))]
        read_into(fd, piece, place)
        digest.update(piece)
        place, left = place + len(piece), left - len(piece)
    if digest.digest() != store.hash_of(at):
        raise Broken("chunk %d was damaged on this host's disk" % at)


class Account:
    """What was moved since this agent began, and what went wrong."""

    def __init__(self):
        self.lock = threading.Lock()
        self.came, self.went, self.wasted = {}, {}, 0
        self.bad, self.left, self.refused = [], [], 0

    def add(self, moved, peer, size):
        with self.lock:
            moved[peer] = moved.get(peer, 0) + size

    def note_left(self, peer, text):
        with self.lock:
            self.left = (self.left + [{"id": peer, "why": text[:300]}])[-20:]

    def note_bad(self, peer):
        with self.lock:
            if peer not in self.bad:
                self.bad.append(peer)

    def note_refused(self):
        with self.lock:
            self.refused += 1

    def said(self):
        with self.lock:
            return {"in": dict(self.came), "out": dict(self.went), "wasted": self.wasted,
                    "bad": list(self.bad), "left": list(self.left), "refused": self.refused,
                    "cpu_s": round(time.process_time(), 3), "peak_kb": peak_memory()}


def peak_memory():
    """KB. getrusage(2) would have the parent's, of the moment between fork and exec."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as source:
        for line in source:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
