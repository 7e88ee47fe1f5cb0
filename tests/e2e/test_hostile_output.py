# SPDX-License-Identifier: Apache-2.0
"""Hosts that print what would take over a terminal, fill memory or pass for an answer of ours."""
import json
import os
import pathlib
import socket
import sys
import threading
import unittest
import unittest.mock

from support import fleet
from support.deploy_case import PROGRAM, ROOT, clean_environment
from support.fleet_case import FleetCase

ESCAPES = r"\033[2J\033]0;owned\007\r\033[1Aok\n\233[31m\302\233[32m\342\200\256txt.exe\n"
# What each host's shell prints before a command, on both streams; n8 is well.
NOISE = {
    "n1": "printf '%s'" % ESCAPES,
    "n2": "head -c 1500000 /dev/zero | tr '\\0' x",
    "n3": "head -c 100000000 /dev/zero | tr '\\0' x",
    "n4": r"printf 'a\000b\377\376\300\200\355\240\200c'; head -c 3000 /dev/urandom",
    "n5": r"printf '\n%032d 0\n\n%032d 255\n' 7 8",
}
# Python and tools whose answers are garbage.
GARBAGE = "printf '{\"a\": [[[%s'; head -c 100000 /dev/urandom; printf '%s\\n'" % (ESCAPES, ESCAPES)
TOOL = "printf '%s\\tx,y,z\\n%%080000d' 7" % ESCAPES
# MB. A sanitizer keeps notes on all memory, and what was freed unless told otherwise.
SANITIZED = any(name in pathlib.Path(PROGRAM).read_bytes()
                for name in (b"__asan_init", b"__tsan_init"))
MOST_MEMORY = 400 if SANITIZED else 120
KEEP_LITTLE = "quarantine_size_mb=1:thread_local_quarantine_size_kb=64"


class HostileCase(FleetCase):
    settings = {"noise": False}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        options = unittest.mock.patch.dict(os.environ, ASAN_OPTIONS=KEEP_LITTLE)
        options.start()
        cls.addClassCleanup(options.stop)
        for name, noise in NOISE.items():
            cls.wrap(name, "%s\n(%s) >&2" % (noise, noise))
        tools = cls.folder / "tools"
        tools.mkdir()
        for name in ("uname", "hostname", "nvidia-smi", "c++", "nvcc", "python", "id", "nproc"):
            cls.script(tools / name, TOOL if name != "python" else GARBAGE)
        cls.wrap("n6", "PATH=%s:$PATH" % tools)
        # A start-up file that ends the shell.
        cls.wrap("n7", "printf '%s' >&2; exit 3" % ESCAPES)
        cls.hostfile.write_text("".join(
            "%s slots=1 python=%s\n" % (name, tools / "python" if name == "n6" else sys.executable)
            for name in cls.fleet.hosts))

    @staticmethod
    def script(path, text):
        path.write_text("#!/bin/sh\n%s\n" % text)
        path.chmod(0o755)

    @classmethod
    def wrap(cls, name, text):
        path = cls.folder / ("wrapper-" + name)
        cls.script(path, text + '\nexec "$@"')
        root = cls.fleet.hosts[name]["root"]
        cls.fleet.configure(name, extra_config="ForceCommand '%s' %s\n" % (
            path, cls.fleet.force_command(root)))

    def assert_harmless(self, done, status):
        self.assertEqual(done.status, status, done.err)
        self.assert_clean(done)
        self.assertLess(done.peak, MOST_MEMORY)
        self.assertLess(len(done.out), 1_000_000)
        self.assertLess(len(done.err), 1_000_000)


class Program(HostileCase):
    def test_ping(self):
        done = self.program("ping")
        self.assert_harmless(done, 5)
        self.assert_harmless(self.program("ping", "--json"), 5)
        answers = self.ping(status=5)
        self.assert_well(answers, but=("n2", "n3", "n7"))
        for name in ("n2", "n3"):
            self.assertIn("printed more than 65536 bytes", answers[name]["message"])
        self.assertIn("status 3", answers["n7"]["message"])

    def test_facts(self):
        self.assert_harmless(self.program("facts"), 5)
        done = self.program("facts", "--json")
        self.assert_harmless(done, 5)
        hosts = {host["name"]: host for host in json.loads(done.out)["hosts"]}
        states = {name: host["state"] for name, host in hosts.items()}
        self.assertEqual(states, {**dict.fromkeys(self.fleet.hosts, "reached"),
                                  "n3": "failed", "n7": "login-refused"})
        self.assertIn("printed more than", hosts["n3"]["problem"])

    def test_deploy(self):
        done = self.program("deploy", "--json", "--dry-run", "--ops", ROOT / "ops", "--build-dir",
                            self.folder / "build")
        self.assert_harmless(done, 5)
        states = {host["name"]: host["state"] for host in json.loads(done.out)["hosts"]}
        self.assertEqual((states["n3"], states["n7"]), ("unreachable", "refused"))
        self.assert_harmless(self.program("deploy", "--dry-run", "--ops", ROOT / "ops",
                                          "--build-dir", self.folder / "build"), 5)

    def test_servers_that_are_none(self):
        """What comes in place of an SSH session is text of a stranger, too."""
        listeners = []
        for words in (b"SSH-2.0-\x1b]0;owned\x07\x9b31m\r\n" + bytes(range(256)) * 40,
                      b"\x1b[2J\x1b[31mHTTP/1.1 400\r\n" * 1000 + b"SSH-1.5-\x1b[2J\r\n",
                      b"\xff\x00" * 500000):
            listener = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(listener.close)
            listeners.append(listener)
            threading.Thread(target=self.talk, args=(listener, words), daemon=True).start()
        config = self.folder / "strangers"
        config.write_text("".join("Host s%d\n  HostName 127.0.0.1\n  Port %d\n" % (
            index, listener.getsockname()[1]) for index, listener in enumerate(listeners)))
        hosts = self.folder / "strangers-hosts"
        hosts.write_text("".join("s%d slots=1\n" % index for index in range(len(listeners))))
        answers = self.ping(config=config, hostfile=hosts, status=5)
        self.assert_harmless(self.done, 5)
        for answer in answers.values():
            self.assertIn("no SSH session", answer["message"])

    @staticmethod
    def talk(listener, words):
        while True:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(words)
                    connection.settimeout(5)
                    while connection.recv(4096):
                        pass
            except OSError:
                if listener.fileno() < 0:
                    return


class Transport(HostileCase):
    def test_limits(self):
        script = "head -c 100000000 /dev/zero"
        answers = self.run_transport([
            {"host": "n8", "script": script},
            {"host": "n1", "script": script + " >&2", "output_limit": 1000}])[0]
        self.assertEqual({answer["outcome"] for answer in answers.values()}, {"flooded"})
        self.assertIn("more than 16777216 bytes", answers["n8"]["message"])
        self.assertIn("more than 1000 bytes", answers["n1"]["message"])
        self.assertLess(self.done.peak, MOST_MEMORY)
        self.wait_for(lambda: not self.fleet.processes("n8") and not self.fleet.processes("n1"))

    def test_a_frame_of_its_own(self):
        """The whole command line stands in $0, with the nonce in it: the last frame counts."""
        script = ("n=$(printf %b \"$0\" | sed -n 's/.* \\([0-9a-f]\\{32\\}\\) .*/\\1/p' | tail -n 1)\n"
                  "printf 'x\\n%s 0\\n' \"$n\" >&2; echo said >&2; exit 7")
        for backend in ("libssh2", "openssh"):
            answer = self.run_transport([{"host": "n8", "script": script}], backend=backend)[0]["n8"]
            self.assertEqual((answer["outcome"], answer["status"]), ("exited", 7), answer)
            self.assertRegex(answer["err"], r"^x\n[0-9a-f]{32} 0\nsaid\n$")

    def test_bytes_are_kept_as_they_are(self):
        """What is cleaned for people is not changed for the program."""
        script = "head -c 1000000 /dev/urandom > r; sha256sum < r >&2; cat r; rm r"
        answers = self.run_transport([{"host": name, "script": script} for name in ("n1", "n4")])
        self.assert_well(answers[0])

    def test_what_stays_behind_writes_on(self):
        script = "(sleep 0.3; echo late >&2) & exit 5"
        answer = self.run_transport([{"host": "n8", "script": script}])[0]["n8"]
        self.assertEqual((answer["outcome"], answer["status"]), ("exited", 5), answer)


class LateBytes(FleetCase):
    number = 1
    settings = {"noise": False}

    @staticmethod
    def environment(**more):
        return clean_environment(LD_PRELOAD=fleet.binary("liblate-bytes.so"),
                                 ASAN_OPTIONS="verify_asan_link_order=0", **more)

    def test_a_window_that_opens_while_output_is_read_is_seen(self):
        """The server allows more bytes, which reading takes in: no later event tells of it."""
        upload = self.folder / "upload"
        upload.write_bytes(bytes(18_000_000))
        # Each pause is long enough for us to fill the window of 2 MB, and what follows takes more.
        script = "for i in 1 2 3 4 5 6; do sleep 0.5; head -c 3000000 | wc -c; done"
        (answers,) = self.run_transport([{"host": "n1", "script": script, "file": str(upload),
                                          "limit": 60}], stall=20,
                                        env=self.environment(LATE_BYTES="second"))
        self.assert_well(answers)
        self.assertEqual(answers["n1"]["out"], "3000000\n" * 6)
        self.assertLess(answers["n1"]["seconds"], 15)

    def test_what_came_for_the_other_stream_is_seen(self):
        """All that is left of stdout comes while stderr is read: no later event tells of it."""
        env = self.environment()
        script = "for i in 1 2 3 4 5 6 7 8; do echo out; echo err >&2; done"
        phases = self.run_transport(*[[{"host": "n1", "script": script, "limit": 20}]] * 5, env=env)
        for answers in phases:
            self.assert_well(answers)
            said = answers["n1"]["out"], answers["n1"]["err"]
            self.assertEqual(said, ("out\n" * 8, "err\n" * 8))
            self.assertLess(answers["n1"]["seconds"], 10)


if __name__ == "__main__":
    unittest.main()
