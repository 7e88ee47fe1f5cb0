# SPDX-License-Identifier: Apache-2.0
"""The manual says what the program knows, no more and no less."""
import os
import pathlib
import re
import shutil
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("DS_DEPLOY", str(ROOT / "build-dev" / "ds-deploy"))
PAGES = sorted((ROOT / "man").glob("*.[15]"))


def page(name):
    return (ROOT / "man" / name).read_text(encoding="utf-8")


def section(text, title):
    """The lines of one .Sh section."""
    found = re.search(r"^\.Sh %s\n(.*?)(?=^\.Sh |\Z)" % re.escape(title), text, re.M | re.S)
    return found.group(1) if found else ""


def documented_options(text):
    """Every option that heads an item of OPTIONS: ".It Fl H , Fl -hostfile Ar file"."""
    heads = re.findall(r"^\.It (Fl .*)$", section(text, "OPTIONS"), re.M)
    return {"-" + name for head in heads for name in re.findall(r"\bFl (\S+)", head)}


def documented_keys(text, *more):
    """Every key that heads an item of KEYS, and of sections of more of them:
    ".It Cm port= Ns Ar n", ".It Cm kind"."""
    return {key for name in ("KEYS", *more)
            for key in re.findall(r"^\.It Cm ([A-Za-z_-]+)", section(text, name), re.M)}


def source_of(room):
    return "\n".join(path.read_text(encoding="utf-8")
                     for path in sorted((ROOT / "src" / room).glob("*.cc")))


class Options(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.access(PROGRAM, os.X_OK):
            raise unittest.SkipTest("%s is not built" % PROGRAM)
        cls.text = page("ds-deploy.1")
        cls.overview = cls.help()
        cls.commands = re.findall(r"^  ([a-z]+) {2,}\S", cls.overview, re.M)
        cls.helps = {command: cls.help(command) for command in cls.commands}

    @staticmethod
    def help(*command):
        done = subprocess.run([PROGRAM, *command, "--help"], stdin=subprocess.DEVNULL, check=True,
                              stdout=subprocess.PIPE, text=True, timeout=60)
        return done.stdout

    @staticmethod
    def options_in(text):
        """"  -H,--hostfile TEXT   hosts" gives -H and --hostfile."""
        heads = re.findall(r"^ +(-\S+)", text, re.M)
        return {name for head in heads for name in head.split(",")}

    def test_commands_are_known(self):
        self.assertIn("deploy", self.commands)
        self.assertGreaterEqual(len(self.commands), 7)

    def test_every_command_has_its_entry_and_its_example(self):
        commands = section(self.text, "COMMANDS")
        for command in self.commands:
            entry = re.search(r"^\.It Cm %s\b(.*?)(?=^\.It |^\.El)" % command, commands, re.M | re.S)
            with self.subTest(command):
                self.assertIsNotNone(entry, "no entry in COMMANDS")
                self.assertRegex(entry.group(1), r"(?m)^\.Dl .*ds-deploy")
        documented = re.findall(r"^\.It Cm (\w+)", commands, re.M)
        self.assertEqual(sorted(documented), sorted(self.commands))

    def test_every_option_is_in_the_page(self):
        documented = documented_options(self.text)
        for command, text in {"": self.overview, **self.helps}.items():
            with self.subTest(command or "ds-deploy"):
                options = self.options_in(text)
                self.assertIn("--json", options)
                self.assertEqual(sorted(options - documented), [])

    def test_every_documented_option_exists(self):
        known = self.options_in(self.overview)
        for text in self.helps.values():
            known |= self.options_in(text)
        self.assertEqual(sorted(documented_options(self.text) - known), [])

    def test_exit_statuses(self):
        header = (ROOT / "src" / "base" / "error.h").read_text(encoding="utf-8")
        enum = re.search(r"enum class ExitStatus.*?\{(.*?)\}", header, re.S).group(1)
        known = re.findall(r"= (\d+)", enum)
        documented = re.findall(r"^\.It (\d+)$", section(self.text, "EXIT STATUS"), re.M)
        self.assertEqual(documented, known)

    def test_environment_variables(self):
        """What the program reads by name is in the page, less what every program heeds."""
        read = set(re.findall(r'getenv\("(\w+)"\)', "\n".join(
            path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.cc"))))
        documented = set(re.findall(r"\b[A-Z][A-Z_]{2,}\b", section(self.text, "ENVIRONMENT")))
        self.assertEqual(sorted(read - documented - {"HOME", "PATH", "TERM", "TMPDIR"}), [])

    def test_audit_rules(self):
        known = set(re.findall(r'Rule\{"([^"]+)"', source_of("audit"))) | {"reachable"}
        documented = re.findall(r"^\.It Cm (\S+)$", section(self.text, "AUDIT RULES"), re.M)
        self.assertEqual(sorted(documented), sorted(known))

    def test_states(self):
        known = set(re.findall(r'return "([a-z-]+)";', re.search(
            r"to_string\(HostState.*?\n\}", source_of("rollout"), re.S).group(0)))
        documented = re.findall(r"^\.It Cm (\S+)$", section(self.text, "STATES OF A HOST"), re.M)
        self.assertEqual(sorted(documented), sorted(known))


class Keys(unittest.TestCase):
    def test_hostfile(self):
        table = re.search(r"keys\(\) \{.*?= \{(.*?)\};", source_of("inventory"), re.S)
        self.assertIsNotNone(table, "the table of keys was not found")
        known = set(re.findall(r'"([^"]+)"', table.group(1))) | {"slots"}
        self.assertGreater(len(known), 5)
        self.assertEqual(documented_keys(page("ds-deploy-hostfile.5")), known)

    def test_op_manifest(self):
        text = (ROOT / "src" / "config" / "op_manifest.cc").read_text(encoding="utf-8")
        known = set(re.findall(r'Key\{"([^"]+)"', text))
        self.assertGreater(len(known), 10)
        self.assertEqual(documented_keys(page("ds-deploy-op.5")), known)

    def test_policy(self):
        text = (ROOT / "src" / "config" / "policy.cc").read_text(encoding="utf-8")
        known = set(re.findall(r'\{"(\w+)",\s*(?:\[|single|choice|share|duration|hook)', text))
        known |= set(re.findall(r'keys\["(\w+)"\] = choice', text))
        text = (ROOT / "src" / "config" / "treatment.cc").read_text(encoding="utf-8")
        known |= set(re.findall(r'\{"(\w+)",\s*&Policy::', text))
        self.assertGreater(len(known), 15)
        self.assertEqual(documented_keys(page("ds-deploy-policy.5"), "HOOKS"), known)

    def test_sample_hostfile_names_every_key(self):
        sample = (ROOT / "hostfile").read_text(encoding="utf-8")
        for key in documented_keys(page("ds-deploy-hostfile.5")):
            self.assertIn(key + "=", sample)


class Form(unittest.TestCase):
    def test_pages_are_there(self):
        self.assertEqual([path.name for path in PAGES],
                         ["ds-deploy-hostfile.5", "ds-deploy-journal.5", "ds-deploy-op.5",
                          "ds-deploy-policy.5", "ds-deploy.1"])

    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is not installed")
    def test_pages_are_well_formed(self):
        for path in PAGES:
            with self.subTest(path.name):
                done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(path)],
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      check=False)
                self.assertEqual((done.stdout, done.returncode), ("", 0))

    @unittest.skipUnless(shutil.which("shellcheck"), "shellcheck is not installed")
    def test_shell_scripts(self):
        scripts = [path for path in [*(ROOT / "deploy").iterdir(), ROOT / "tests" / "run"]
                   if path.is_file() and (path.suffix == ".sh" or path.read_bytes()[:2] == b"#!")]
        self.assertTrue(scripts)
        done = subprocess.run(["shellcheck", "-x", *map(str, scripts)], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual((done.stdout, done.returncode), ("", 0))


if __name__ == "__main__":
    unittest.main()
