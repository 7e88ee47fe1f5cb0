# SPDX-License-Identifier: Apache-2.0
"""This machine as the only host, through the local transport."""
import pathlib
import subprocess

from support.deploy_case import DeployCase, clean_environment


class LocalDeployment(DeployCase):
    def setUp(self):
        super().setUp()
        self.hosts = self.write("hostfile", "localhost slots=1 transport=local\n")

    def release_root(self, interpreter):
        prefix = pathlib.Path(interpreter).parent.parent
        return prefix.parent / ".ds-deploy" / prefix.name

    def test_confirms_then_changes_nothing(self):
        python = self.make_environment()
        first = self.deploy("--hostfile", self.hosts, "--python", python)
        self.assertEqual(self.states(first), {"localhost": "confirmed"})
        self.assertGreater(first["hosts"][0]["sent_bytes"], 0)
        before = self.tree(self.folder)
        second = self.deploy("-v", "--hostfile", self.hosts, "--python", python)
        self.assertEqual(self.states(second), {"localhost": "unchanged"})
        self.assertEqual(second["hosts"][0]["sent_bytes"], 0)
        self.assertIn("build: 0 jobs ran", self.stderr)
        self.assertEqual(self.tree(self.folder), before)

    def test_import_and_release_folder(self):
        python = self.make_environment()
        report = self.deploy("--hostfile", self.hosts, "--python", python)
        place = self.python(python, "-c", "import ds_ops; print(ds_ops.__file__)").strip()
        release = self.release_root(python) / "releases" / report["wheels"][0]["sha256"]
        self.assertEqual(pathlib.Path(place).parent.parent, release)
        self.assertIn("cpu_adam", self.python(python, "-c", "import ds_ops; print(ds_ops.ops())"))

    def test_a_running_process_keeps_its_release(self):
        python = self.make_environment()
        self.deploy("--hostfile", self.hosts, "--python", python)
        old = subprocess.Popen([str(python), "-c", "import ds_ops, sys; sys.stdin.readline();"
                                "import ds_ops.utils; print(ds_ops.utils.__file__)"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
                               env=clean_environment())
        ops = self.copy_ops()
        (ops / "VERSION").write_text("0.1.1\n")
        second = self.deploy("--hostfile", self.hosts, "--python", python, "--ops", ops)
        self.assertEqual(self.states(second), {"localhost": "confirmed"})
        late = old.communicate("go\n")[0]
        new = self.python(python, "-c", "import ds_ops.utils; print(ds_ops.utils.__file__)")
        self.assertNotIn(second["wheels"][0]["sha256"], late)
        self.assertIn(second["wheels"][0]["sha256"], new)

    def test_dry_run_changes_nothing(self):
        python = self.make_environment()
        before = self.tree(self.folder)
        report = self.deploy("--hostfile", self.hosts, "--python", python, "--dry-run")
        self.assertEqual(self.states(report), {"localhost": "ready"})
        self.assertEqual(self.tree(self.folder), before)

    def test_failing_self_test_brings_the_old_release_back(self):
        python = self.make_environment()
        first = self.deploy("--hostfile", self.hosts, "--python", python)
        ops = self.copy_ops()
        face = ops / "utils" / "python" / "__init__.py"
        face.write_text(face.read_text() + "\n\ndef self_test():\n    raise AssertionError('1 is not 2')\n")
        second = self.deploy("--hostfile", self.hosts, "--python", python, "--ops", ops,
                             exit_status=4)
        host = second["hosts"][0]
        self.assertEqual((host["state"], host["step"]), ("rolled-back", "confirm"))
        self.assertIn("1 is not 2", host["message"])
        self.assertEqual(host["release"], first["wheels"][0]["sha256"])
        place = self.python(python, "-c", "import ds_ops; print(ds_ops.__file__)")
        self.assertIn(first["wheels"][0]["sha256"], place)

    def test_missing_interpreter_is_a_finding(self):
        report = self.deploy("--hostfile", self.hosts, "--python", self.folder / "no/python",
                             exit_status=3)
        host = report["hosts"][0]
        self.assertEqual((host["state"], host["step"]), ("refused", "audit"))
        self.assertIn("no/python", host["message"])


class BesidePip(DeployCase):
    """What pip sees of a deployed environment, and what it must not touch."""

    def setUp(self):
        super().setUp()
        self.hosts = self.write("hostfile", "localhost slots=1 transport=local\n")
        self.env = self.make_environment(pip=True)
        self.report = self.deploy("--hostfile", self.hosts, "--python", self.env)
        self.releases = self.folder / ".ds-deploy"

    def pip(self, *words, check=True):
        return self.python(self.env, "-m", "pip", "--disable-pip-version-check", *words, check=check)

    def test_list_show_and_check(self):
        self.assertIn("ds_ops", self.pip("list").replace("-", "_"))
        self.assertIn("cpu_adam", self.pip("show", "-f", "ds_ops"))
        self.assertIn("No broken requirements", self.pip("check"))

    def test_uninstall_leaves_the_release(self):
        before = self.tree(self.releases)
        self.pip("uninstall", "-y", "ds_ops", check=False)
        self.assertEqual(self.tree(self.releases), before)
        self.python(self.env, "-c", "import ds_ops")

    def test_install_of_the_same_name_leaves_the_release(self):
        before = self.tree(self.releases)
        self.pip("install", "--no-index", "--no-deps", "--force-reinstall",
                 self.report["wheels"][0]["file"])
        self.assertEqual(self.tree(self.releases), before)
        place = self.python(self.env, "-c", "import ds_ops; print(ds_ops.__file__)")
        self.assertIn(self.report["wheels"][0]["sha256"], place)
