# SPDX-License-Identifier: Apache-2.0
# How a stream is unpacked with little memory. receive.py stands before this text.
import contextlib
import os
import shutil
import subprocess

# The stream's window has 2 MB.
WINDOW_LOG = 26
# A frame that holds "z".
TRIAL = b"(\xb5/\xfd \x01\x09\x00\x00z"


class Plain:
    def __init__(self, packed):
        self.read = packed.read

    def close(self):
        """The caller's file stays open."""


class Program:
    """zstd(1), which ends with this object, or with the pipe if this process is killed."""

    def __init__(self, packed):
        program = shutil.which("zstd")
        if program is None:
            raise Refused("there is no zstd")
        self.child = subprocess.Popen(
            [program, "-d", "-q", "-c", "--memory=%dMB" % (1 << WINDOW_LOG - 20)], stdin=packed,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def read(self, size):
        block = self.child.stdout.read(size)
        if len(block) < size and self.child.wait() != 0:
            said = self.child.stderr.read(2000).decode("utf-8", "replace").split("\n")
            raise Refused("zstd cannot unpack the wheel: %s" % (said[0] or self.child.returncode))
        return block

    def close(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()
        self.child.stderr.close()


class Module:
    """What a module of Python unpacks; its own exceptions are refusals."""

    def __init__(self, content):
        self.content = content

    def read(self, size):
        try:
            return self.content.read(size)
        except OSError:
            raise
        except Exception as error:
            raise Refused("zstd cannot unpack the wheel: %s" % error) from None

    def close(self):
        """The caller's file stays open."""


def by_standard_library(packed):
    from compression import zstd
    limit = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    return Module(zstd.ZstdFile(packed, options=limit))


def by_package(packed):
    import zstandard
    return Module(zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG).stream_reader(packed))


def works(unpacker):
    """By trying: what bears the name zstd may be anything."""
    packed, end = os.pipe()
    with os.fdopen(packed, "rb", 0) as source:
        with os.fdopen(end, "wb") as trial:
            trial.write(TRIAL)
        try:
            with contextlib.closing(unpacker(source)) as content:
                return content.read(2) == b"z"
        except Exception:
            return False


def zstd_unpacker():
    """What unpacks zstd on this host; None: nothing does."""
    return next(filter(works, (Program, by_standard_library, by_package)), None)


def unpacked(part, packing):
    """A context that gives the content of the open file `part` from its beginning."""
    os.lseek(part.fileno(), 0, os.SEEK_SET)
    unpacker = Plain if packing == "none" else zstd_unpacker()
    if unpacker is None:
        raise Refused("this host cannot unpack zstd any more; deploy again")
    return contextlib.closing(unpacker(part))
