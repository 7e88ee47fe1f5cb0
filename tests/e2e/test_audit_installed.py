# SPDX-License-Identifier: Apache-2.0
"""`audit --installed`: is what is active on a host what was sealed there."""
import json

from support.deploy_case import DeployCase, clean_environment


class Installed(DeployCase):
    def setUp(self):
        super().setUp()
        self.interpreter = self.make_environment()

    def look(self, exit_status=0):
        """Findings of the rule, and those files of the host that the look changed."""
        before = self.tree(self.folder)
        done = self.run_program("audit", "--installed", "-l", "--python", self.interpreter, "--json")
        self.assertEqual(done.returncode, exit_status, done.stdout + done.stderr)
        self.assertEqual(self.tree(self.folder), before)
        report = json.loads(done.stdout)
        self.assertEqual(report["wheels"], [])
        return [(one["severity"], one["because"]) for one in report["hosts"][0]["findings"]
                if one["rule"] == "installed"]

    def test_nothing_then_whole_then_damaged(self):
        self.assertEqual(self.look(), [("warn", "nothing is installed there")])

        report = self.deploy("-l", "--python", self.interpreter,
                             env=clean_environment(DS_BUILD_UTILS="1"))
        wheel = report["wheels"][0]
        name = "release %s (%s)" % (wheel["sha256"][:12], wheel["file"].rsplit("/", 1)[-1])
        self.assertEqual(self.look(), [("ok", name + " is active and whole")])

        release = self.folder / ".ds-deploy/env/releases" / wheel["sha256"]
        library = release / "ds_ops/utils/libutils.so"
        library.chmod(0o644)
        library.write_bytes(library.read_bytes()[:-1] + b"?")
        library.chmod(0o555)
        (severity, because), = self.look(exit_status=3)
        self.assertEqual(severity, "fail")
        self.assertEqual(because, name + " is active and not as it was sealed: "
                                         "ds_ops/utils/libutils.so has other content")

    def test_what_starts_it_is_gone(self):
        self.deploy("-l", "--python", self.interpreter, env=clean_environment(DS_BUILD_UTILS="1"))
        hook, = (self.folder / "env").glob("lib/python3*/site-packages/ds_deploy.pth")
        hook.unlink()
        found = self.look(exit_status=3)
        self.assertEqual([severity for severity, _ in found], ["fail", "ok"])
        self.assertIn("no process of Python sees it", found[0][1])

    def test_what_other_means_installed(self):
        site, = (self.folder / "env").glob("lib/python3*/site-packages")
        info = site / "deepspeed-0.14.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deepspeed\nVersion: 0.14.5\n")
        (severity, because), = self.look()
        self.assertEqual(severity, "warn")
        self.assertIn("no release of ours is active; deepspeed 0.14.5 ", because)

    def test_a_seal_that_is_damaged(self):
        report = self.deploy("-l", "--python", self.interpreter,
                             env=clean_environment(DS_BUILD_UTILS="1"))
        seal = self.folder / ".ds-deploy/env/releases" / (report["wheels"][0]["sha256"] + ".json")
        seal.chmod(0o644)
        for text, said in (('{"manifest": {"files": 3}}', "its seal is damaged"),
                           ("[", "it is not sealed")):
            seal.write_text(text)
            (severity, because), = self.look(exit_status=3)
            self.assertEqual(severity, "fail")
            self.assertIn(said, because)

    def test_neither_a_wheel_nor_installed(self):
        done = self.run_program("audit", "-l")
        self.assertEqual(done.returncode, 2)
        self.assertIn("audit: no wheel was named\n  name one, or give --installed", done.stderr)
