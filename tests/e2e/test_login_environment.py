# SPDX-License-Identifier: Apache-2.0
"""What a deployment writes on a host is the same whatever the login there has set."""
import json
import subprocess
import unittest

from support.deploy_case import DeployCase
from support.recorded_wheel import pack

# What a login may have set, of which nothing is to be seen in what we write.
HOSTILE = """umask %(umask)s
export LC_ALL=tr_TR.UTF-8 LANG=C LC_COLLATE=de_DE PYTHONDONTWRITEBYTECODE=1 PYTHONOPTIMIZE=2
export PYTHONPYCACHEPREFIX=%(folder)s/pycache PYTHONPATH=%(folder)s/modules PYTHONUTF8=0
export PYTHONIOENCODING=utf-16 PYTHONHASHSEED=7 PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1
export PYTHONUSERBASE=%(folder)s/base PYTHONWARNINGS=default SOURCE_DATE_EPOCH=86400
export PIP_TARGET=%(folder)s/target PIP_PREFIX=%(folder)s/prefix PIP_USER=1 PIP_NO_COMPILE=1
export PIP_CONFIG_FILE=/nowhere PIP_INDEX_URL=http://127.0.0.1:9/ PIP_REQUIRE_HASHES=1
"""
SOURCE = "TEXT = 'I\u0307\u0131'\nassert TEXT\n\n\ndef self_test():\n    'Docs.'\n    assert TEXT\n"


class LoginEnvironment(DeployCase):
    """What stage, verify and activate write is the same whatever the login has."""

    def setUp(self):
        super().setUp()
        self.wheel = pack(self.folder, {
            "demo/__init__.py": b"", "demo/demo.py": SOURCE.encode(),
            "demo-1.0.data/scripts/tool": b"#!python\nprint('demo')\n"},
            name="demo", version="1.0", ops=[{"name": "demo", "self_test": "demo.demo:self_test"}])
        self.hosts = self.write("hosts", "n1 slots=1 transport=local env-script=%s/env.sh "
                                "python=%s/place/env/bin/python\n" % (self.folder, self.folder))
        # Isolated, no other Python of ours starts this; the job of confirm does.
        self.write("modules/usercustomize.py", "import os; os.umask(0)\n")

    def written(self, login):
        """By a first deployment with such a login: path -> mode and content, less what tells runs
        and times apart."""
        self.write("env.sh", login)
        place = self.folder / "place"
        self.make_environment("place/env")
        before = set(place.rglob("*"))
        report = self.deploy("--hostfile", self.hosts, "--wheel", self.wheel, "--state-dir",
                             self.folder / "state")
        self.assertEqual(self.states(report), {"n1": "confirmed"})
        found = {str(path.relative_to(place)): (
            oct(path.stat().st_mode), b"" if path.is_dir() else self.content(path))
            for path in sorted(set(place.rglob("*")) - before)}
        self.run_shell("chmod -R u+w %s && rm -r %s" % (place, place))
        return found

    @staticmethod
    def content(path):
        if path.parent.name == "env" and path.suffix in (".json", ".jsonl", ".lock"):
            return b""
        if path.suffix == ".json":
            return json.dumps(dict(json.loads(path.read_text()), run="")).encode()
        content = path.read_bytes()
        # The hook's is held against the time of its source, which is in it.
        return content[:8] + content[12:] if path.name.startswith("_ds_deploy.cp") else content

    @staticmethod
    def run_shell(text):
        subprocess.run(["/bin/sh", "-c", text], check=True)

    def test_it_changes_nothing(self):
        plain = self.written("")
        self.assertEqual({"env/bin/tool", ".ds-deploy/env/active"} - set(plain), set())
        self.assertEqual(sum(name.endswith(".pyc") and "releases" in name for name in plain), 6)
        for umask in ("077", "000"):
            found = self.written(HOSTILE % {"umask": umask, "folder": self.folder})
            self.assertEqual({path: (found.get(path), plain.get(path)) for path in {*found, *plain}
                              if found.get(path) != plain.get(path)}, {})
        left = {path.name for path in self.folder.iterdir()}
        self.assertEqual(left & {"pycache", "base", "target", "prefix"}, set())


if __name__ == "__main__":
    unittest.main()
