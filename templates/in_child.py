# SPDX-License-Identifier: Apache-2.0
"""Work of foreign code in a child process, its output in a file of ours: what exits, crashes, loops
for ever or changes the process costs only itself. read_source.py follows this text. Python 3.8."""
import contextlib
import glob
import json
import os
import signal
import sys
import tempfile
import time

TEXT_LIMIT = 8192  # characters
PRIVATE = []       # descriptors that no child keeps


def clean(value, limit=TEXT_LIMIT):
    """Text that is UTF-8, whatever it came from."""
    return str(value)[:limit].encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(error):
    try:
        return clean("%s: %s" % (type(error).__name__, error)).strip().rstrip(":")
    except Exception:
        return "an exception that cannot be shown"


def tail(noise, limit=2000):
    """The end of what was printed."""
    size = noise.seek(0, os.SEEK_END)
    noise.seek(max(0, size - limit))
    return clean(noise.read(limit).decode("utf-8", "replace")).strip()


def kill_tree(pid):
    children = []
    for listed in glob.glob("/proc/%d/task/*/children" % pid):
        with contextlib.suppress(OSError):
            with open(listed) as file:
                children += map(int, file.read().split())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_tree(child)


def wait_for(pid, limit):
    """How a child ended, in words; "" if it ended well."""
    end = time.monotonic() + limit
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done and os.WIFSIGNALED(status):
            timer = os.WTERMSIG(status) == signal.SIGALRM
            return "took too long" if timer else "ended by signal %d" % os.WTERMSIG(status)
        if done:
            return "ended with status %d" % os.WEXITSTATUS(status) if status else ""
        if time.monotonic() > end:
            kill_tree(pid)
            os.waitpid(pid, 0)
            return "took longer than %.0f s" % limit
        time.sleep(0.004)


def run_in_child(work, answer, noise):
    """The child's side: never returns."""
    status = 1
    try:
        for fd in (1, 2):
            os.dup2(noise.fileno(), fd)
        while PRIVATE:
            os.close(PRIVATE.pop())
        work(lambda value: os.write(answer.fileno(), json.dumps(value).encode() + b"\n"))
        status = 0
    except BaseException as error:  # SystemExit too
        os.write(answer.fileno(), json.dumps({"raised": text_of(error)}).encode() + b"\n")
        status = 0
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def in_child(work, limit):
    """Calls work(say) in a child. What it said, how it ended, the end of what it printed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as noise:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            run_in_child(work, answer, noise)
        ended = wait_for(pid, limit)
        said = []
        answer.seek(0)
        for line in answer:
            try:
                said.append(json.loads(line.decode("utf-8")))
            except ValueError:
                ended = ended or "gave an answer that cannot be read"
        return said, ended, tail(noise)
