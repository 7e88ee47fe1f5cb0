# SPDX-License-Identifier: Apache-2.0
"""Certificates as a run makes them for its hosts, by openssl(1)."""
import os
import pathlib
import subprocess
import threading

SETTINGS = """[ca]
default_ca = run
[run]
dir = %(folder)s
database = $dir/index
serial = $dir/serial
new_certs_dir = $dir
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
authorityKeyIdentifier = keyid
"""


class Authority:
    """That of one run. `dates`: from and to, as ASN.1 has them."""

    def __init__(self, folder, dates=("19700101000000Z", "99991231235959Z")):
        self.folder, self.dates, self.made = pathlib.Path(folder), dates, {}
        self.lock = threading.Lock()  # openssl's list of what was made is one file
        self.folder.mkdir()
        (self.folder / "settings").write_text(SETTINGS % {"folder": self.folder})
        (self.folder / "index").touch()
        (self.folder / "serial").write_text("01\n")
        self.request("ca", "run")
        self.sign("ca", "authority", "-selfsign", "-keyfile", self.folder / "ca.key")
        self.certificate = (self.folder / "ca.crt").read_text()

    def openssl(self, *words):
        subprocess.run(["openssl", *map(str, words)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, env={**os.environ, "OPENSSL_CONF": os.devnull})

    def request(self, file, name):
        self.openssl("req", "-new", "-nodes", "-config", self.folder / "settings",
                     "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-subj", "/CN=%s" % name, "-keyout", self.folder / (file + ".key"),
                     "-out", self.folder / (file + ".csr"))

    def sign(self, file, what, *words):
        self.openssl("ca", "-batch", "-notext", "-config", self.folder / "settings",
                     "-extensions", what, "-startdate", self.dates[0], "-enddate", self.dates[1],
                     "-in", self.folder / (file + ".csr"), "-out", self.folder / (file + ".crt"),
                     *words)

    def files(self, name):
        """Of the host with this number: certificate and key."""
        with self.lock:
            if name not in self.made:
                file = "host" + name
                self.request(file, name)
                self.sign(file, "leaf", "-cert", self.folder / "ca.crt", "-keyfile",
                          self.folder / "ca.key")
                self.made[name] = (self.folder / (file + ".crt"), self.folder / (file + ".key"))
            return self.made[name]

    def texts(self, name):
        """What relay-open is asked."""
        certificate, key = self.files(name)
        return {"ca": self.certificate, "certificate": certificate.read_text(),
                "key": key.read_text()}
