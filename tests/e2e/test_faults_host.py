# SPDX-License-Identifier: Apache-2.0
"""Hosts on which Python, the self-test, the clock or what lies in the way is wrong; see
tests/faults/README.md. Each host has a fault of its own, so that one deployment tries them all."""
import os
import shutil
import unittest

from support import wrong_calls
from support.fault_case import FaultCase

ALL_MAY_FAIL = "retries: 0\nmax_failures: 100%\ntime_limits:\n  confirm: 8s\n"
# What an op does when it is imported and in its self-test is written in the host's environment.
OP = """
import os, sys
HERE = os.path.join(sys.prefix, "behave.py")
if os.path.exists(HERE):
    exec(open(HERE).read())
else:
    def self_test():
        pass
"""
YEAR = 365 * 86400


class HostCase(FaultCase):
    faults = {}

    @classmethod
    def setUpClass(cls):
        cls.number = len(cls.faults) + 1
        super().setUpClass()
        cls.new = cls.pack("2.0", {"demo/demo.py": OP},
                           ops=[{"name": "demo", "self_test": "demo.demo:self_test"}])

    def setUp(self):
        super().setUp()
        self.host = dict(zip(self.faults, self.names))
        self.well = self.names[-1]

    def assert_seen(self, hosts, seen):
        """`seen`: fault -> state, step, words. All others are confirmed."""
        for fault, name in self.host.items():
            with self.subTest(fault):
                self.assert_says(hosts[name], *seen.get(fault, ("confirmed", "confirm")))
        self.assert_says(hosts[self.well], "confirmed", "confirm")
        self.assert_reports_are_true(hosts)


class SelfTest(HostCase):
    """Of the op: what it does on each host."""

    faults = {
        "fails": "def self_test():\n    raise AssertionError('1 is not 2')\n",
        "hangs": "def self_test():\n    import time\n    time.sleep(60)\n",
        "hangs at import": "import time\ntime.sleep(60)\n",
        "ends well, without a word": "def self_test():\n    os._exit(0)\n",
        "answers itself": "def self_test():\n    os.write(2, b'\\n0 {\"ok\": true}\\n')\n"
                          "    os._exit(0)\n",
        "crashes": "def self_test():\n    os.kill(os.getpid(), 11)\n",
        "floods": "def self_test():\n    os.write(1, b'x' * 4000000)\n",
        "leaves a child": "def self_test():\n    if os.fork() == 0:\n        import time\n"
                          "        time.sleep(20)\n        os._exit(0)\n",
        "cannot run": "class CannotRun(Exception):\n    pass\n\ndef self_test():\n"
                      "    raise CannotRun('no GPU')\n",
    }
    seen = {"fails": "self-test of demo failed: AssertionError: 1 is not 2",
            "hangs": "took longer than 8 s", "hangs at import": "took longer than 8 s",
            "ends well, without a word": "ended with status 0 and gave no answer",
            "answers itself": "ended with status 0 and gave no answer",
            "crashes": "signal 11", "floods": "printed more than"}

    def behave(self, *names):
        for name in names:
            fault = {known: fault for fault, known in self.host.items()}[name]
            (self.place(name) / "env/behave.py").write_text(self.faults[fault])

    def good_again(self):
        for name in self.names:
            (self.place(name) / "env/behave.py").unlink(missing_ok=True)
        self.assert_heals()

    def test_each_for_itself(self):
        self.behave(*self.host.values())
        hosts = self.deploy(4, policy=ALL_MAY_FAIL)
        self.assert_seen(hosts, {fault: ("rolled-back", "confirm", words)
                                 for fault, words in self.seen.items()})
        self.assertEqual(hosts[self.host["cannot run"]]["self_tests"],
                         ["demo: cannot run here: no GPU"])
        self.good_again()

    def test_one_takes_the_others_back(self):
        self.names = self.names[-2:]
        self.write_hostfile(*self.names)
        (self.place(self.well) / "env/behave.py").write_text(self.faults["crashes"])
        hosts = self.deploy(4)
        self.assert_says(hosts[self.well], "rolled-back", "confirm", "signal 11")
        self.assert_says(hosts[self.names[0]], "rolled-back", "rollback",
                         "%s did not confirm" % self.well)
        self.assert_at(self.old)
        self.good_again()


@unittest.skipIf(wrong_calls.missing(), "%s" % wrong_calls.missing())
class Host(HostCase):
    """What is wrong once the facts are known; the clock is wrong all the time."""

    faults = dict.fromkeys((
        "python gone", "slow", "little memory", "file size", "open files", "umask", "other module",
        "noise", "half made", "no locale", "link", "1980", "2040", "EIO", "rename", "stopped"))
    seen = {"python gone": ("failed", "lock", "status 127", "bin/python: not found"),
            "file size": ("failed", "stage", "File too large", ".part"),
            "open files": ("failed", "lock", "Too many open files"),
            "other module": ("rolled-back", "confirm", "demo comes from", "PYTHONPATH"),
            "EIO": ("failed", "stage", "Input/output error", ".part"),
            "rename": ("rolled-back", "activate", "No space left on device", "/active."),
            "stopped": ("rolled-back", "activate", "no answer within 2 s")}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.library = wrong_calls.build(cls.folder)

    def preload(self, variable, value):
        return "export LD_PRELOAD=%s %s=%s" % (self.library, variable, value)

    def setUp(self):
        super().setUp()
        python = self.place(self.host["python gone"]) / "env/bin/python"
        for fault, text in (
                ("python gone", "[ ! -e %s ] || mv %s %s.gone" % (python, python, python)),
                ("slow", "sleep 0.4"), ("little memory", "ulimit -v 30000"),
                ("file size", "ulimit -f 16"), ("open files", "ulimit -n 4"),
                ("umask", "umask 077"),
                ("other module", "export PYTHONPATH=%s" % self.other_module()),
                ("noise", "echo Welcome; echo '0 {}'; echo problem >&2"),
                ("no locale", "export LC_ALL=xx_YY.nothing TMPDIR=/nowhere\n"
                              "unset HOME USER LOGNAME PATH"),
                ("EIO", self.preload("WRONG_WRITE", ".part")),
                ("rename", self.preload("WRONG_RENAME", "/active"))):
            self.after_facts(self.host[fault], text)
        for fault, years in (("1980", -46), ("2040", 14)):
            self.environment(fault).write_text(self.preload("WRONG_CLOCK", years * YEAR) + "\n")
        self.at(self.host["stopped"], "*/active.*.new", "kill -STOP $PID")
        self.half_make(self.root(self.host["half made"]) / "releases")
        self.link(self.root(self.host["link"]), self.place(self.host["link"]) / "elsewhere")

    def environment(self, fault):
        return self.place(self.host[fault]) / "env.sh"

    def other_module(self):
        """Another demo, of the version that the host had before."""
        place = self.place(self.host["other module"]) / "other"
        (place / "demo").mkdir(parents=True)
        (place / "demo/__init__.py").write_text("")
        for info in self.root(self.host["other module"]).glob("releases/*/demo-1.0.dist-info"):
            shutil.copytree(info, place / info.name)
        return place

    def half_make(self, releases):
        """What killed runs of this and of another wheel left."""
        for name in (".stage-" + self.new, ".stage-" + "e" * 64, self.new):
            (releases / name / "demo").mkdir(parents=True)
        (releases / (self.new + ".part")).write_bytes(os.urandom(500))
        (releases / (self.new + ".json.77.new")).write_text("{")

    @staticmethod
    def link(root, elsewhere):
        root.rename(elsewhere)
        root.symlink_to(elsewhere)

    def lift(self):
        for fault in self.seen:
            self.environment(fault).write_text("")
        python = self.place(self.host["python gone"]) / "env/bin/python"
        python.with_name("python.gone").rename(python)

    def clock_of(self, hosts, fault):
        return [finding["because"] for finding in hosts[self.host[fault]]["findings"]
                if finding["rule"] == "clock"]

    def test_each(self):
        hosts = self.deploy(4, policy=ALL_MAY_FAIL + "  activate: 2s\n")
        self.assertRegex(*self.clock_of(hosts, "1980"), "clock is 1450[0-9]* s behind")
        self.assertRegex(*self.clock_of(hosts, "2040"), "clock is 441[0-9]* s ahead")
        self.lift()
        self.assert_seen(hosts, self.seen)
        modes = {path.stat().st_mode & 0o777
                 for path in (self.root(self.host["umask"]) / "releases" / self.new).rglob("*")}
        self.assertEqual(modes, {0o444, 0o555})
        self.assert_heals()


class Refused(HostCase):
    """What the audit sees, so that nothing is sent to any host."""

    faults = dict.fromkeys(("dangling", "crashes", "no library", "a file", "damaged note"))
    seen = {**dict.fromkeys(("dangling", "crashes", "no library"), "does not run on this host"),
            "a file": "Not a directory", "damaged note": "unconfirmed.json is damaged"}

    def wrong(self):
        """Where something else lies on each host; `no library` alone has nothing replaced."""
        return {"dangling": self.place(self.host["dangling"]) / "env/bin/python",
                "crashes": self.place(self.host["crashes"]) / "env/bin/python",
                "a file": self.root(self.host["a file"]).parent}

    def break_all(self):
        wrong = self.wrong()
        for path in wrong.values():
            path.rename(path.with_name("kept"))
        wrong["dangling"].symlink_to("/no/such/python")
        wrong["crashes"].write_text("#!/bin/sh\nkill -SEGV $$\n")
        wrong["crashes"].chmod(0o755)
        wrong["a file"].write_text("")
        (self.place(self.host["no library"]) / "env.sh").write_text("export PYTHONHOME=/no/home\n")
        (self.root(self.host["damaged note"]) / "unconfirmed.json").write_text("{")

    def mend_all(self):
        for path in self.wrong().values():
            path.unlink()
            path.with_name("kept").rename(path)
        (self.place(self.host["no library"]) / "env.sh").write_text("")
        (self.root(self.host["damaged note"]) / "unconfirmed.json").unlink()

    def test_each(self):
        self.break_all()
        hosts = self.deploy(3)
        for fault, name in self.host.items():
            with self.subTest(fault):
                self.assert_says(hosts[name], "refused", "audit", self.place(name),
                                 self.seen[fault])
        self.assert_says(hosts[self.well], "ready", "audit")
        self.assertEqual({host["sent_bytes"] for host in hosts.values()}, {0})
        self.mend_all()
        self.assert_at(self.old)
        self.assert_heals()


if __name__ == "__main__":
    unittest.main()
