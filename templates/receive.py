# SPDX-License-Identifier: Apache-2.0
# How a stream arrives on a host: bytes whose SHA-256 came over SSH, so that whoever sends them need
# not be trusted. durable.py and trust.py stand before this text.
import errno
import fcntl
import hashlib
import os
import sys
import time


def lock_part(part):
    """Whether nobody else holds it now; None: this file system knows no locks."""
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None


def open_part(path):
    """Locked, so that two runs never write one file, and whether it really is. One whose connection
    was cut is ended within seconds, and its run is here again sooner."""
    end = time.monotonic() + 6
    while True:
        part = open_ours(path, 0o600)
        refuse_stranger(path, os.fstat(part.fileno()))
        locked = lock_part(part)
        if locked is False:
            part.close()
            if time.monotonic() < end:
                time.sleep(0.1)
                continue
            raise Refused("another run is sending the same wheel to this host")
        # Who held the lock until now may have removed the file.
        if os.path.lexists(path) and os.path.samestat(os.fstat(part.fileno()), os.lstat(path)):
            return part, locked
        part.close()


def copy_into(digest, source, left, part=None):
    """At most `left` bytes of `source` into the digest, and `part`; how many are still missing."""
    while left > 0:
        block = source.read(min(left, 1 << 20))
        if not block:
            break
        digest.update(block)
        rest = memoryview(block if part else b"")
        while rest:  # a file that takes less says why at the next write
            rest = rest[part.write(rest):]
        left -= len(block)
    return left


def kept_facts(path):
    """Bytes and SHA-256 of what an interrupted run left; None while a run writes it."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as part:
            fcntl.flock(part, fcntl.LOCK_SH | fcntl.LOCK_NB)
            size, digest = os.fstat(part.fileno()).st_size, hashlib.sha256()
            return {"bytes": size - copy_into(digest, part, size), "sha256": digest.hexdigest()}
    except OSError:
        return None


def receive(stream, kept, part):
    """The stream into `part`: of what an earlier run left there the first kept["bytes"] stay, the
    rest comes from stdin. Refused unless all has the stream's size and hash."""
    digest = hashlib.sha256()
    size, sha256 = stream["bytes"], stream["sha256"]
    if copy_into(digest, part, kept["bytes"]) or digest.hexdigest() != kept["sha256"]:
        raise Refused("what an earlier run left of the wheel has changed since the host was asked; "
                      "deploy again")
    part.truncate(kept["bytes"])
    left = copy_into(digest, sys.stdin.buffer, size - kept["bytes"], part)
    if left:
        raise CutShort("the wheel ended after %d of %d bytes" % (size - left, size))
    if digest.hexdigest() != sha256:
        raise Damaged("the wheel was damaged on its way: SHA-256 %s arrived, %s was sent"
                      % (digest.hexdigest()[:12], sha256[:12]))
