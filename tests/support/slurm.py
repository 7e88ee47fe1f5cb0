# SPDX-License-Identifier: Apache-2.0
"""A real Slurm whose nodes n1, n2 and so on are all this machine: munged, slurmctld, slurmd -N."""
import contextlib
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
CONFIG = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
KillWait=1
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Why no Slurm can be started here, or None."""
    for name in ("munged", "slurmctld", "slurmd", "scontrol", "sinfo", "sbatch"):
        if shutil.which(name, path=PATH) is None:
            return "no %s (munge, slurmctld, slurmd, slurm-client)" % name
    if "-N node" not in subprocess.run([shutil.which("slurmd", path=PATH), "-h"], text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       check=False).stdout:
        return "slurmd was built without --enable-multiple-slurmd"
    return None


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Slurm:
    def __init__(self, folder, number):
        self.folder = pathlib.Path(folder)
        (self.folder / "state").mkdir(parents=True)
        self.names = ["n%d" % index for index in range(1, number + 1)]
        host = socket.gethostname().split(".")[0]
        ports = free_ports(number + 1)
        nodes = "\n".join(
            "NodeName=%s NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=1 State=UNKNOWN"
            % (name, host, port) for name, port in zip(self.names, ports[1:]))
        config = self.folder / "slurm.conf"
        config.write_text(CONFIG.format(folder=self.folder, host=host, ports=ports, nodes=nodes,
                                        user=getpass.getuser()))
        self.environment = dict(os.environ, PATH=PATH, SLURM_CONF=str(config))
        self.daemons = []

    def start(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.begin("munged", "--foreground", "--force", "--key-file", key, "--socket",
                   self.folder / "munge.socket", "--pid-file", self.folder / "munged.pid",
                   "--log-file", self.folder / "munged.log", "--seed-file",
                   self.folder / "munged.seed")
        self.wait_for(lambda: (self.folder / "munge.socket").exists())
        self.begin("slurmctld", "-D")
        for name in self.names:
            self.begin("slurmd", "-D", "-N", name)
        for name in self.names:
            self.wait_for(lambda name=name: self.state(name) == "idle")

    def begin(self, *words):
        self.daemons.append(subprocess.Popen(
            [shutil.which(words[0], path=PATH), *map(str, words[1:])], env=self.environment,
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL))

    def stop(self):
        """With its jobs: what they leave would be a job of this machine for all other tests."""
        try:
            self.run("scancel", "--user", getpass.getuser())
            self.wait_for(lambda: self.run("squeue", "-h") == "", 10)
        except (AssertionError, subprocess.CalledProcessError):
            pass  # killed below
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.wait_for(lambda: not self.kill_processes(), 10)

    def kill_processes(self):
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return processes

    def processes(self):
        """Those that have our folder in their environment: steps of jobs leave their slurmd."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if str(self.folder / "slurm.conf").encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:  # it ended, or is somebody else's
                pass
        return found

    def run(self, *words):
        return subprocess.run(words, env=self.environment, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, cwd=self.folder, check=True).stdout.strip()

    def state(self, node):
        """ "idle"; also where Slurm does not answer yet: "". """
        try:
            return self.run("sinfo", "-h", "-N", "-n", node, "-o", "%T").rstrip("*")
        except subprocess.CalledProcessError:
            return ""

    def reason(self, node):
        return self.run("sinfo", "-h", "-N", "-n", node, "-o", "%E")

    def job(self, node, until):
        """Its number, once it runs there; it ends when that file is there."""
        script = self.folder / ("job-%s" % node)
        script.write_text("#!/bin/sh\nwhile [ ! -e %s ]; do sleep 0.2; done\n" % until)
        number = self.run("sbatch", "--parsable", "-w", node, "-o", "/dev/null", str(script))
        self.wait_for(lambda: self.run("squeue", "-h", "-j", number, "-o", "%T") == "RUNNING")
        return number

    @staticmethod
    def wait_for(what, seconds=60):
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                raise AssertionError("Slurm did not get there in %d s" % seconds)
            time.sleep(0.1)
