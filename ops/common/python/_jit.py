# SPDX-License-Identifier: Apache-2.0
"""Ops that this installation lacks: the program ds-deploy builds them on this machine, once."""
from __future__ import annotations

import importlib
import os
import sys
import threading
from types import ModuleType

import ds_ops

_MOST_SHOWN = 8000
_HOW_TO_GET_IT = ("build ds-deploy from its source (cmake -S . -B build && cmake --build build) "
                  "and put it on PATH or name it in DS_DEPLOY, or install a wheel that has the op")
_turn = threading.RLock()


class BuildFailed(RuntimeError):
    """An op could not be built.

    ``op`` is its name; ``status`` the exit status of ds-deploy (below 0: the signal that ended it),
    or None if it could not be run; ``output`` what it wrote on stderr, the compiler's messages
    among it. The exception's text has the end of that.
    """

    def __init__(self, op: str, reason: str, status: int | None = None,
                 output: str = "") -> None:
        super().__init__(f"the op {op} cannot be built: {reason}")
        self.op, self.status, self.output = op, status, output


def load(name: str) -> ModuleType:
    """The module ``ds_ops.<name>``; an op that this installation lacks is built first.

    ``ds-deploy jit`` builds it for this interpreter, its PyTorch and this machine's GPUs into
    TORCH_EXTENSIONS_DIR, once however many processes ask: the others wait. What was built before
    is found there, and no compiler runs. The program is the one that the variable DS_DEPLOY names,
    else ds-deploy on PATH; its progress goes to sys.stderr. From then on the op is one of ops(), in
    this process: every process calls load() for itself. What all ops share, such as
    ``ds_ops._arrays``, stays that of this installation.

    Threads may call it at the same time. TypeError, ValueError: ``name`` is no name of an op.
    BuildFailed: there is no such op, it does not compile, or ds-deploy is not there. ImportError:
    the op is there and cannot be imported.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: must be a str, is a {type(name).__name__}")
    if not _can_be_name(name):
        raise ValueError(f"name: {name!r} is no name of an op: lower case letters, digits and _, "
                         "beginning with a letter")
    with _turn:
        if name not in ds_ops.ops():
            _add(name, _build(name))
        return importlib.import_module(f"ds_ops.{name}")


def _can_be_name(name: str) -> bool:
    return name.isascii() and name.isidentifier() and name == name.lower() and name[0] != "_"


def _add(name: str, package: str) -> None:
    """Makes the op in the folder ``package`` a part of the ds_ops that runs."""
    folder = os.path.join(package, "ds_ops")
    if folder not in ds_ops.__path__:
        ds_ops.__path__.append(folder)
    importlib.invalidate_caches()
    if name not in ds_ops.ops():
        raise BuildFailed(name, f"ds-deploy named the folder {package}, and it holds no op {name}")


def _build(name: str) -> str:
    """The folder of a package that holds the op. BuildFailed."""
    import json
    program = _program(name)
    if not sys.executable:
        raise BuildFailed(name, "this interpreter does not know its own path (sys.executable)")
    status, answer, said = _run(name, [program, "jit", name, "--json", "--python", sys.executable])
    if status != 0:
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        shown = said if len(said) <= _MOST_SHOWN else "..." + said[-_MOST_SHOWN:]
        raise BuildFailed(name, f"{program} {how}:\n{shown.rstrip()}", status, said)
    try:
        return os.fspath(json.loads(answer)["package"])
    except (ValueError, KeyError, TypeError):
        raise BuildFailed(name, f"{program} gave an answer that is not known here; is it of "
                          f"another version? It was: {answer[:200]!r}", status, said) from None


def _program(name: str) -> str:
    import shutil
    named = os.environ.get("DS_DEPLOY", "")
    found = shutil.which(os.path.expanduser(named) or "ds-deploy")
    if found:
        return found
    if named:
        raise BuildFailed(name, f"DS_DEPLOY is {named!r}, which is no program that can be run; "
                          "name ds-deploy there, or unset it to use the one on PATH")
    raise BuildFailed(name, "this installation lacks it, and the program ds-deploy, which builds "
                      f"it, is not on PATH; {_HOW_TO_GET_IT}")


def _run(name: str, words: list[str]) -> tuple[int, str, str]:
    """Exit status, stdout, stderr; the latter is also shown while it comes."""
    import subprocess
    try:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
    except OSError as error:
        raise BuildFailed(name, f"{words[0]} cannot be run: {error}") from error
    said = bytearray()
    with child:
        try:
            # One line of answer fits in a pipe, so that it can wait.
            for line in child.stderr:
                said += line
                _show(line.decode("utf-8", "replace"))
            answer = child.stdout.read()
        except BaseException:
            # Ctrl-C, most likely: the compilers end with it.
            child.terminate()
            child.communicate()
            raise
    return child.returncode, answer.decode("utf-8", "replace"), said.decode("utf-8", "replace")


def _show(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
    except (OSError, ValueError):
        pass  # a stream that is closed is no reason to stop


def _turn_anew() -> None:
    global _turn
    _turn = threading.RLock()


# A thread that had its turn in the parent is not there in the child.
os.register_at_fork(after_in_child=_turn_anew)
