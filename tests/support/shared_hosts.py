# SPDX-License-Identifier: Apache-2.0
"""Machines that have one folder mounted: each host has a machine id and a mount of its own, in a
mount namespace, by bindfs as a network file system would have it."""
import os
import shutil
import subprocess
import time
import uuid

from support import sshd_hosts

# machine id, what lies there, what is exported, where it is mounted, options; then the server.
WITHIN = """mount --bind "$1" /etc/machine-id && mount --bind "$2" "$3" || exit 1
bindfs -f -o subtype=nfs"$5" "$3" "$4" &
while ! mountpoint -q "$4"; do kill -0 $! || exit 1; sleep 0.02; done
shift 5
exec "$@"
"""


def missing():
    """Why no folder can be shared here, or None."""
    if sshd_hosts.missing():
        return sshd_hosts.missing()
    if os.geteuid() != 0:
        return "mounts need root"
    if not shutil.which("bindfs") or not os.access("/dev/fuse", os.W_OK):
        return "no bindfs, or no FUSE"
    if not os.path.exists("/etc/machine-id"):
        return "this machine has no machine id"
    done = subprocess.run(["unshare", "-m", "true"], stderr=subprocess.PIPE, text=True, check=False)
    return "no mount namespace: %s" % done.stderr.strip() if done.returncode else None


class SharedHosts(sshd_hosts.SshdHosts):
    """What lies in `export` is at `place` on each host; `place` is empty here."""

    def __init__(self, folder, number):
        super().__init__(folder, number)
        self.export, self.place = self.folder / "export", self.folder / "shared"
        for path in (self.export, self.place):
            path.mkdir()
        for host in self.hosts.values():
            (host["folder"] / "machine-id").write_text(uuid.uuid4().hex + "\n")

    def start_sharing(self, *names, export=None, source=None, options=""):
        """`export`: another folder, which has the name of the one that is exported; `source`:
        another name for what is exported."""
        for name in names or self.hosts:
            machine = self.hosts[name]["folder"] / "machine-id"
            self.start(name, within=["unshare", "-m", "sh", "-c", WITHIN, "sh", machine,
                                     export or self.export, source or self.export, self.place,
                                     options])

    def enter(self, name, *words, **how):
        """A process that sees what the host sees."""
        pid = self.hosts[name]["process"].pid
        return subprocess.Popen(["nsenter", "-t", str(pid), "-m", *map(str, words)], **how)

    @staticmethod
    def wait_for(what, seconds=20):
        latest = time.monotonic() + seconds
        while not what():
            if time.monotonic() > latest:
                raise AssertionError("it did not happen in %g s" % seconds)
            time.sleep(0.02)
