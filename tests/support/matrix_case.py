# SPDX-License-Identifier: Apache-2.0
"""Hosts that differ in their sshd_config, by names that say how; refusals in golden files."""
import getpass
import os
import re

from support.deploy_case import PROGRAM, TESTS, clean_environment
from support.fleet_case import Ended, FleetCase

GOLDEN = TESTS / "golden" / "ssh-refusals"
# sshd's line for the exchange of keys that no libssh2 knew in 2025.
POST_QUANTUM = "KexAlgorithms sntrup761x25519-sha512@openssh.com\n"


class Matrix(FleetCase):
    """A host for each of `cells`, by its name: lines of sshd_config."""

    cells = {}
    settings = {"noise": False}

    @classmethod
    def setUpClass(cls):
        cls.number = len(cls.cells)
        super().setUpClass()
        cls.names = dict(zip(cls.cells, cls.fleet.hosts))
        for name, lines in cls.cells.items():
            cls.configure(name, extra_config=lines)
        cls.hostfile.write_text("".join("%s slots=1\n" % name for name in cls.cells))
        cls.config = cls.write_config("config")

    @classmethod
    def write_config(cls, file, **more):
        """An ssh configuration with the cells' names; `more`: lines for one of them."""
        path = cls.folder / file
        path.write_text("".join(
            "Host %s\n  HostName %s\n%s" % (name, cls.host(name)["address"], more.get(name, ""))
            for name in cls.cells) + cls.fleet.config.read_text())
        return path

    @classmethod
    def host(cls, name):
        return cls.fleet.hosts[cls.names[name]]

    @classmethod
    def configure(cls, name, **changes):
        cls.fleet.configure(cls.names[name], **changes)

    @classmethod
    def home(cls, name):
        return cls.host(name)["root"] / "home"

    def logins(self, name):
        return self.fleet.log(self.names[name]).count("Accepted publickey")

    def program(self, *words, hostfile=None, config=None, **how):
        """With the time limits that users have, and without a terminal."""
        return Ended([PROGRAM, *words, "-F", config or self.config, "--hostfile",
                      hostfile or self.hostfile], preexec=os.setsid, **how)

    def forgetful_libssh2(self):
        """An environment for LeakSanitizer: libssh2 1.10 forgets the server's key with each new
        exchange, 1.11.1 the keys of a MAC that AES-GCM does not need, 96 bytes."""
        allowed = self.folder / "suppressions"
        allowed.write_text("leak:libssh2\n")
        return clean_environment(LSAN_OPTIONS="print_suppressions=0:suppressions=%s" % allowed)

    def golden(self, name, text):
        path = GOLDEN / (name + ".txt")
        for pattern, placeholder in (
                (re.escape(str(self.folder)), "@FOLDER@"), (r"\b127\.0\.\d+\.\d+\b", "@HOST@"),
                (r"\b%d\b" % self.fleet.port, "@PORT@"), (r"SHA256:[\w+/]+", "SHA256:@KEY@"),
                (r"libssh2 \d[\w.]*", "libssh2 @VERSION@"),
                (r"\b%s(?=@|:)" % re.escape(getpass.getuser()), "@USER@"),
                # ssh quotes files in both ways, as its version goes.
                ('"', "'")):
            text = re.sub(pattern, placeholder, text)
        if os.environ.get("ACCEPT"):
            path.write_text(text + "\n")
        self.assertEqual(text + "\n", path.read_text() if path.exists() else "")
