# SPDX-License-Identifier: Apache-2.0
"""Commands that stay, on many real sshd hosts: told by lines, answering by lines, for a long time."""
import json
import os
import resource
import signal
import subprocess
import unittest

from support import fleet
from support.deploy_case import clean_environment
from support.fleet_case import FleetCase

DRIVER = fleet.binary("conversation-run")
BACKENDS = ("libssh2", "openssh")
# Every line is answered but "hush"; "put N" takes N bytes and keeps them.
SCRIPT = r"""touch begun
while IFS= read -r line; do
  case $line in
    hush) ;;
    put*) head -c "${line#put }" >> got; echo "answer: $(wc -c < got) bytes" ;;
    flood) yes ;;
    stuck) exec sleep 100 ;;
    *) echo "answer: $line" ;;
  esac
done
"""


class Driver:
    """conversation-run as a process, told what to do step by step."""

    def __init__(self, case, backend="libssh2", fanout=64, config=None):
        self.child = subprocess.Popen(
            [str(DRIVER), str(config or case.fleet.config), backend, str(fanout)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1, env=clean_environment())
        case.addCleanup(self.end)

    def end(self):
        for pipe in (self.child.stdin, self.child.stdout):
            pipe.close()
        try:
            self.child.wait(20)
        finally:
            self.child.kill()

    def tell(self, **order):
        self.child.stdin.write(json.dumps(order) + "\n")

    def open(self, *names, **how):
        for name in names:
            self.tell(open=name, **{"script": SCRIPT, **how})

    def send(self, name, text, **how):
        self.tell(send=name, text=text + "\n", **how)

    def begin_run(self, seconds=0):
        self.tell(run=seconds)

    def finish_run(self):
        return json.loads(self.child.stdout.readline())

    def run(self, seconds=0):
        self.begin_run(seconds)
        return self.finish_run()

    def outcome(self, name, answer):
        (end,) = answer["done"][name]
        return end["outcome"]


@unittest.skipIf(not os.access(DRIVER, os.X_OK), "%s is not built" % DRIVER)
class ConversationCase(FleetCase):
    def home(self, name):
        return self.fleet.hosts[name]["root"] / "home"


class Conversations(ConversationCase):
    number = 6

    def tearDown(self):
        for name in self.fleet.hosts:
            self.fleet.kill(name)
            for file in ("got", "begun"):
                (self.home(name) / file).unlink(missing_ok=True)

    def test_lines_uploads_and_the_noise_of_a_login(self):
        upload = self.folder / "upload"
        upload.write_bytes(os.urandom(3_000_000))
        for backend in BACKENDS:
            with self.subTest(backend=backend):
                driver = Driver(self, backend)
                driver.open("n1", "n2")
                driver.send("*", "hello")
                heard = driver.run()["heard"]
                for name in ("n1", "n2"):
                    self.assertEqual((heard[name][0], heard[name][-1]),
                                     ("Welcome", "answer: hello"))
                for index in range(50):
                    driver.send("*", str(index))
                    answer = driver.run()
                    self.assertEqual(answer["heard"], {
                        name: ["answer: %d" % index] for name in ("n1", "n2")})
                offset = 1_000_001
                rest = 3_000_000 - offset
                driver.send("n1", "put %d" % rest, file=str(upload), offset=offset)
                answer = driver.run()
                self.assertEqual(answer["heard"]["n1"], ["answer: %d bytes" % rest])
                self.assertEqual(answer["sent"], {"n1": rest, "n2": 0})
                self.assertEqual((self.home("n1") / "got").read_bytes(),
                                 upload.read_bytes()[offset:])
                driver.tell(end="*")
                answer = driver.run()
                self.assertEqual({driver.outcome(name, answer) for name in ("n1", "n2")},
                                 {"exited"})
                self.assertEqual(answer["done"]["n1"][0]["sent"], rest)
                (self.home("n1") / "got").unlink()

    def test_a_silence_longer_than_what_the_server_bears(self):
        """The server asks whether we live, and is answered while run() or attend() turns."""
        before = self.fleet.hosts["n3"]["extra_config"]
        self.fleet.configure("n3", extra_config="ClientAliveInterval 1\nClientAliveCountMax 1\n")
        self.addCleanup(self.fleet.configure, "n3", extra_config=before)
        for backend in BACKENDS:
            with self.subTest(backend=backend):
                driver = Driver(self, backend)
                driver.open("n3")
                driver.send("n3", "before")
                driver.run(4)
                driver.send("n3", "after")
                self.assertEqual(driver.run()["heard"]["n3"], ["answer: after"])

    def test_hosts_that_die_stall_flood_or_say_nothing(self):
        upload = self.folder / "stalled"
        upload.write_bytes(bytes(8_000_000))
        for backend in BACKENDS:
            with self.subTest(backend=backend):
                driver = Driver(self, backend)
                names = ("n1", "n2", "n3", "n4", "n5")
                driver.open(*names)
                driver.send("*", "hello")
                self.assertEqual(set(driver.run()["heard"]), set(names))
                self.fleet.kill("n1")
                answer = driver.run(0.5)
                self.assertEqual(list(answer["done"]), ["n1"])
                self.assertEqual(driver.outcome("n1", answer), "lost")
                driver.send("n2", "hush", limit=0.5)
                driver.send("n3", "flood", limit=20)
                driver.send("n4", "stuck", file=str(upload))
                driver.send("n5", "fine")
                answer = driver.run()
                self.assertEqual({name: driver.outcome(name, answer) for name in answer["done"]},
                                 {"n2": "timed_out", "n3": "flooded", "n4": "timed_out"})
                self.assertIn("no answer within 0.5 s", answer["done"]["n2"][0]["message"])
                self.assertIn("no byte of the upload", answer["done"]["n4"][0]["message"])
                self.assertEqual(answer["heard"]["n5"], ["answer: fine"])
                # What was ended here is ended there.
                for name in ("n2", "n3", "n4"):
                    self.wait_for(lambda name=name: not self.fleet.processes(name))
                self.fleet.freeze("n5")
                self.addCleanup(self.fleet.thaw, "n5")
                driver.send("n5", "anybody?", limit=1)
                answer = driver.run()
                self.assertEqual(driver.outcome("n5", answer), "timed_out")
                self.fleet.thaw("n5")

    def test_dropping_one_ends_its_command(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend):
                driver = Driver(self, backend)
                driver.open("n1")
                driver.run()
                self.wait_for(lambda: self.fleet.processes("n1"))
                driver.tell(drop="n1")
                self.assertNotIn("done", driver.run())
                self.wait_for(lambda: not self.fleet.processes("n1"))

    def test_after_an_interrupt_hosts_can_still_be_told(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend):
                driver = Driver(self, backend)
                driver.open("n1", "n2")
                driver.send("*", "stage")
                driver.run()
                driver.send("n1", "hush")
                driver.tell(exec="n3", script="touch begun; sleep 100")
                driver.begin_run()
                self.wait_for((self.home("n3") / "begun").exists)
                driver.child.send_signal(signal.SIGINT)
                answer = driver.finish_run()
                self.assertTrue(answer["interrupted"])
                self.assertNotIn("done", answer)
                driver.send("*", "go back")
                driver.tell(exec="n3", script="echo well")
                answer = driver.run()
                self.assertEqual(answer["heard"], {
                    name: ["answer: go back"] for name in ("n1", "n2")})
                self.assertIn("well", answer["exec"]["n3"][0])
                self.wait_for(lambda: not self.fleet.processes("n3"))
                (self.home("n3") / "begun").unlink()

    def test_behind_a_jump_host(self):
        config = self.folder / "through"
        config.write_text("Host n2 n3\n  ProxyJump n1\n" + self.fleet.config.read_text())
        driver = Driver(self, config=config)
        driver.open("n2", "n3")
        for text in ("one", "two"):
            driver.send("*", text)
            heard = driver.run()["heard"]
            self.assertEqual({lines[-1] for lines in heard.values()}, {"answer: " + text})
        driver.send("n2", "hush")
        driver.begin_run()
        driver.child.send_signal(signal.SIGINT)
        self.assertTrue(driver.finish_run()["interrupted"])
        driver.send("*", "go back")
        self.assertEqual(driver.run()["heard"],
                         {name: ["answer: go back"] for name in ("n2", "n3")})
        # They merely wait, and the jump host dies.
        self.fleet.kill("n1")
        self.wait_for(lambda: self.fleet.open("n1") == 0)
        answer = driver.run()
        self.assertEqual({driver.outcome(name, answer) for name in ("n2", "n3")}, {"lost"})

    def test_connections(self):
        name = "n4"
        driver = Driver(self)
        before = self.fleet.connections(name)

        def expect(number, **order):
            driver.tell(**order)
            answer = driver.run()
            self.assertEqual(self.fleet.connections(name) - before, number, order)
            return answer

        expect(1, exec=name)
        expect(1, open=name, script=SCRIPT)  # takes the idle one over
        expect(2, exec=name)
        expect(2, exec=name)
        expect(3, exec=name, fresh=True)
        driver.tell(hang_up=name)
        driver.tell(hang_up="n5")
        expect(4, exec=name)
        expect(4, send=name, text="still here\n")


class Many(ConversationCase):
    number = 100
    settings = {"noise": False, "separate": False}

    def test_a_line_to_each_at_once(self):
        # With a fan-out of 8 a line that had to wait for its turn would show.
        driver = Driver(self, fanout=8)
        driver.open(*self.fleet.hosts)
        answer = driver.run()
        self.assertNotIn("done", answer)
        driver.send("*", "activate", limit=60)
        answer = driver.run()
        self.assertEqual(answer["heard"],
                         {name: ["answer: activate"] for name in self.fleet.hosts})
        per_host = answer["cpu"] / self.number
        self.assertLess(per_host, 0.005)  # with sanitizers; 0.1 ms is usual
        self.assertLess(answer["seconds"], 20)

    def test_more_than_this_process_may_open(self):
        def limited(limit, number, backend="libssh2"):
            return subprocess.run(
                [str(DRIVER), str(self.fleet.config), backend, "64"], text=True,
                input=json.dumps({"refuse": number}) + "\n", stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, env=clean_environment(), check=False,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))
        done = limited((200, 200), 100)
        self.assertEqual(done.returncode, 2, done)
        # 40, one for each host, three for each of 64 at work.
        self.assertIn("100 hosts at one time need 332 open files, but this process may open 200",
                      done.stderr)
        self.assertIn("ulimit -n 332", done.stderr)
        self.assertEqual(limited((332, 332), 100).returncode, 0)
        # The soft limit is raised to the hard one.
        self.assertEqual(limited((200, 332), 100).returncode, 0)
        done = limited((332, 332), 100, "openssh")
        self.assertIn("need 532 open files", done.stderr)


if __name__ == "__main__":
    unittest.main()
