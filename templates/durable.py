# SPDX-License-Identifier: Apache-2.0
# Files of ours on a host that change whole or not at all, the pointer among them, and why a host
# refuses. layout.py stands before this text.
import contextlib
import os
import re
import stat

HEX64 = re.compile(r"^[0-9a-f]{64}$")


class Refused(Exception):
    """This phase cannot be done on this host; the text says why."""


class CutShort(Refused):
    """The input ended too early; what came is kept for the next run."""


class Damaged(Refused):
    """Bytes are not those that were sent. `again`: releases that can be staged anew."""

    def __init__(self, text, again=()):
        super().__init__(text)
        self.again = list(again)


@contextlib.contextmanager
def about(path):
    """The system's errors tell which file they are about; those of a write do not by themselves."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = path
        raise


def sync_folder(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def group_mode(mode, is_folder=False):
    """With what members of the group may do too: write what the owner can write, and remove what
    lies in a folder, also in a sealed one."""
    if is_folder:
        return mode | stat.S_ISGID | 0o070
    return mode | 0o060 if mode & 0o200 else mode


def mode_in(folder, mode, is_folder=False):
    return group_mode(mode, is_folder) if is_shared(folder) else mode


def open_ours(path, mode):
    """A file in ROOT that is written in place and made where it is missing."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    wanted, status = mode_in(os.path.dirname(path), mode), os.fstat(fd)
    if stat.S_IMODE(status.st_mode) != wanted and status.st_uid == os.geteuid():
        os.fchmod(fd, wanted)
    return os.fdopen(fd, "r+b", 0)


def write_whole(path, data, mode):
    """Content and name appear together: temporary file, fsync, rename, fsync of the folder."""
    temporary = "%s.%d.new" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with about(path), os.fdopen(fd, "wb") as out:
            out.write(data)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.rename(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))


def write_note(root, name, data):
    write_whole(os.path.join(root, name), data, mode_in(root, 0o644))


def read_pointer(root):
    try:
        with open(os.path.join(root, "active"), encoding="ascii") as pointer:
            return [name for name in pointer.read(65536).split() if HEX64.match(name)]
    except (OSError, ValueError):
        return []


def point_at(releases):
    return ("".join(name + "\n" for name in releases) or "none\n").encode("ascii")
