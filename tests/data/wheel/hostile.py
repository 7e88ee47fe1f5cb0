# SPDX-License-Identifier: Apache-2.0
"""Writes wheels that must be refused: hostile.py FOLDER. One folder per case, one wheel in each."""
import base64
import hashlib
import os
import stat
import struct
import sys
import warnings
import zipfile

NAME = "toy-1.0-py3-none-any.whl"
INFO = "toy-1.0.dist-info/"
WHEEL = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
METADATA = ("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\nRequires-Python: >=3.8\n"
            "Requires-Dist: numpy\nrequires-dist: hjson (>=3) ; extra == 'x'\n\n"
            "Requires-Dist: prose\n")


def line(name, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return "%s,sha256=%s,%d\n" % (name, digest, len(data))


def sound():
    return [["toy.py", b"answer = 42\n"], [INFO + "METADATA", METADATA.encode()],
            [INFO + "WHEEL", WHEEL.encode()]]


def write(case, entries, record=None, name=NAME):
    """Entries are [name or ZipInfo, bytes]; RECORD lists them unless one is given."""
    folder = os.path.join(sys.argv[1], case)
    os.makedirs(folder)
    path = os.path.join(folder, name)
    if record is None:
        record = "".join(line(getattr(n, "filename", n), d) for n, d in entries
                         if not getattr(n, "filename", n).endswith("/")) + INFO + "RECORD,,\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for entry_name, data in entries:
            out.writestr(entry_name, data)
        if record is not False:
            out.writestr(INFO + "RECORD", record)
    return path


def special(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def patch(path, old, new):
    with open(path, "rb") as f:
        data = f.read()
    assert old in data and len(old) == len(new)
    with open(path, "wb") as f:
        f.write(data.replace(old, new))


def cut(path, keep):
    with open(path, "r+b") as f:
        f.truncate(int(os.path.getsize(path) * keep))


warnings.simplefilter("ignore")
write("sound", sound())
write("sound_folders", [["pkg/", b""], ["pkg/mod.py", b"x = 1\n"]] + sound())
write("sound_utf8", [["pkg/gr\u00fc\u00dfe.py", b"x = 1\n"]] + sound())
write("sound_signed", sound() + [[INFO + "RECORD.jws", b"{}"]],
      "".join(line(n, d) for n, d in sound()) + INFO + "RECORD,,\n")
write("sound_executable", [[special("toy/run", stat.S_IFREG | 0o755), b"#!x\n"]] + sound())
write("sound_case", sound() + [["Toy.py", b"x = 1\n"]])
write("sound_data", sound() + [["toy-1.0.data/scripts/toy.py", b"x"]])
write("duplicate", sound() + [["toy.py", b"answer = 42\n"]])
write("climbs", sound() + [["../evil.py", b"x"]])
write("climbs_inside", sound() + [["pkg/../../evil.py", b"x"]])
write("absolute", sound() + [["/etc/evil", b"x"]])
write("empty_component", sound() + [["pkg//mod.py", b"x"]])
write("backslash", sound() + [["pkg\\mod.py", b"x"]])
write("control", sound() + [["pkg/\x1b[2Jmod.py", b"x"]])
write("newline", sound() + [["pkg/a\nb.py", b"x"]])
write("symlink", sound() + [[special("toy/link", stat.S_IFLNK | 0o777), b"/etc/passwd"]])
write("device", sound() + [[special("toy/dev", stat.S_IFCHR | 0o644), b""]])
write("file_and_folder", sound() + [["toy", b"x"], ["toy/mod.py", b"x"]])
write("two_for_one_place", sound() + [["toy-1.0.data/purelib/toy.py", b"x"]])
write("merged_twice", sound() + [["toy-1.0.data/%slib/a.py" % kind, b"x"] for kind in ("pure", "plat")])
write("merged_over_dist_info", sound() + [["toy-1.0.data/platlib/" + INFO + "WHEEL", b"x"]])
write("merged_into_file", sound() + [["toy-1.0.data/purelib/toy.py/mod.py", b"x"]])
write("no_record", sound(), False)
write("no_wheel_file", sound()[:2])
write("no_metadata", [sound()[0], sound()[2]])
write("no_dist_info", [["toy.py", b""]], False)
write("two_dist_infos", sound() + [["other-1.0.dist-info/METADATA", b"Name: other\n"]])
write("format_two", sound()[:2] + [[INFO + "WHEEL", WHEEL.replace("1.0", "2.0", 1).encode()]])
for case, old, new in (("other_name", "toy", "boy"), ("other_version", "1.0", "1.1")):
    write(case, [sound()[0], sound()[2],
                 [INFO + "METADATA", METADATA.replace(old, new).encode()]])
good = "".join(line(n, d) for n, d in sound()) + INFO + "RECORD,,\n"
write("unlisted", sound() + [["extra.py", b"x"]], good)
write("listed_missing", sound(), good + line("gone.py", b"x"))
write("listed_twice", sound(), good + line("toy.py", b"answer = 42\n"))
write("hash_missing", sound(), good.replace(line("toy.py", b"answer = 42\n"), "toy.py,,12\n"))
write("hash_md5", sound(), good.replace(line("toy.py", b"answer = 42\n"), "toy.py,md5=abc,12\n"))
write("bad_csv", sound(), good + '"never closed')
write("two_fields", sound(), good + "a,b\n")
write("bad_size", sound(), good.replace(",12\n", ",twelve\n"))
write("mismatch_hash", [["toy.py", b"answer = 43\n"]] + sound()[1:], good)
write("mismatch_size", sound(), good.replace(",12\n", ",13\n"))
path = write("encrypted", sound())
with open(path, "rb") as f:
    data = bytearray(f.read())
for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
    at = data.find(magic)
    while at >= 0:
        data[at + offset] |= 1
        at = data.find(magic, at + 4)
with open(path, "wb") as f:
    f.write(data)
cut(write("truncated", sound()), 0.6)
cut(write("truncated_tail", sound()), 0.98)
patch(write("bad_crc", sound()), struct.pack("<I", zipfile.crc32(b"answer = 42\n")), b"\0\0\0\0")
os.makedirs(os.path.join(sys.argv[1], "text"))
with open(os.path.join(sys.argv[1], "text", NAME), "w") as f:
    f.write("this is no wheel\n" * 100)
os.makedirs(os.path.join(sys.argv[1], "empty"))
open(os.path.join(sys.argv[1], "empty", NAME), "w").close()
