# SPDX-License-Identifier: Apache-2.0
"""Releases that jobs ask for themselves, and the check of a host without a coordinator."""
import json
import os
import subprocess
import sys
import unittest

from support.deploy_case import DeployCase, clean_environment

VERSION = "import foreign; print(foreign.VERSION)"
WAITS = "import sys\nprint('ready', flush=True)\nsys.stdin.readline()\n" \
        "import subprocess\nsubprocess.run([sys.executable, '-c', %r])\n%s\n" % (VERSION, VERSION)


class PinCase(DeployCase):
    def setUp(self):
        super().setUp()
        self.python_path = self.make_environment()
        self.hosts = self.write("cluster", "n1 slots=1 transport=local python=%s\n"
                                % self.python_path)
        self.root = self.folder / ".ds-deploy" / "env"
        self.check = self.folder / "env" / "bin" / "ds-deploy-check"

    def run_it(self, command, *words, exit_status=0):
        state = ("--state-dir", self.folder / "state") if command != "pin" else ()
        done = self.run_program(command, "--hostfile", self.hosts, *state, *words, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def take(self, version, name="foreign", *words):
        wheel = self.pure_wheel(name=name, version=version)
        return self.run_it("deploy", "--wheel", wheel, *words)["wheels"][0]["sha256"]

    def ask(self, code=VERSION, **env):
        return subprocess.run([str(self.python_path), "-c", code], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, cwd="/", check=False,
                              env=clean_environment(**env)).stdout

    def pinned(self, release, code=VERSION):
        return self.ask(code, DS_DEPLOY_RELEASE=release)


class Pin(PinCase):
    def test_a_process_has_what_it_asks_for(self):
        first, second = self.take("1.0"), self.take("2.0")
        self.assertEqual(self.ask(), "2.0\n")
        for asked in (first, first[:12], "%s, %s" % ("f" * 12, first[:16]), first + "," + second):
            self.assertEqual(self.pinned(asked), "1.0\n", asked)
        self.assertEqual(self.pinned(second[:12]), "2.0\n")
        said = self.pinned(first, "import importlib.metadata as m; print(m.version('foreign'))")
        self.assertEqual(said, "1.0\n")

    def test_what_is_not_there_fails_at_the_import(self):
        first, second = self.take("1.0"), self.take("2.0")
        self.assertEqual(self.pinned("f" * 64, "import json; print('started')"), "started\n")
        said = self.pinned("f" * 64)
        self.assertRegex(said, "ImportError: DS_DEPLOY_RELEASE=f{64}: no such release is here; there "
                         "are %s, %s in " % tuple(sorted((first[:12], second[:12]))))
        for asked in ("previous", "abc", first[:11], first + ",latest", "A" * 12, "../" * 8, "\n" * 9):
            self.assertIn("ImportError: DS_DEPLOY_RELEASE=", self.pinned(asked), asked)
            self.assertIn("names no release: write 12 or more digits", self.pinned(asked))
        # Without its seal it does not count.
        (self.root / "releases" / (first + ".json")).unlink()
        self.assertIn("no such release is here", self.pinned(first))

    def test_other_distributions_follow_the_pointer(self):
        one = self.pure_wheel(), self.pure_wheel(name="second")
        self.run_it("deploy", "--wheel", one[0], "--wheel", one[1])
        old = (self.root / "active").read_text().split()
        two = self.pure_wheel(version="2.0"), self.pure_wheel(name="second", version="2.0")
        self.run_it("deploy", "--wheel", two[0], "--wheel", two[1])
        both = "import foreign, second; print(foreign.VERSION, second.VERSION)"
        self.assertEqual(self.ask(both), "2.0 2.0\n")
        self.assertEqual(self.pinned(old[0], both), "1.0 2.0\n")
        self.assertEqual(self.pinned(",".join(old), both), "1.0 1.0\n")

    def test_two_jobs_side_by_side_through_an_upgrade_and_a_clean_up(self):
        first, second = self.take("1.0"), self.take("2.0")
        line = self.run_it("pin", first[:12], "--days", "3")["variable"]
        self.assertEqual(line, "DS_DEPLOY_RELEASE=" + first[:16])
        jobs = []
        # The second is kept by nothing but that it runs.
        for release in (line.partition("=")[2], second):
            job = subprocess.Popen([str(self.python_path), "-c", WAITS], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, cwd="/",
                                   env=clean_environment(DS_DEPLOY_RELEASE=release))
            self.assertEqual(job.stdout.readline(), "ready\n")
            jobs.append(job)
        for version in ("3.0", "4.0", "5.0"):
            self.take(version, "foreign", "--keep", "0")
        # What was in use a day ago stays anyway; look as if it was long ago.
        for name in self.root.glob("releases/*.json"):
            os.utime(name, (1, 1))
        for note in ("confirmed.json",):
            record = json.loads((self.root / note).read_text())
            (self.root / note).write_text(json.dumps(dict(record, at=1)))
        self.take("6.0", "foreign", "--keep", "0")
        kept = {path.name for path in self.root.glob("releases/*.json")}
        self.assertIn(first + ".json", kept)
        self.assertIn(second + ".json", kept)
        self.assertEqual([job.communicate("go\n", timeout=60)[0] for job in jobs],
                         ["1.0\n1.0\n", "2.0\n2.0\n"])
        self.take("7.0", "foreign", "--keep", "0")
        self.assertNotIn(second, [path.name for path in self.root.glob("releases/*")])
        self.assertEqual(self.pinned(first[:12]), "1.0\n")
        self.assertIn("promised", self.run_it("remove", first, exit_status=0)["hosts"][0]["message"])

    def test_previous(self):
        first = self.take("1.0")
        self.assertIn("what pip installed cannot be kept",
                      str(self.run_it("pin", "previous", exit_status=4)))
        self.take("2.0")
        said = self.run_it("pin", "previous")
        self.assertEqual(said["variable"], "DS_DEPLOY_RELEASE=" + first[:16])
        self.assertEqual(said["hosts"][0]["releases"], [first])
        self.assertIn("is not there", str(self.run_it("pin", "abcdef", exit_status=4)))

    def test_the_hook_of_an_older_ds_deploy(self):
        first, _ = self.take("1.0"), self.take("2.0")
        hook = next((self.folder / "env").rglob("_ds_deploy.py"))
        now = hook.read_text()
        hook.write_text(now.replace("DS_DEPLOY_RELEASE", "NOTHING_OF_THE_KIND"))
        self.assertEqual(self.pinned(first), "2.0\n")
        self.run_it("pin", first)
        self.assertEqual(hook.read_text(), now)
        self.assertEqual(self.pinned(first), "1.0\n")
        # Without a pointer, too; and not for a health command of a policy.
        self.assertEqual(self.ask(DS_DEPLOY_RELEASE=first, DS_DEPLOY_PHASE="confirm"), "2.0\n")
        (self.root / "active").unlink()
        self.assertEqual(self.pinned(first), "1.0\n")

    def test_hosts_that_keep_each_others(self):
        first = self.take("1.0")
        hosts = self.hosts
        other = self.make_environment("other")
        self.hosts = self.write("both", "n1 slots=1 transport=local python=%s\n"
                                "n2 slots=1 transport=local python=%s\n" % (self.python_path, other))
        self.take("2.0")
        self.take("3.0", "foreign", "--limit", "n2")
        done = self.run_program("pin", "previous", "--hostfile", self.hosts)
        self.assertEqual(done.returncode, 0, done.stderr)  # n1 keeps 1.0, n2 keeps 2.0 alone
        self.hosts = hosts
        self.take("3.0")
        self.hosts = self.folder / "both"
        self.take("1.0", "foreign", "--limit", "n2")
        self.take("4.0", "foreign", "--limit", "n2")
        done = self.run_program("pin", "previous", "--hostfile", self.hosts)
        self.assertEqual(done.returncode, 4, done.stdout)
        self.assertIn("keep each other's releases too", done.stderr)
        self.assertNotIn("DS_DEPLOY_RELEASE=" + first[:16], done.stdout)

    def test_a_note_that_is_damaged_keeps_everything(self):
        self.take("1.0")
        (self.root / "pins.json").write_text("[1")
        self.assertEqual(self.take("2.0")[:0], "")
        said = self.run_it("pin", "previous", exit_status=4)
        self.assertIn("pins.json is damaged", said["hosts"][0]["message"])
        self.assertEqual((said["variable"], said["hosts"][0]["releases"]), ("", []))

    def test_processes(self):
        release = self.take("1.0")
        code = "import mmap, sys\nf = open(sys.argv[1])\n" \
               "m = mmap.mmap(f.fileno(), 0, prot=1)\nprint(flush=True)\nsys.stdin.readline()\n"
        job = subprocess.Popen([sys.executable, "-c", code,
                                str(self.root / "releases" / release / "foreign/__init__.py")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        job.stdout.readline()
        said = self.run_it("status", "--processes")["hosts"][0]["processes"]
        job.communicate("end\n")
        self.assertRegex(said[0], r"^%s: python[0-9.]* of \w+ \(%d\)$" % (release[:12], job.pid))
        self.assertNotIn("processes", self.run_it("status")["hosts"][0])


class Check(PinCase):
    def ask_check(self, *words):
        done = subprocess.run([str(self.check), *words], stdout=subprocess.PIPE, text=True, check=False,
                              stderr=subprocess.STDOUT, env=clean_environment(), cwd="/")
        self.assertEqual(done.stdout.count("\n"), 1, done.stdout)
        return done.returncode, done.stdout.strip()

    def test_in_order_and_expected(self):
        release = self.take("1.0")
        short = release[:12]
        self.assertEqual(self.ask_check(), (0, "ds-deploy-check: " + short))
        self.assertEqual(self.ask_check("--expect", short)[0], 0)
        self.assertEqual(self.ask_check("--expect", "abcdef"),
                         (1, "ds-deploy-check: %s is active, and abcdef was expected" % short))
        self.assertEqual(self.ask_check("--expect", short + ",abcdef")[0], 1)
        self.assertEqual(self.ask_check("--what")[0], 1)
        self.run_it("rollback", "--to", "pip")
        self.assertEqual(self.ask_check(), (0, "ds-deploy-check: no release"))
        self.assertEqual(self.ask_check("--expect", short),
                         (1, "ds-deploy-check: no release is active, and %s was expected" % short))

    def test_what_is_wrong(self):
        release = self.take("1.0")
        pointer, seal = self.root / "active", self.root / "releases" / (release + ".json")
        for path, text, why in ((pointer, "xyz\n", "active is damaged"), (seal, None, "not whole")):
            kept = path.read_bytes()
            path.unlink()
            if text:
                path.write_text(text)
            status, said = self.ask_check()
            self.assertEqual(status, 1)
            self.assertIn(why, said)
            path.unlink(missing_ok=True)
            path.write_bytes(kept)
        (self.root / "overdue.json").write_text("{}")
        self.assertIn("not taken back yet", self.ask_check()[1])
        (self.root / "overdue.json").rename(self.root / "unconfirmed.json")
        self.assertEqual(self.ask_check(), (0, "ds-deploy-check: %s (on trial)" % release[:12]))
        (self.root / "unconfirmed.json").unlink()
        hook = next((self.folder / "env").rglob("_ds_deploy.py"))
        hook.unlink()
        self.assertIn("what starts a release is missing", self.ask_check()[1])

    def test_a_file_of_that_name_is_left_alone(self):
        self.check.write_text("mine\n")
        self.take("1.0")
        self.assertEqual(self.check.read_text(), "mine\n")


if __name__ == "__main__":
    unittest.main()
