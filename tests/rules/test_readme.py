# SPDX-License-Identifier: Apache-2.0
"""README: the two commands, one real session, no link that leads nowhere."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Readme(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "README.md").read_text(encoding="utf-8")
        self.blocks = re.findall(r"^```\w*\n(.*?)^```$", self.text, re.M | re.S)

    def test_two_commands(self):
        for command in ("deploy/quickstart", "tests/run"):
            with self.subTest(command):
                self.assertTrue(any(re.search("^%s" % command, block, re.M)
                                    for block in self.blocks))
                self.assertTrue((ROOT / command).stat().st_mode & 0o100, "not executable")

    def test_a_session_is_there(self):
        self.assertNotIn("SESSION\n", self.blocks)
        sessions = [block for block in self.blocks if re.search(r"^\$ ", block, re.M)]
        self.assertTrue(sessions, "no block shows a command with its output")

    def test_links(self):
        for page in ROOT.glob("*.md"):
            for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
                if "://" not in target:
                    with self.subTest(page=page.name, target=target):
                        self.assertTrue((ROOT / target).exists())


if __name__ == "__main__":
    unittest.main()
