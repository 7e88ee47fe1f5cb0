# SPDX-License-Identifier: Apache-2.0
"""deploy/quickstart with a cmake that does as it is told: only the script itself is tested."""
import os
import shutil
import subprocess

from support.deploy_case import ROOT, DeployCase, clean_environment

CMAKE = """#!/bin/sh
echo "$*" >> calls
case $1 in
    --build) cp /bin/true build/ds-deploy ;;
    *) mkdir -p build; touch build/CMakeCache.txt
       [ -f broken ] && { echo "no compiler"; exit 1; }
       touch build/build.ninja ;;
esac
"""


class Quickstart(DeployCase):
    def setUp(self):
        super().setUp()
        shutil.copytree(ROOT / "deploy", self.folder / "deploy")
        for name, text in (("deploy/install-packages", "#!/bin/sh\n"), ("bin/cmake", CMAKE)):
            self.write(name, text).chmod(0o755)
        (self.folder / "build" / "env" / "bin").mkdir(parents=True)
        (self.folder / "build" / "env" / "bin" / "python").symlink_to("/bin/true")

    def quickstart(self):
        env = clean_environment(PATH="%s:%s" % (self.folder / "bin", os.environ["PATH"]))
        return subprocess.run([str(self.folder / "deploy" / "quickstart")], env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)

    def test_a_failed_configure_is_repeated_once_its_cause_is_gone(self):
        self.write("broken", "")
        first = self.quickstart()
        self.assertEqual(first.returncode, 2, first.stdout)
        self.assertIn("no compiler", first.stdout)
        (self.folder / "broken").unlink()
        second = self.quickstart()
        self.assertEqual(second.returncode, 0, second.stdout)
        self.assertEqual(self.quickstart().returncode, 0)
        calls = (self.folder / "calls").read_text().splitlines()
        self.assertEqual([call.startswith("-S") for call in calls], [True, True, False, False])
