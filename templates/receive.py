# SPDX-License-Identifier: Apache-2.0
# How a wheel arrives on a host. host.py stands behind this text and gives what it raises.
import errno
import fcntl
import hashlib
import os
import sys


def open_part(path):
    """Locked, so that two runs never write one file."""
    part = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", 0)
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # some file systems know no locks
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            part.close()
            raise Refused("another run is sending the same wheel to this host") from None
    return part


def copy_into(digest, source, left, part=None):
    """At most `left` bytes of `source` into the digest, and `part`; how many are still missing."""
    while left > 0:
        block = source.read(min(left, 1 << 20))
        if not block:
            break
        digest.update(block)
        if part and part.write(block) != len(block):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the wheel")
        left -= len(block)
    return left


def receive(wheel, kept, part):
    """The wheel into `part`: of what an earlier run left there the first kept["bytes"] stay, the
    rest comes from stdin. Refused unless all has the wheel's size and hash."""
    digest = hashlib.sha256()
    size, sha256 = wheel["bytes"], wheel["sha256"]
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
