# SPDX-License-Identifier: Apache-2.0
"""Golden command lines. A case is a folder beside this file:

    cmd   first word: the exit status; the rest: a shell command, ds-deploy is in PATH
    out, err   what it prints on stdout and stderr (absent: nothing)
    anything else: input, copied into the folder where the command runs

Paths, times and versions are normalised. ACCEPT=1 writes out and err anew; review the difference.
"""
import os
import pathlib
import re
import shutil
import subprocess

from support.deploy_case import FEW_OPS, PROGRAM, ROOT, DeployCase, clean_environment

CASES = pathlib.Path(__file__).resolve().parent


class Golden(DeployCase):
    def normalise(self, text):
        text = text.replace(str(self.folder), "@CASE@").replace(str(ROOT), "@ROOT@")
        text = re.sub(r"\d+(\.\d+)? s\b", "N s", text)
        text = re.sub(r"\b\d{8}-\d{6}-\d+\b", "@RUN@", text)
        return text

    def run_case(self, case):
        work = self.folder / case.name
        shutil.copytree(case, work)
        status, _, command = (case / "cmd").read_text().strip().partition(" ")
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        link = programs / "ds-deploy"
        if not link.exists():
            link.symlink_to(PROGRAM)
            (self.folder / "ops").mkdir()
            # One op more in the library changes no case.
            for name in FEW_OPS:
                (self.folder / "ops" / name).symlink_to(ROOT / "ops" / name)
        env = clean_environment(PATH="%s:%s" % (programs, os.environ["PATH"]),
                                OPS=str(self.folder / "ops"),
                                XDG_CACHE_HOME=str(self.folder / "cache"), LC_ALL="C.UTF-8")
        done = subprocess.run(["/bin/sh", "-c", command], cwd=work, env=env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, errors="replace", timeout=300, check=False)
        for name, text in (("out", done.stdout), ("err", done.stderr)):
            seen = self.normalise(text)
            golden = case / name
            if os.environ.get("ACCEPT"):
                if seen:
                    golden.write_text(seen)
                elif golden.exists():
                    golden.unlink()
            expected = golden.read_text() if golden.exists() else ""
            self.assertEqual(seen, expected, "%s of %s" % (name, case.name))
        self.assertEqual(done.returncode, int(status), case.name)


def add_case(case):
    setattr(Golden, "test_" + case.name.replace("-", "_"), lambda self: self.run_case(case))


for folder in sorted(CASES.iterdir()):
    if (folder / "cmd").exists():
        add_case(folder)
