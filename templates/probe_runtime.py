# SPDX-License-Identifier: Apache-2.0
# The libraries that an op meets in a process of this interpreter, by their build-ids, and the
# symbols that they give (System V ABI, "Object Files"; build-id: ld(1)). layout.py stands before.
import mmap
import re
import struct
import sys
import sysconfig

NAME = re.compile(rb"^[!-~]{1,4096}$")


def segments(image):
    """(kind, offset, length) of an ELF file of 64 bits, little endian."""
    if image[:6] != b"\x7fELF\x02\x01":
        return []
    place, = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    found = []
    for at in range(place, place + size * min(count, 64), max(size, 56)):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", image, at)
        found.append((kind, offset, length))
    return found


def build_id(image):
    for kind, at, length in segments(image):
        end = at + min(length, 4096)
        while kind == 4 and at + 16 <= end:  # PT_NOTE
            name, size, form = struct.unpack_from("<III", image, at)
            begin = at + 12 + (name + 3 & ~3)
            if form == 3 and image[at + 12:at + 16] == b"GNU\0" and size <= 64:
                return image[begin:begin + size].hex()
            at = begin + (size + 3 & ~3)
    return ""


class Image:
    """A mapped file; a file that is damaged has neither build-id nor symbols."""

    def __init__(self, path):
        with open(path, "rb") as source:
            self.bytes = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)

    def build_id(self):
        try:
            return build_id(self.bytes)
        except (struct.error, OverflowError):
            return ""

    def sections(self):
        place, = struct.unpack_from("<Q", self.bytes, 40)
        size, count = struct.unpack_from("<HH", self.bytes, 58)
        return [struct.unpack_from("<IIQQQQIIQQ", self.bytes, at)
                for at in range(place, place + size * count, max(size, 64))]

    def strings(self, sections, link):
        begin, length = sections[link][4:6]
        return self.bytes[begin:begin + length]

    def exports(self):
        """Names of the dynamic symbols that others can be bound to."""
        sections = self.sections()
        found = set()
        for _, kind, _, _, begin, length, link, _, _, _ in sections:
            if kind != 11:  # SHT_DYNSYM
                continue
            texts = self.strings(sections, link)
            table = self.bytes[begin:begin + length // 24 * 24]
            for name, info, other, section, _, _ in struct.iter_unpack("<IBBHQQ", table):
                # global, weak or unique; not hidden nor internal
                if section and info >> 4 in (1, 2, 10) and other & 3 in (0, 3):
                    text = texts[name:texts.find(b"\0", name)]
                    if NAME.match(text):
                        found.add(text)
        return sorted(found)

    def needed(self):
        sections = self.sections()
        found = []
        for _, kind, _, _, begin, length, link, _, _, _ in sections:
            if kind != 6:  # SHT_DYNAMIC
                continue
            texts = self.strings(sections, link)
            table = self.bytes[begin:begin + length // 16 * 16]
            for tag, value in struct.iter_unpack("<QQ", table):
                text = texts[value:texts.find(b"\0", value)] if tag == 1 else b""  # DT_NEEDED
                if NAME.match(text):
                    found.append(text)
        return found


def runtime_paths(torch_folder):
    """Name -> path of the interpreter ("python"), its library, and those of its PyTorch."""
    found = {"python": os.path.realpath(sys.executable)}
    shared = sysconfig.get_config_var("INSTSONAME") or ""
    if ".so" in shared:
        found[shared] = os.path.join(sysconfig.get_config_var("LIBDIR") or "", shared)
    folder = os.path.join(torch_folder, "lib") if torch_folder else ""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    found.update((name, os.path.join(folder, name)) for name in names if ".so" in name)
    return {name: path for name, path in found.items() if os.path.isfile(path)}


def runtime_facts(torch_folder):
    """Name -> build-id; what has none, or cannot be read, is not in it."""
    found = {}
    for name, path in list(runtime_paths(torch_folder).items())[:64]:
        try:
            found[name] = Image(path).build_id()
        except (OSError, ValueError):
            pass
    return {name: text for name, text in found.items() if text}
