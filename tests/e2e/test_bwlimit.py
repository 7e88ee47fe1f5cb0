# SPDX-License-Identifier: Apache-2.0
"""--bwlimit: what one coordinator sends in a second to all of its hosts together."""
import json
import os
import signal
import subprocess
import sys

from support.deploy_case import PROGRAM, clean_environment
from support.fleet_case import FleetCase
from support.recorded_wheel import pack

SIZE = 400_000  # of a wheel that no packing makes smaller
RATE = 500 * 1024


class Limited(FleetCase):
    number = 3

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.words = ["--state-dir", cls.folder / "state", "-F", cls.fleet.config, "--json"]
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(cls.folder / "n1")],
                       check=True)
        for name in ("n2", "n3"):
            subprocess.run(["cp", "-a", cls.folder / "n1", cls.folder / name], check=True)
        cls.hostfile.write_text("".join("%s slots=8 python=%s/bin/python\n" % (
            name, cls.folder / name) for name in cls.fleet.hosts))

    def begin(self, *words):
        child = subprocess.Popen([PROGRAM, *map(str, [*words, *self.words])],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=clean_environment())
        self.addCleanup(self.end, child)
        return child

    def begin_new(self, command, version, *words):
        wheel = pack(self.folder, {"demo/__init__.py": b"", "demo/data.bin": os.urandom(SIZE)},
                     name="demo", version=version)
        policy = self.folder / "policy.yaml"
        policy.write_text("relay: off\n")  # else little would be sent from here
        return self.begin(command, "--hostfile", self.hostfile, "--wheel", wheel, "--policy",
                          policy, *words)

    def finish(self, child, state, status=0):
        """Seconds that each host's copy took, and bytes that were sent."""
        out, err = child.communicate(timeout=60)
        self.assertEqual(child.returncode, status, err)
        hosts = json.loads(out)["hosts"]
        self.assertEqual({host["state"] for host in hosts}, {state})
        return ([host["seconds"].get("stage", 0) for host in hosts],
                sum(host["sent_bytes"] for host in hosts))

    def assert_limited(self, took, sent):
        self.assertGreater(max(took), sent / RATE - 0.5)
        self.assertLess(max(took), 60)
        # They took turns: the first one would have its copy in a third of the time.
        self.assertGreater(min(took), sent / RATE / 2)

    def test_hosts_share_it(self):
        took, sent = self.finish(
            self.begin_new("deploy", "1.0", "--bwlimit", RATE // 1024), "confirmed")
        self.assertGreater(sent, self.number * SIZE)
        self.assert_limited(took, sent)

    def test_a_run_that_goes_on_may_have_another(self):
        child = self.begin_new("stage", "2.0", "--bwlimit", "1")
        parts = self.folder.glob
        self.wait_for(lambda: len(list(parts(".ds-deploy/*/releases/*.part"))) == self.number)
        child.send_signal(signal.SIGINT)
        self.finish(child, "ready", 130)
        took, sent = self.finish(self.begin("resume", "--bwlimit", "500K"), "staged")
        self.assert_limited(took, sent)
