# SPDX-License-Identifier: Apache-2.0
"""Python packages that a wheel requires: audited on every host, installed by its own pip if that
is asked for. Real pip, a package index of this machine."""
import json
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

from support import sshd_hosts
from support.deploy_case import ROOT, DeployCase, clean_environment
from support.package_index import PackageIndex

PIP_IS_MISSING = subprocess.run([sys.executable, "-c", "import ensurepip"],
                                stderr=subprocess.DEVNULL, check=False).returncode
# What this machine's configuration of pip says is no part of the tests.
PIP = {"PIP_CONFIG_FILE": "/dev/null", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@unittest.skipIf(PIP_IS_MISSING, "python3 has no ensurepip")
class RequirementsCase(DeployCase):
    def setUp(self):
        super().setUp()
        self.index = PackageIndex(self.folder / "index")
        self.addCleanup(self.index.stop)
        for name, version, requires in (
                ("alpha_lib", "1.9", []), ("alpha_lib", "2.1", ["beta>=1", "torch>=1"]),
                ("beta", "1.0", []), ("torch", "9.9", []), ("greedy", "1.0", ["torch>=9"])):
            self.index.add(self.pure_wheel(name, version, requires))

    def with_torch(self, python):
        """A torch of this environment's own."""
        self.pip(python, "install", "--no-index", "--no-deps", self.pure_wheel("torch", "1.5"))
        return python

    def pip(self, python, *words):
        return subprocess.run([str(python), "-m", "pip", *map(str, words)], check=True, text=True,
                              stdout=subprocess.PIPE, env=clean_environment(**PIP)).stdout

    def packages(self, python):
        listed = self.pip(python, "--disable-pip-version-check", "list", "--format=json")
        return {one["name"].replace("_", "-"): one["version"] for one in json.loads(listed)}

    @staticmethod
    def findings(report, host=0, rule="requirements"):
        return [one for one in report["hosts"][host]["findings"] if one["rule"] == rule]


class ThisMachine(RequirementsCase):
    def local(self, *words, **how):
        return self.deploy("-l", *words, env=clean_environment(**PIP), **how)

    def look(self, *words, exit_status=0):
        """A command that builds nothing."""
        done = self.run_program(*words, "--json", env=clean_environment(**PIP))
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def test_a_missing_package_refuses_the_host_and_the_fix_is_the_fix(self):
        python = self.make_environment(pip=True)
        wheel = self.pure_wheel(requires=["alpha-lib>=2", "beta", "pip>1; python_version > '3'",
                                          "never; extra == 'dev'"])
        words = ["--python", python, "--wheel", wheel]
        report = self.local(*words, exit_status=3)
        found, = self.findings(report)
        self.assertEqual(found["severity"], "fail")
        self.assertEqual(found["because"],
                         "foreign requires alpha-lib>=2, beta, which this environment lacks")
        self.assertEqual(self.index.asked, [])

        report = self.local(*words, "--dry-run", "--with-requirements", "-m", self.index.url())
        self.assertEqual(self.findings(report)[0]["severity"], "warn")
        self.assertEqual((self.states(report), self.index.asked), ({"localhost": "ready"}, []))

        # As users of install.sh write it.
        report = self.local(*words, "--with-requirements", "-n", "-m", self.index.url())
        self.assertEqual(self.states(report), {"localhost": "confirmed"})
        self.assertIn("requirements", report["hosts"][0]["seconds"])
        self.assertEqual(self.python(python, "-c", "import foreign, alpha_lib, beta, torch; "
                                                   "print(alpha_lib.VERSION)"), "2.1\n")
        asked = len(self.index.asked)
        report = self.local(*words, "--with-requirements", "-m", self.index.url())
        self.assertEqual(self.states(report), {"localhost": "unchanged"})
        self.assertEqual(self.findings(report)[0]["because"], "3 requirements of foreign installed")
        self.assertEqual(len(self.index.asked), asked)

    def test_a_package_of_another_version_is_replaced(self):
        python = self.make_environment(pip=True)
        self.pip(python, "install", "-i", self.index.url(), "alpha_lib<2", "torch==9.9")
        wheel = self.pure_wheel(requires=["alpha.Lib ~= 2.0"])
        report = self.local("--python", python, "--wheel", wheel, exit_status=3)
        self.assertIn("alpha-lib~=2.0 (1.9 is installed)", self.findings(report)[0]["because"])
        self.local("--python", python, "--wheel", wheel, "--with-requirements", "-m",
                   self.index.url())
        self.assertEqual(self.packages(python)["alpha-lib"], "2.1")

    def test_without_pip(self):
        python = self.make_environment()
        wheel = self.pure_wheel(requires=["beta"])
        report = self.local("--python", python, "--wheel", wheel, "--with-requirements",
                            exit_status=3)
        self.assertIn("there is no pip", self.findings(report)[0]["because"])
        self.assertIn("ensurepip", self.findings(report)[0]["fix"])

    def test_pip_says_why_and_the_password_of_the_mirror_stays_secret(self):
        python = self.make_environment(pip=True)
        wheel = self.pure_wheel(requires=["no-such-package>=1"])
        report = self.local("--python", python, "--wheel", wheel, "--with-requirements", "-m",
                            self.index.url("me:s3cret"), exit_status=4)
        host, = report["hosts"]
        self.assertEqual((host["state"], host["step"]), ("failed", "requirements"))
        self.assertIn("No matching distribution found for no-such-package>=1", host["message"])
        self.assertNotIn("s3cret", json.dumps(report) + self.stderr)
        self.assertFalse((self.folder / ".ds-deploy" / "env" / "active").exists())

    def test_two_hosts_with_one_environment_do_not_race(self):
        python = self.make_environment(pip=True)
        source = "".join((ROOT / "templates" / name).read_text()
                         for name in ("layout.py", "durable.py", "call_pip.py",
                                      "requirements.py"))
        request = json.dumps({"install": ["beta"], "pins": [], "mirror": self.index.url(),
                              "nonce": "N"})
        runs = [subprocess.Popen([str(python), "-I", "-B", "-c", "import sys; exec(compile("
                                  "sys.stdin.buffer.read(%d), 'x', 'exec'))" % len(source)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                 env=clean_environment(**PIP)) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            said = pool.map(lambda run: run.communicate(source + request + "\n")[0], runs)
        self.assertEqual(sorted(line.strip() for line in said),
                         ['N {"ok": true, "changed": %s}' % changed for changed in ("false", "true")])
        self.assertEqual(sum(path.endswith(".whl") for path in self.index.asked), 1)

    def test_a_mirror_without_use(self):
        python = self.make_environment()
        self.local("--python", python, "--wheel", self.pure_wheel(), "-m", self.index.url())
        self.assertIn("--pip_mirror has no effect", self.stderr)
        done = self.run_program("-l", "--python", python, "-m", "mirror.example")
        self.assertEqual(done.returncode, 2)
        self.assertIn("is no URL", done.stderr)

    def test_facts_tell_packages_and_are_replayed(self):
        python = self.with_torch(self.make_environment(pip=True))
        site, = python.parent.parent.glob("lib/python*/site-packages")
        for name, file, text in (("in_place.egg-info", "PKG-INFO", "Name: in_place\nVersion: 3\n"),
                                 ("left-1.0.dist-info", "INSTALLER", "pip\n"),
                                 ("~umpy-1.0.dist-info", "METADATA", "Metadata-Version: 2.1\n"),
                                 ("Odd.Name_x-2.0.dist-info", "METADATA", "Name: Odd.Name-x\n"),
                                 ("of-old-1.0.dist-info", "METADATA", "Name: of-old\nVersion: 1\n")):
            (site / name).mkdir()
            (site / name / file).write_text(text)
        facts = self.folder / "facts.json"
        self.look("facts", "-l", "--python", python, "--save-facts", facts)
        told = json.loads(facts.read_text())["hosts"][0]["distributions"]
        expected = {"torch": "1.5", "in-place": "3", "left": None, "odd-name-x": "2.0",
                    "of-old": "1"}
        self.assertEqual({name: told.get(name) for name in expected}, expected)
        shown = self.run_program("facts", "--facts", facts).stdout
        self.assertRegex(shown, r"packages +%d Python packages\n" % len(told))
        self.assertNotIn("odd-name-x", shown)

        # What importlib.metadata sees of the same environment.
        seen = json.loads(self.python(python, "-c", "import importlib.metadata as m, json; print("
                                      "json.dumps({d.metadata['Name'].lower().replace('_', '-')"
                                      ".replace('.', '-'): d.version for d in m.distributions() "
                                      "if d.metadata['Name'] and d.version}))"))
        seen["odd-name-x"] = "2.0"
        self.assertEqual(told, seen)

        wheel = self.pure_wheel(requires=["in_place>=4"])
        report = self.look("audit", wheel, "--facts", facts, exit_status=3)
        self.assertIn("in-place>=4 (3 is installed)", self.findings(report)[0]["because"])
        old = json.loads(facts.read_text())
        del old["hosts"][0]["distributions"]
        facts.write_text(json.dumps(old))
        report = self.look("audit", wheel, "--facts", facts)
        self.assertEqual(self.findings(report)[0]["severity"], "unknown")


@unittest.skipIf(sshd_hosts.missing(), "%s" % sshd_hosts.missing())
class Hosts(RequirementsCase):
    def setUp(self):
        super().setUp()
        self.fleet = sshd_hosts.SshdHosts(self.folder / "fleet", 3)
        self.addCleanup(self.fleet.stop)
        self.fleet.start()
        # The third name is the second environment once more.
        self.pythons = {name: self.with_torch(self.make_environment("%s/env" % name, pip=True))
                        for name in ("n1", "n2")}
        self.pythons["n3"] = self.pythons["n2"]
        script = self.write("pip.sh", "".join("export %s=%s\n" % one for one in PIP.items()))
        self.hosts = self.write("cluster", "".join(
            "%s slots=1 python=%s env-script=%s\n" % (name, python, script)
            for name, python in self.pythons.items()))
        self.common = ["-H", self.hosts, "-F", self.fleet.config, "--with-requirements", "-m",
                       self.index.url()]

    def test_each_environment_once_and_torch_stays(self):
        report = self.deploy(*self.common, "--wheel",
                             self.pure_wheel(requires=["torch>=1.0", "alpha_lib"]))
        self.assertEqual(set(self.states(report).values()), {"confirmed"})
        wheels = [path for path in self.index.asked if path.endswith(".whl")]
        self.assertEqual(sorted(path.split("/")[-1].split("-")[0] for path in wheels),
                         ["alpha_lib", "alpha_lib", "beta", "beta"])
        for name, python in self.pythons.items():
            with self.subTest(name):
                self.assertEqual({key: self.packages(python).get(key)
                                  for key in ("torch", "alpha-lib", "beta")},
                                 {"torch": "1.5", "alpha-lib": "2.1", "beta": "1.0"})

    def test_a_package_that_wants_another_torch_stops_before_activation(self):
        self.pip(self.pythons["n1"], "install", "--no-index", "--no-deps",
                 self.pure_wheel("greedy", "1.0"))
        wheel = self.pure_wheel(requires=["greedy"])
        report = self.deploy(*self.common, "--wheel", wheel, exit_status=4)
        self.assertEqual(self.states(report), {"n1": "staged", "n2": "failed", "n3": "failed"})
        failed = report["hosts"][1]
        self.assertEqual(failed["step"], "requirements")
        self.assertIn("greedy 1.0 depends on torch>=9", failed["message"])
        self.assertIn("torch==1.5", failed["message"])
        self.assertIn("n2", report["hosts"][0]["message"])
        self.assertIn("could not install what it requires", report["hosts"][0]["message"])
        for name in ("n1", "n2"):
            self.assertFalse((self.folder / name / ".ds-deploy" / "env" / "active").exists())
            self.assertEqual(self.packages(self.pythons[name])["torch"], "1.5")

    def test_torch_itself_is_never_installed(self):
        for python in set(self.pythons.values()):
            self.pip(python, "uninstall", "-y", "torch")
        report = self.deploy(*self.common, "--wheel", self.pure_wheel(requires=["torch>=2"]),
                             exit_status=3)
        self.assertIn("never left to a wheel's requirements", self.findings(report)[0]["fix"])
        self.assertEqual(self.index.asked, [])


if __name__ == "__main__":
    unittest.main()
