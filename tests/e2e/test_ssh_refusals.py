# SPDX-License-Identifier: Apache-2.0
"""Hosts that must be refused, or refuse: the whole sentence, word for word.

It stands in golden/ssh-refusals/NAME.txt, less addresses, ports, paths and fingerprints. ACCEPT=1
writes these files anew; read them as a user would: what, where, why, and what to do next.
"""
import json
import os
import shutil
import unittest

from support.matrix_case import Matrix

BINARIES = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
KEYS_ALONE = "KbdInteractiveAuthentication no\n"
# Those of BY_SSH are asked through the ssh program as well, NAME-by-ssh.txt.
BY_SSH = ("no-such-key", "git-only", "nologin", "unknown-host-key", "changed-host-key")


class Refuses(Matrix):
    """One test for each sentence."""

    cells = {"no-such-key": "AuthorizedKeysFile none\n" + KEYS_ALONE,
             "rsa-not-taken": "PubkeyAcceptedAlgorithms ssh-ed25519\n" + KEYS_ALONE,
             "password-alone": "PubkeyAuthentication no\nPasswordAuthentication yes\n" + KEYS_ALONE,
             "questions": "AuthorizedKeysFile none\n", "nologin": "",
             "too-many-keys": "MaxAuthTries 2\nAuthorizedKeysFile none\n",
             "no-session": "MaxSessions 0\n", "sftp-alone": "ForceCommand internal-sftp\n",
             "git-only": "ForceCommand echo This account is for git only; exit 1\n",
             "git-only-politely": "ForceCommand echo This account is for git only >&2\n",
             "start-up-file-exits": "", "unknown-host-key": "", "changed-host-key": ""}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        more = {}
        for name, files in (("rsa-not-taken", ["rsa"]), ("too-many-keys", ["one", "two", "three"])):
            for file in files:
                cls.fleet.make_key(cls.folder / file, "rsa" if file == "rsa" else "ed25519")
            more[name] = "".join("  IdentityFile %s\n" % (cls.folder / file) for file in files)
        cls.configure("rsa-not-taken", extra_config=cls.cells["rsa-not-taken"]
                      + "AuthorizedKeysFile %s/rsa.pub\n" % cls.folder)
        cls.configure("nologin", shell=shutil.which("nologin", path=BINARIES) or "/bin/false")
        cls.configure("start-up-file-exits", shell=shutil.which("bash"))
        (cls.home("start-up-file-exits") / ".bashrc").write_text("echo no scratch >&2\nexit 3\n")
        cls.fleet.new_host_key(cls.names["changed-host-key"], learn=False)
        unknown = cls.host("unknown-host-key")["address"]
        known = cls.fleet.known_hosts.read_text().splitlines(True)
        cls.fleet.known_hosts.write_text("".join(
            line for line in known if "[%s]" % unknown not in line))
        cls.config = cls.write_config("config", **more)
        cls.said = {}

    def messages(self, *words):
        """What one ping of all said; the tests share it."""
        if words not in self.said:
            self.said[words] = self.ping(*words, status=8)
            self.assert_clean(self.done)
        return self.said[words]

    def refused(self, name, file, *words):
        if name == "nologin" and shutil.which("nologin", path=BINARIES) is None:
            self.skipTest("no nologin")
        answer = self.messages(*words)[name]
        self.assertFalse(answer["ok"], answer)
        self.golden(file, answer["message"])

    def test_facts_say_the_same(self):
        done = self.program("facts", "--json")
        self.assertEqual(done.status, 8, done.out + done.err)
        self.assert_clean(done)
        self.assertEqual({host["name"]: host["problem"] for host in json.loads(done.out)["hosts"]},
                         {name: answer["message"] for name, answer in self.messages().items()})


def add_case(name, file, *words):
    setattr(Refuses, "test_" + file.replace("-", "_"),
            lambda self: self.refused(name, file, *words))


for cell in Refuses.cells:
    add_case(cell, cell)
    if cell in BY_SSH:
        add_case(cell, cell + "-by-ssh", "--ssh-backend", "openssh")


if __name__ == "__main__":
    unittest.main()
