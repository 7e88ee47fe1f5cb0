# SPDX-License-Identifier: Apache-2.0
"""The commands that only look, and the options that choose hosts and jobs."""
import json

from support.deploy_case import DeployCase, clean_environment

GOOD = """import json
print("noise of an import")
print(json.dumps({"version": "0.1.0", "ops": [{"name": "utils", "state": "passed"}]}))
"""
HOSTILE = """print('{"ops": "all"}')
print('{"ops": [{"name": 7, "state": "\\\\u001b[31m"}]}')
"""


class ChosenHosts(DeployCase):
    def setUp(self):
        super().setUp()
        self.hosts = self.write("cluster", "one slots=2 transport=local tags=old\n"
                                           "two slots=4 transport=local\n"
                                           "fe80::1 slots=1 transport=local\n")

    def names(self, *words, command="facts"):
        done = self.run_program(command, *words, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return [host["name"] for host in json.loads(done.stdout)["hosts"]]

    def refusal(self, *words):
        done = self.run_program(*words)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        return done.stderr

    def test_include_exclude_and_limit(self):
        given = ("--hostfile", self.hosts)
        for command in ("facts", "ping", "report"):
            with self.subTest(command):
                self.assertEqual(self.names(*given, command=command), ["one", "two", "[fe80::1]"])
                self.assertEqual(self.names(*given, "-i", "two:0,3@[fe80::1]", command=command),
                                 ["two", "[fe80::1]"])
                self.assertEqual(self.names(*given, "-e", "fe80::1@two:1", command=command),
                                 ["one", "two"])
                self.assertEqual(self.names(*given, "--limit", "@old", command=command), ["one"])
        self.assertIn("no slot '2'", self.refusal("facts", *given, "-i", "one:2"))
        self.assertIn("did you mean 'two'?", self.refusal("facts", *given, "-e", "twoo"))
        self.assertIn("cannot be used together", self.refusal("ping", *given, "-i", "one", "-e", "two"))

    def test_replayed_facts_are_chosen_in_the_same_way(self):
        saved = self.folder / "facts.json"
        self.names("--hostfile", self.hosts, "--save-facts", saved)
        given = ("--facts", saved)
        self.assertEqual(self.names(*given), ["one", "two", "[fe80::1]"])
        self.assertEqual(self.names(*given, "--limit", "t*"), ["two"])
        self.assertEqual(self.names(*given, "-i", "[fe80::1]@one"), ["one", "[fe80::1]"])
        self.assertEqual(self.names(*given, "-e", "one"), ["two", "[fe80::1]"])
        self.assertEqual(self.names(*given, "-H", self.hosts, "--limit", "@old"), ["one"])
        self.assertIn("is a tag", self.refusal("facts", *given, "--limit", "@old"))


class Report(DeployCase):
    def install(self, name, main):
        """An environment whose ds_ops says what it is told to."""
        python = self.make_environment(name)
        site = next((self.folder / name / "lib").glob("python*/site-packages"))
        (site / "ds_ops").mkdir()
        (site / "ds_ops" / "__init__.py").write_text("")
        (site / "ds_ops" / "__main__.py").write_text(main)
        return python

    def test_one_hostile_host_does_not_hide_the_others(self):
        pythons = {"good": self.install("good", GOOD), "evil": self.install("evil", HOSTILE),
                   "bare": self.make_environment("bare")}
        hosts = self.write("cluster", "".join("%s slots=1 transport=local python=%s\n" % pair
                                              for pair in pythons.items()))
        done = self.run_program("report", "--hostfile", hosts)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("utils .................. [YES] ...... [OKAY] (self-test: passed)\n", done.stdout)
        self.assertIn("ds_ops answered in a form that cannot be read\n", done.stdout)
        self.assertIn("neither ds_ops nor deepspeed is installed\n", done.stdout)
        self.assertNotIn("\x1b", done.stdout)

        done = self.run_program("report", "--hostfile", hosts, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        said = json.loads(done.stdout)
        self.assertIn("good/bin/python", said["environment"])
        packages = {host["name"]: host["packages"] for host in said["hosts"]}
        self.assertEqual(packages["good"][0]["ops"][0]["self_test"], "passed")
        self.assertEqual(packages["evil"][0]["ops"], [])
        self.assertEqual(packages["bare"], [])

    def test_what_was_deployed(self):
        python = self.make_environment()
        env = clean_environment(DS_BUILD_UTILS="1")
        self.deploy("-l", "--python", python, env=env)
        done = self.run_program("report", "-l", "--python", python)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("utils .................. [YES] ...... [OKAY] (self-test: passed)\n", done.stdout)
        self.assertRegex(done.stdout, r"\nlocalhost \(1 host\)\n-{50}\nds_ops op report\n")
        self.assertRegex(done.stdout, r"\nglibc \.{28} \d")

    def test_a_library_that_cannot_be_loaded(self):
        python = self.make_environment()
        env = clean_environment(DS_BUILD_UTILS="1")
        deployed = self.deploy("-l", "--python", python, env=env)
        release = next(self.folder.glob(".ds-deploy/env/releases/%s"
                                        % deployed["wheels"][0]["sha256"]))
        library = release / "ds_ops/utils/libutils.so"
        library.chmod(0o644)
        library.write_bytes(library.read_bytes()[:5000])
        done = self.run_program("report", "-l", "--python", python)
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"utils \.+ \[YES\] \.+ \[FAIL\]")
        self.assertIn("\n  it ended the process that loaded it", done.stdout)

    def test_hosts_that_say_the_same_say_it_once(self):
        python = self.make_environment()
        hosts = self.write("cluster", "".join("n%d slots=1 transport=local python=%s\n" % (at, python)
                                              for at in (1, 2, 3)))
        done = self.run_program("report", "--hostfile", hosts)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("\nn[1-3] (3 hosts)\n", done.stdout)
        self.assertEqual(done.stdout.count("neither ds_ops nor deepspeed"), 1)

    def test_known_gpus(self):
        done = self.run_program("report", "--gpus")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\n9\.0 +11\.8 or newer +a +H100, H200")
        self.assertRegex(done.stdout, r"\n7\.0 +9\.0 to 12\.9 +V100")

    def test_a_relative_interpreter_is_one_of_this_machine(self):
        python = self.make_environment()
        done = self.run_program("facts", "-l", "--json", "--python", "env/bin/python",
                                cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)["hosts"][0]["python"]
        self.assertEqual(found["asked"], str(python))
        self.assertTrue(found["executable"])


class BrokenSources(DeployCase):
    """Three sources with the same error in their header."""

    def setUp(self):
        super().setUp()
        ops = self.folder / "ops"
        (ops / "scale").mkdir(parents=True)
        (ops / "scale" / "op.yaml").write_text(
            "name: scale\nsummary: A toy\nkind: cpu\nbuild_variable: DS_BUILD_SCALE\n"
            "sources: [a.cc, b.cc, c.cc]\nself_test: ds_ops.scale:self_test\n")
        (ops / "scale" / "shared.h").write_text("int broken() { return nowhere; }\n")
        for name in "abc":
            (ops / "scale" / (name + ".cc")).write_text('#include "shared.h"\n')
        (ops / "VERSION").write_text("0.1.0\n")
        self.words = ("build", "-l", "--ops", ops, "--build-dir", self.folder / "build")

    def failed_build(self, *words):
        done = self.run_program(*self.words, *words)
        self.assertEqual(done.returncode, 9, done.stderr)
        return done.stderr

    def test_keep_going(self):
        for words, failures in ((("-j1",), 1), (("-j1", "-k", "2"), 2), (("-j1", "-k", "0"), 3)):
            with self.subTest(words):
                self.assertEqual(self.failed_build(*words).count(": failed with status 1"), failures)

    def test_the_first_error_is_shown_whole_and_once(self):
        said = self.failed_build("-j8", "-k0")
        self.assertEqual(said.count("return nowhere;"), 1)
        self.assertEqual(said.count(": failed with status 1"), 3)
        self.assertIn("3 jobs failed to compile: scale", said)
        self.assertIn("those of all in ", said)
        self.assertEqual(self.failed_build("-j8", "-k0", "-v").count("return nowhere;"), 3)

    def test_the_plan_names_its_environment(self):
        done = self.run_program(*self.words, "--dry-run", "--json", "--python", "/opt/x/bin/python")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["environment"], "/opt/x/bin/python")
