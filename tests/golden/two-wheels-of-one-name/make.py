# SPDX-License-Identifier: Apache-2.0
"""Two small wheels of one distribution, written in two ways."""
import base64
import hashlib
import zipfile

for name, version in (("ds_ops", "1.0"), ("DS.ops", "2.0")):
    info = "%s-%s.dist-info" % (name, version)
    files = {name + ".py": "", info + "/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
             "Tag: py3-none-any\n", info + "/METADATA": "Metadata-Version: 2.1\nName: %s\n"
             "Version: %s\n" % (name, version)}
    record = info + "/RECORD,,\n"
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += "%s,sha256=%s,%d\n" % (path, digest.rstrip("="), len(text))
    files[info + "/RECORD"] = record
    with zipfile.ZipFile("%s-%s-py3-none-any.whl" % (name, version), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
