# SPDX-License-Identifier: Apache-2.0
"""Wheels that a test packs itself: no compiler is needed."""
import base64
import hashlib
import json
import pathlib
import zipfile

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"


def pack(folder, files, name="ds_ops", version="0.1.0", ops=None, requires=(), **built):
    """Writes NAME-VERSION-py3-none-linux_x86_64.whl of path -> bytes; `ops` is what the record of a
    wheel of ours says of them, `built` with what (compiler, nvcc, cuda)."""
    dist_info = "%s-%s.dist-info/" % (name, version)
    files = dict(files)
    files[dist_info + "METADATA"] = ("Metadata-Version: 2.1\nName: %s\nVersion: %s\n%s" % (
        name, version, "".join("Requires-Dist: %s\n" % one for one in requires))).encode()
    files[dist_info + "WHEEL"] = (b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\n"
                                  b"Tag: py3-none-linux_x86_64\n")
    if ops is not None:
        files[dist_info + "ds_deploy/requirements.json"] = json.dumps(
            {"schema": "ds-deploy.requirements/1", **built, "ops": ops}).encode()
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += "%s,sha256=%s,%d\n" % (path, digest, len(content))
    files[dist_info + "RECORD"] = (record + dist_info + "RECORD,,\n").encode()
    wheel = pathlib.Path(folder) / ("%s-%s-py3-none-linux_x86_64.whl" % (name, version))
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


def cuda_library():
    """A recorded library with one kernel for sm_80; see its source beside it."""
    return (DATA / "cuda" / "libscale.so").read_bytes()
