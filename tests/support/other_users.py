# SPDX-License-Identifier: Apache-2.0
"""Users and groups of a test's own: files in place of /etc/passwd and /etc/group, in a mount
namespace, so that processes are alice, bob or mallory and names are looked up as ever."""
import os
import pathlib
import shutil
import subprocess

# alice and bob administer environments together; mallory is a stranger, but for one group.
USERS = {"root": 0, "alice": 70001, "bob": 70002, "mallory": 70003}
# setpriv itself can still execute what its new user cannot.
AFTER = ("sh", "-c", 'exec "$@"', "sh")
GROUPS = {"root": (0, ""), "alice": (70001, ""), "bob": (70002, ""), "mallory": (70003, ""),
          "mlops": (70010, "alice,bob"), "lab": (70011, "alice,mallory")}


def missing():
    """Why no other user can be had here, or None."""
    if os.geteuid() != 0:
        return "files of other users need root"
    if not shutil.which("setpriv"):
        return "no setpriv"
    if python() is None:
        return "no interpreter that other users can run"
    done = subprocess.run(["unshare", "-m", "true"], stderr=subprocess.PIPE, text=True, check=False)
    return "no mount namespace: %s" % done.stderr.strip() if done.returncode else None


def python():
    """An interpreter that every user can run, or None."""
    for path in (os.path.realpath(shutil.which("python3")), "/usr/bin/python3"):
        words = ["setpriv", "--reuid=70003", "--regid=70003", "--clear-groups", *AFTER, path, "-m",
                 "venv", "--help"]
        if subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0:
            return path
    return None


class OtherUsers:
    def __init__(self, folder):
        """`folder`: for the two files."""
        passwd, group = pathlib.Path(folder, "passwd"), pathlib.Path(folder, "group")
        # sshd drops its privileges to a user of that name.
        passwd.write_text("sshd:*:102:65534::/run/sshd:/usr/sbin/nologin\n" + "".join(
            "%s:*:%d:%d::/:/bin/sh\n" % (name, uid, uid) for name, uid in USERS.items()))
        group.write_text("nogroup:x:65534:\n" + "".join(
            "%s:x:%d:%s\n" % (name, gid, members) for name, (gid, members) in GROUPS.items()))
        self.words = ["unshare", "-m", "sh", "-c",
                      "mount --bind %s /etc/passwd && mount --bind %s /etc/group && exec \"$@\""
                      % (passwd, group), "sh"]

    def within(self, user):
        """What stands before a command that `user` is to run."""
        uid = USERS[user]
        return [*self.words, "setpriv", "--reuid=%d" % uid, "--regid=%d" % uid, "--init-groups",
                *AFTER]


def give(path, user, group=None, mode=None):
    os.chown(path, USERS[user], GROUPS[group or user][0], follow_symlinks=False)
    if mode is not None:
        os.chmod(path, mode)
