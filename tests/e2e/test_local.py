# SPDX-License-Identifier: Apache-2.0
"""This machine as the only host, through the local transport."""
import json
import pathlib
import shutil
import signal
import subprocess
import time

from support.deploy_case import PROGRAM, DeployCase, clean_environment


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

    def test_a_first_dry_run_says_ready_and_shows_the_plan(self):
        python = self.make_environment()
        words = ["--hostfile", self.hosts, "--python", python, "--dry-run",
                 "--build-dir", self.folder / "fresh"]
        report = self.deploy(*words)
        self.assertEqual(self.states(report), {"localhost": "ready"})
        self.assertEqual(report["wheels"], [])
        plan = report["plan"]
        self.assertEqual(plan["schema"], "ds-deploy.plan/1")
        self.assertIn("archs_because", plan)
        self.assertTrue(all(job["because"] for job in plan["jobs"]))
        text = self.run_program(*words).stdout
        for job in plan["jobs"]:
            self.assertIn("    %s  because %s\n" % (job["name"], job["because"]), text)
        for op in plan["left_out"]:
            self.assertEqual(text.count("%s: %s" % (op["name"], op["because"])), 1)
        self.assertFalse((self.folder / "fresh").exists())

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

    def test_an_interrupt_in_confirm_brings_the_old_release_back(self):
        python = self.make_environment()
        first = self.deploy("--hostfile", self.hosts, "--python", python)
        mark = self.folder / "in-self-test"
        ops = self.copy_ops()
        face = ops / "utils" / "python" / "__init__.py"
        face.write_text(face.read_text() + "\n\ndef self_test():\n    import time\n"
                        "    open(%r, 'w').close()\n    time.sleep(600)\n" % str(mark))
        running = subprocess.Popen(
            [PROGRAM, "--hostfile", str(self.hosts), "--python", str(python), "--ops", str(ops),
             "--json", "--build-dir", str(self.build_folder / "test-ops")], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=clean_environment())
        while not mark.exists() and running.poll() is None:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=120)
        self.assertEqual(running.returncode, 130, out + err)
        report = json.loads(out)
        host = report["hosts"][0]
        self.assertEqual((host["state"], host["step"]), ("rolled-back", "rollback"))
        self.assertIn("interrupted", host["message"])
        self.assertIn("the run was interrupted", report["notes"])
        self.assertEqual(host["release"], first["wheels"][0]["sha256"])
        place = self.python(python, "-c", "import ds_ops; print(ds_ops.__file__)")
        self.assertIn(first["wheels"][0]["sha256"], place)

    def test_two_names_for_one_environment_are_one_copy(self):
        python = self.make_environment()
        self.write("hostfile", "one slots=1 transport=local\ntwo slots=1 transport=local\n")
        report = self.deploy("--hostfile", self.hosts, "--python", python)
        self.assertEqual(self.states(report), {"one": "confirmed", "two": "confirmed"})
        one, two = report["hosts"]
        self.assertGreater(one["sent_bytes"], 0)
        self.assertEqual(two["sent_bytes"], 0)
        self.assertIn("the same environment as one", two["message"])

    def test_env_script_is_used_in_every_step(self):
        """The interpreter is found by the script alone, and the self-test needs what it exports."""
        python = self.make_environment()
        script = self.write("env.sh", "PATH=%s:$PATH\nexport DS_TEST_MODULE=loaded\n" % python.parent)
        self.write("hostfile", "localhost slots=1 transport=local python=python3 env-script=%s\n"
                   % script)
        report = self.deploy_change("--hostfile", self.hosts, text=(
            "\n\ndef self_test():\n    import os\n"
            "    assert os.environ['DS_TEST_MODULE'] == 'loaded'\n"))
        self.assertEqual(self.states(report), {"localhost": "confirmed"})
        self.assertIn("utils: passed", report["hosts"][0]["self_tests"])
        self.assertTrue((self.release_root(python) / "active").exists())

    def test_an_env_script_that_fails_is_found_before_anything_is_sent(self):
        python = self.make_environment()
        before = self.tree(self.folder / "env")
        self.write("hostfile", "localhost slots=1 transport=local env-script=/no/such/env\n")
        report = self.deploy("--hostfile", self.hosts, "--python", python, exit_status=3)
        host = report["hosts"][0]
        self.assertEqual((host["state"], host["step"]), ("refused", "audit"))
        self.assertIn("env-script /no/such/env: not found", host["message"])
        self.assertEqual(self.tree(self.folder / "env"), before)

    def test_a_hook_of_which_a_file_is_gone_is_healed(self):
        python = self.make_environment()
        self.deploy("--hostfile", self.hosts, "--python", python)
        for name in ("_ds_deploy.py", "ds_deploy.pth", "ds_deploy.start"):
            with self.subTest(name):
                next((self.folder / "env").rglob("site-packages/" + name)).unlink()
                report = self.deploy("--hostfile", self.hosts, "--python", python)
                self.assertEqual(self.states(report), {"localhost": "confirmed"})
                self.python(python, "-c", "import ds_ops")

    def test_a_foreign_wheel_needs_no_compiler(self):
        python = self.make_environment()
        tools = self.folder / "bin"
        tools.mkdir()
        for name in ("sed", "uname", "id", "grep", "sort", "tr", "date", "getconf", "sleep", "timeout"):
            (tools / name).symlink_to(shutil.which(name))
        env = clean_environment(PATH=str(tools))
        for variable in ("CXX", "CC", "CUDA_HOME"):
            env.pop(variable, None)
        words = ["--hostfile", self.hosts, "--python", python, "--wheel", self.pure_wheel()]
        report = self.deploy(*words, env=env)
        self.assertEqual(self.states(report), {"localhost": "confirmed"})
        self.assertIn("1.0", self.python(python, "-c", "import foreign; print(foreign.VERSION)"))
        saved = self.folder / "facts.json"
        self.run_program("facts", "--hostfile", self.hosts, "--python", python, "--save-facts", saved)
        packages = json.loads(saved.read_text())["hosts"][0]["installed"]["packages"]
        self.assertIn(report["wheels"][0]["sha256"], packages["foreign"])
        self.assertEqual(self.states(self.deploy(*words, env=env)), {"localhost": "unchanged"})

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
