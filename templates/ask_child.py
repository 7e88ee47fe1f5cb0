# SPDX-License-Identifier: Apache-2.0
# Foreign code in a child process: what crashes or hangs there costs no more than its time. Unlike
# in_child.py it writes no file. layout.py stands before this text.
import json
import select
import signal
import time


def child_side(work, writer):
    """Never returns. A child that hangs in the kernel must hold no stream that anybody waits for."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        work(lambda said: os.write(writer, (json.dumps(said) + "\n").encode()))
    finally:
        os._exit(0)


def read_pipe(reader, limit, is_enough=lambda said: False):
    """What came until it was enough or the pipe was closed, and whether that was within `limit`
    seconds."""
    said, latest = b"", time.monotonic() + limit
    while not is_enough(said):
        if not select.select([reader], [], [], max(0, latest - time.monotonic()))[0]:
            return said, False
        block = os.read(reader, 1 << 16)
        if not block:
            break
        said += block
    return said, True


def ask_child(work, limit):
    """What work(say) said, and whether the child ended within `limit` seconds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        child_side(work, writer)
    os.close(writer)
    said, ended = read_pipe(reader, limit)
    os.close(reader)
    if not ended:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, os.WNOHANG)  # closing a device can hang too
    return [json.loads(line.decode()) for line in said.split(b"\n")[:-1]], ended
