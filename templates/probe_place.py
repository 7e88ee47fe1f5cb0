# SPDX-License-Identifier: Apache-2.0
# Where processes of this environment work: file systems, shared memory, PyTorch's folder of
# extensions, and modules that come before those of the environment. ask_child.py stands before this
# text.
import pwd
import re
import subprocess
import sys
import sysconfig
import time

STALE_LOCK = 3600  # seconds: no op takes longer to compile
# What decides which libraries, modules and toolkit a job gets.
DECIDES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME", "CUDA_HOME",
           "TORCH_EXTENSIONS_DIR")


def names_in(folder):
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def quota_left(source):
    """Bytes that this user may still write there, as quota(1) says; -1: no quota, or not known."""
    try:
        said = subprocess.run(["quota", "-w", "-p"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return -1
    for line in said.decode("utf-8", "replace").splitlines():
        fields = line.split()  # device, blocks of 1 KiB, soft limit, hard limit, ...
        if len(fields) >= 4 and fields[0] == source:
            used, soft, hard = (int(re.sub(r"\D", "", one) or 0) for one in fields[1:4])
            limit = hard or soft
            return max(0, limit - used) * 1024 if limit else -1
    return -1


def disk_facts(path):
    space = os.statvfs(path)
    filesystem, source, options = mount_of(os.path.realpath(path))
    # Some file systems count no inodes (btrfs: 0 of 0).
    inodes = space.f_favail if space.f_files else -1
    return {"path": path, "filesystem": filesystem, "source": source,
            "free_bytes": space.f_bavail * space.f_frsize, "free_inodes": inodes,
            "quota_bytes": quota_left(source),
            "noexec": "noexec" in options.split(",") if filesystem else None}


def shared_memory_facts():
    space = os.statvfs("/dev/shm")
    return {"bytes": space.f_blocks * space.f_frsize,
            "free_bytes": space.f_bavail * space.f_frsize}


def extensions_folder():
    """As torch.utils.cpp_extension finds it: where ops that are compiled at first use lie."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("TORCH_EXTENSIONS_DIR") or os.path.join(cache, "torch_extensions")


def jit_facts():
    """Its locks that no compile can still hold: whoever builds that op waits for ever."""
    root = extensions_folder()
    locks = []
    for name in names_in(root)[:1000]:
        inner = [os.path.join(name, more) for more in names_in(os.path.join(root, name))[:1000]]
        for folder in [name] + inner:
            lock = os.path.join(root, folder, "lock")
            try:
                if time.time() - os.lstat(lock).st_mtime > STALE_LOCK and len(locks) < 100:
                    locks.append(folder)
            except OSError:
                pass
    return {"folder": root, "locks": locks}


def earlier_modules(releases):
    """Top-level module -> the folder that gives it, for folders of sys.path before site-packages:
    PYTHONPATH, and what a user installed for themselves; not ours, which lie below `releases`."""
    paths = sysconfig.get_paths()
    own = {os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib")}
    found = {}
    for folder in sys.path:
        if os.path.realpath(folder) == os.path.realpath(paths["purelib"]):
            break
        if os.path.realpath(os.path.dirname(folder)) in own or os.path.realpath(folder) in own:
            continue
        if os.path.realpath(folder).startswith(os.path.realpath(releases) + os.sep):
            continue
        for entry in names_in(folder):
            path = os.path.join(folder, entry)
            package = os.path.isfile(os.path.join(path, "__init__.py"))
            name = entry if package else re.sub(r"(\.[\w-]+)?\.(py|so)$", "", entry, flags=re.A)
            if (package or name != entry) and name.isidentifier() and len(found) < 1000:
                found.setdefault(name, folder)
    return found


def shell_says(words, limit):
    """What this shell has of DECIDES; None if it does not say so within `limit` seconds. Its
    profile may print, hang, or leave processes behind that hold the pipe."""
    inherited = {name: value for name, value in os.environ.items()
                 if name not in DECIDES and name != "SHLVL"}
    child = subprocess.Popen(words + [r"printf '\000'; env -0 && printf '\000\000'"], cwd="/",
                             env=inherited, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, start_new_session=True)
    end = b"\0\0\0"
    with child.stdout as pipe:
        said, _ = read_pipe(pipe.fileno(), limit,
                            lambda said: end in said or len(said) >= 1 << 20)
    if end not in said:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except OSError:
            pass
    os.waitpid(child.pid, os.WNOHANG)  # what hangs on a dead disk outlives SIGKILL
    if end not in said:
        return None
    pairs = [line.partition(b"=") for line in said[:said.index(end)].split(b"\0")[1:]]
    values = {name: value for name, _, value in pairs}
    return [values.get(name.encode(), b"") for name in DECIDES]


def login_facts():
    """Variables of DECIDES that a login shell has otherwise than the shell of a command over SSH.
    It is no question elsewhere, or where an environment script says what a job gets."""
    if not os.environ.get("DS_ASK_LOGIN"):
        return {"asked": False}
    try:
        shell = pwd.getpwuid(os.getuid()).pw_shell
        if os.path.basename(shell) not in ("sh", "bash", "dash", "ksh", "zsh", "fish"):
            return {"asked": True}
        command = shell_says([shell, "-c"], 2)
        login = shell_says([shell, "-l", "-c"], 2) if command else None
    except (KeyError, OSError):
        return {"asked": True}
    if login is None:
        return {"asked": True}
    return {"asked": True, "differs": [name for name, here, there in zip(DECIDES, command, login)
                                       if here != there]}
