# SPDX-License-Identifier: Apache-2.0
"""A night on 64 hosts, as written down beforehand: who is down, too old, in use or falls ill, sixteen
hosts with one environment, and a canary before all of them. Then the morning."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from support import fleet, recorded_wheel, shared_hosts
from support.deploy_case import DeployCase

HOSTS = ["n%d" % at for at in range(1, 65)]
DOWN, OLD, BUSY = HOSTS[9:14], HOSTS[19:22], HOSTS[29:35]
ILL, SHARED = "n40", HOSTS[48:]
POLICY = """strategy: canary
bake: 2s
waves: [1, 5%, 25%, 100%]
max_failures: 1
on_failure: stop-class
unreachable: leave-out=8
incompatible: leave-out=4
busy: leave-out=10%
"""
JOB = "import mmap, sys, time\nf = open(sys.argv[1])\n" \
      "m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\nprint(flush=True)\ntime.sleep(3600)\n"
SELF_TEST = b"import os, sys\n\n\ndef self_test():\n" \
            b"    assert not os.path.exists(sys.prefix + '/ill'), 'this GPU is ill'\n"


@unittest.skipIf(fleet.missing() or shared_hosts.missing(),
                 "%s" % (fleet.missing() or shared_hosts.missing()))
class Night(DeployCase):
    def setUp(self):
        super().setUp()
        self.fleet = fleet.Fleet(self.folder / "fleet", len(HOSTS), noise=False)
        self.addCleanup(self.fleet.stop)
        if not {"name", "machine-id", "boot-id"} <= self.fleet.separates:
            self.skipTest("hosts of this machine cannot have machine ids of their own")
        self.fleet.start()
        self.share()
        # One environment, which is copied: what is in it knows its place by its interpreter.
        first = self.make_environment("made").parent.parent
        self.needs(first, "1.0")
        self.prefixes = {}
        for name in HOSTS:
            here = self.place if name in SHARED else self.folder / "hosts" / name
            self.prefixes[name] = here / "env"
            if not (here / "env").exists():
                shutil.copytree(first, here / "env", symlinks=True)
        self.hosts = self.write("cluster", "".join(
            "%s slots=8 python=%s/bin/python\n" % (name, self.prefixes[name]) for name in HOSTS))
        self.common = ["-F", self.fleet.config, "--state-dir", self.folder / "state",
                       "--connect-timeout", "60", "--login-timeout", "60"]

    def share(self):
        """A folder that all hosts see, as from a network file system."""
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-test.", dir="/var/tmp"))
        self.addCleanup(self.place.rmdir)
        export = self.folder / "export"
        export.mkdir()
        subprocess.run(["bindfs", "-o", "fsname=store:/export,subtype=nfs", export, self.place],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.place], check=True)

    @staticmethod
    def needs(prefix, version):
        """What the wheel requires is there, in that version."""
        site = next(prefix.glob("lib/python*/site-packages"))
        for path in site.glob("needful-*.dist-info"):
            shutil.rmtree(path)
        info = site / ("needful-%s.dist-info" % version)
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: needful\nVersion: %s\n"
                                       % version)

    def job(self, name):
        child = subprocess.Popen([sys.executable, "-c", JOB, self.prefixes[name] / "pyvenv.cfg"],
                                 stdout=subprocess.PIPE)
        self.addCleanup(child.wait)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.kill)
        child.stdout.readline()
        return child

    def pack(self, version):
        return recorded_wheel.pack(
            self.folder, {"demo/__init__.py": b"VERSION = '%s'\n" % version.encode(),
                          "demo/op.py": SELF_TEST}, name="demo", version=version,
            ops=[{"name": "op", "self_test": "demo.op:self_test"}], requires=["needful>=1"])

    def ask(self, *words, exit_status=0):
        done = self.run_program(*words, *self.common, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def take(self, wheel, *words, **how):
        return self.deploy("deploy", "--hostfile", self.hosts, *self.common, "--wheel", wheel,
                           "--policy", self.write("night.yaml", POLICY), *words, **how)

    def active(self, name):
        """What jobs get there."""
        return self.python(self.prefixes[name] / "bin" / "python", "-c",
                           "import demo; print(demo.VERSION)", check=False).split()[-1]

    def happened(self, name):
        path = self.prefixes[name].parent / ".ds-deploy" / "env" / "history.jsonl"
        return [json.loads(line)["event"] for line in path.read_text().splitlines()]

    def test_the_night_and_the_morning(self):
        evening = self.take(self.pack("1.0"))
        self.assertEqual(self.states(evening), dict.fromkeys(HOSTS, "confirmed"))

        # The night.
        for name in DOWN:
            self.fleet.stop(name)
        for name in OLD:
            self.needs(self.prefixes[name], "0.9")
        jobs = [self.job(name) for name in BUSY]
        (self.prefixes[ILL] / "ill").write_text("")
        newer = self.pack("2.0")
        night = self.take(newer, "--message", "CUDA 13", exit_status=4)
        expected = dict.fromkeys(HOSTS, "confirmed")
        expected.update(dict.fromkeys(DOWN, "unreachable"), **dict.fromkeys(OLD, "refused"),
                        **dict.fromkeys(BUSY, "skipped"), **{ILL: "rolled-back"})
        self.assertEqual(self.states(night), expected)
        hosts = {host["name"]: host for host in night["hosts"]}
        owed = [*DOWN, *OLD, *BUSY]
        self.assertEqual({name: host["owed"] for name, host in hosts.items() if host["owed"]},
                         dict.fromkeys(owed, ["release"]))
        self.assertEqual([name for name in HOSTS if hosts[name]["left_out"]], sorted(
            owed, key=HOSTS.index))
        self.assertIn("this GPU is ill", hosts[ILL]["message"])
        self.assertIn("needful", hosts[OLD[0]]["message"])
        # One of the sixteen wrote.
        self.assertEqual([name for name in SHARED if hosts[name]["sent_bytes"]], SHARED[:1])
        self.assertEqual({hosts[name]["writer"] for name in SHARED[1:]}, {SHARED[0]})
        # The canary was the first, alone.
        self.assertIn("the canary is watched", self.stderr)
        for name in ("n1", "n2", SHARED[0], SHARED[-1]):
            self.assertEqual(self.active(name), "2.0")
        for name in (DOWN[0], OLD[0], BUSY[0], ILL):
            self.assertEqual(self.active(name), "1.0")

        # The morning: they are well, and get what they are owed.
        status = self.ask("status", "--hostfile", self.hosts, exit_status=5)
        self.assertEqual([host["name"] for host in status["hosts"] if host["owed"]],
                         sorted(owed, key=HOSTS.index))
        self.fleet.start(*DOWN)
        for name in OLD:
            self.needs(self.prefixes[name], "1.1")
        for job in jobs:
            job.kill()
            job.wait()
        (self.prefixes[ILL] / "ill").unlink()
        paid = self.ask("resume", "--owed")
        self.assertEqual(self.states(paid), dict.fromkeys(sorted(owed, key=HOSTS.index),
                                                          "confirmed"))
        rest = self.take(newer)
        expected = dict.fromkeys(HOSTS, "unchanged")
        expected[ILL] = "confirmed"
        self.assertEqual(self.states(rest), expected)
        self.assertEqual({self.active(name) for name in HOSTS}, {"2.0"})

        # Who changed what?
        told = self.ask("history", "--hosts", "--hostfile", self.hosts)
        of_night = {entry["event"]: entry for entry in told["entries"]
                    if entry["run"] == night["run"]}
        self.assertEqual(sorted(of_night), ["activated", "confirmed", "rolled-back"])
        self.assertEqual({entry["message"] for entry in of_night.values()}, {"CUDA 13"})
        self.assertEqual(of_night["rolled-back"]["hosts"], [ILL])
        self.assertEqual(self.happened(SHARED[0]), ["activated", "confirmed"] * 2)

        # What differs, in wheel, options and facts?
        told = self.ask("diff", evening["run"], night["run"])
        different = {(one["section"], one["name"]): one for one in told["differences"]}
        # Of those that were down the night knows nothing more.
        self.assertCountEqual(different["wheel", "file"]["hosts"],
                              [name for name in HOSTS if name not in DOWN])
        self.assertEqual([one["hosts"] for one in told["unanswered"]], [DOWN])
        self.assertIn("--message CUDA 13", different["flags", "options"]["after"])
        now = self.ask("diff", night["run"], "now")
        self.assertEqual(now["unanswered"], told["unanswered"])
        self.assertNotIn("wheel", {one["section"] for one in now["differences"]})
        self.assertEqual(now["before_alone"] + now["after_alone"], [])

        # Back to the evening, the sixteen once.
        back = self.ask("rollback", "--hostfile", self.hosts)
        self.assertEqual(self.states(back), dict.fromkeys(HOSTS, "rolled-back"))
        self.assertEqual({self.active(name) for name in HOSTS}, {"1.0"})
        self.assertEqual(len(self.happened(SHARED[0])), 6)


if __name__ == "__main__":
    unittest.main()
