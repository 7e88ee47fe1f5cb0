# SPDX-License-Identifier: Apache-2.0
"""The wheel, judged by other people's tools."""
import hashlib
import pathlib
import subprocess
import sys

from support.deploy_case import DeployCase, clean_environment


class BuiltWheel(DeployCase):
    def build(self, folder, *words, **env):
        """For one GPU: each more costs the compiler as much again, and says the same."""
        env["TORCH_CUDA_ARCH_LIST"] = "8.0"
        done = self.run_program("build", "-l", "--output", self.folder / folder,
                                *(words or ("--build-dir", self.build_folder / "test-wheel")),
                                env=clean_environment(**env))
        self.assertEqual(done.returncode, 0, done.stderr)
        return pathlib.Path(done.stdout.strip())

    def test_same_bytes_under_two_time_zones(self):
        digests = {hashlib.sha256(self.build(zone.replace("/", "-"), TZ=zone).read_bytes()).hexdigest()
                   for zone in ("UTC", "Asia/Tokyo", "America/New_York")}
        self.assertEqual(len(digests), 1)

    def test_same_bytes_from_another_build_folder(self):
        one = self.build("one")
        two = self.build("two", "--build-dir", self.folder / "fresh",
                         "--cache-dir", self.folder / "cache")
        self.assertEqual(one.read_bytes(), two.read_bytes())

    def test_zipfile_reads_it(self):
        self.python(sys.executable, "-m", "zipfile", "-t", str(self.build("out")))

    def test_pip_installs_it_into_a_plain_environment(self):
        wheel = self.build("out")
        python = self.make_environment(pip=True)
        self.python(python, "-m", "pip", "install", "--no-index", str(wheel))
        self.assertIn("No broken requirements", self.python(python, "-m", "pip", "check"))
        self.python(python, "-c", "import ds_ops; ds_ops.self_test('utils')")

    def checker(self, package, *words):
        """A checker from the Python package index, in an environment that all runs share."""
        tools = self.build_folder / "checkers"
        if not (tools / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True,
                           env=clean_environment())
        installed = subprocess.run([str(tools / "bin" / "pip"), "install", "-q", package],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   check=False)
        if installed.returncode != 0:
            self.skipTest("pip cannot install %s here" % package)
        done = subprocess.run([str(tools / "bin" / words[0]), *words[1:]], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_check_wheel_contents(self):
        self.checker("check-wheel-contents", "check-wheel-contents", str(self.build("out")))

    def test_twine_check(self):
        self.checker("twine", "twine", "check", "--strict", str(self.build("out")))
