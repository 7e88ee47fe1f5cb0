# SPDX-License-Identifier: Apache-2.0
# How the pip of this interpreter is called, and which line of its output tells why it failed.
import os
import subprocess
import sys
import tempfile

TAIL = 256 << 10


def is_error(line):
    return line.lower().startswith("error:")


def last_error(said):
    """The line of pip's output that tells why; what conflicts stands below its own heading."""
    lines = [line.strip() for line in said.splitlines()]
    heading = "The conflict is caused by:"
    if heading in lines:
        conflict = lines[lines.index(heading) + 1:]
        conflict = conflict[:conflict.index("")] if "" in conflict else conflict
        if conflict:
            return "these conflict: " + "; ".join(conflict[:6])
    errors = [line for line in lines if is_error(line)] or [line for line in lines if line]
    return errors[-1] if errors else "it said nothing"


def no_pip():
    return "%s has no pip; give it one (%s -m ensurepip)" % (sys.executable, sys.executable)


def call_pip(words, environment, options=(), **more):
    """Its exit status, and the end of what it said. `options` are those of the interpreter."""
    command = [sys.executable, *options, "-m", "pip", "--no-input", "--disable-pip-version-check",
               "--no-color", *words[:1], "--progress-bar", "off", *words[1:]]
    with tempfile.TemporaryFile() as output:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, cwd="/", check=False,
                                env=dict(environment, PYTHONUNBUFFERED="1"), **more).returncode
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - TAIL))
        return status, output.read().decode("utf-8", "replace")
