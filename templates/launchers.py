# SPDX-License-Identifier: Apache-2.0
# The commands of a wheel. Each free name in the environment's bin folder gets a fixed launcher,
# launcher.py, which finds the active release when it runs. durable.py and release.py stand before
# this text.
import glob
import importlib.metadata
import os
import re
import shlex
import stat
import sys
import sysconfig

MARKER = b"\n# ds-deploy launcher\n"
COMMAND = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")
CHECK = "ds-deploy-check"
FIRST_LINE = 127  # bytes that every Linux reads of it: execve(2)


def interpreter_line(flags):
    """As pip writes it: /bin/sh starts an interpreter whose path no first line can hold."""
    path = os.fsencode(sys.executable)
    if len(path) + len(flags) + len("#!\n") <= FIRST_LINE and not re.search(rb"\s", path):
        return b"#!" + path + flags
    quoted = os.fsencode(shlex.quote(sys.executable)) + flags
    return b"#!/bin/sh\n'''exec' " + quoted + b" \"$0\" \"$@\"\n' '''"


def launcher_text(template, root, name, flags=b""):
    hook = os.path.join(sysconfig.get_paths()["purelib"], "_ds_deploy.py")
    for key, value in (("@ROOT@", os.path.realpath(root)), ("@NAME@", name), ("@HOOK@", hook)):
        template = template.replace(key, ascii(value))
    return template.encode("ascii").replace(b"@SHEBANG@", interpreter_line(flags))


def is_launcher(path, root):
    """Whether it is ours, and of this environment."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with open(path, "rb") as source:
            text = source.read(16384)
    except OSError:
        return False
    own = "\nROOT = %s\n" % ascii(os.path.realpath(root))
    return MARKER in text and own.encode("ascii") in text


def commands_of(folder):
    """Names of the commands that an unpacked wheel has."""
    names = {os.path.basename(path)
             for path in glob.glob(glob.escape(folder) + "/*.data/scripts/*")}
    for distribution in importlib.metadata.distributions(path=[folder]):
        try:
            names.update(point.name for point in distribution.entry_points
                         if point.group in ("console_scripts", "gui_scripts"))
        except Exception:
            continue  # no tool can read it, so there is no command in it
    return names


def install_launchers(request, root):
    """For each command of the releases whose name is free, and our own ds-deploy-check. What is in
    the way costs the command, never the activation."""
    names = set()
    for sha256 in request["releases"]:
        names |= commands_of(release_folder(root, sha256))
    texts = {name: launcher_text(request["launcher"], root, name) for name in names}
    # Without site-packages it starts in half the time.
    texts[CHECK] = launcher_text(request["check"], root, CHECK, b" -IS")
    changed, left, problems = False, [], []
    for name in sorted(texts):
        path = os.path.join(sysconfig.get_path("scripts"), name)
        if not COMMAND.match(name) or (os.path.lexists(path) and not is_launcher(path, root)):
            left.append(name)
            continue
        try:
            changed |= write_launcher(path, texts[name])
            give_as_root_is(path, root)
        except OSError as error:
            problems.append("%s: %s" % (error.strerror, path))
    return {"changed": changed, "scripts_left": left[:100], "scripts_problem": "; ".join(problems)}


def write_launcher(path, text):
    if os.path.lexists(path):
        with open(path, "rb") as present:
            if present.read() == text and os.access(path, os.X_OK):
                return False
    write_whole(path, text, 0o755)
    return True


def launchers_of(root):
    folder = sysconfig.get_path("scripts")
    return [path for path in (os.path.join(folder, name) for name in sorted(os.listdir(folder)))
            if is_launcher(path, root)]
