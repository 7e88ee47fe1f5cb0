# SPDX-License-Identifier: Apache-2.0
"""The kernels in a library: by architecture and name, their machine code."""
import pathlib
import shutil
import struct
import subprocess
import tempfile

from support.real_parts import site_packages


def kernels(torch, library):
    """{("sm_80", name): bytes}, by the toolkit's cuobjdump; torch's triton brings it too."""
    tool = shutil.which("cuobjdump") or next(
        iter(site_packages(torch).glob("triton/backends/nvidia/bin/cuobjdump")), None)
    if tool is None:
        raise FileNotFoundError("no cuobjdump, neither in PATH nor beside %s" % torch)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([str(tool), "-xelf", "all", str(library)], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
        for image in sorted(pathlib.Path(folder).iterdir()):
            arch = image.name.split(".")[-2]
            for name, code in sections(image.read_bytes()):
                if name.startswith(".text."):
                    # Static kernels of several sources may share a name.
                    key = arch, name[len(".text."):]
                    found[key] = found.get(key, b"") + code
    return found


def sections(elf):
    """Names and contents; 64-bit, little endian."""
    offset, = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, offset + at * size) for at in range(count)]
    text = headers[names][4]
    for name, _, _, _, begin, length in headers:
        end = elf.index(b"\0", text + name)
        yield elf[text + name:end].decode(), elf[begin:begin + length]
