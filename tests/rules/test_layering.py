# SPDX-License-Identifier: Apache-2.0
"""The shape of the program: who includes whom, which library is where, how long files are."""
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

# What a room may include besides itself; the same table stands in ARCHITECTURE.md.
EDGES = {
    "base": "",
    "ui": "base",
    "process": "base",
    "cache": "base",
    "config": "base",
    "inventory": "base",
    "journal": "base",
    "packaging": "base",
    "topology": "base",
    "wheel": "base packaging",
    "source": "base process",
    "transport": "base process",
    "facts": "base ui transport inventory",
    "compat": "base facts",
    "plan": "base process config facts compat inventory source",
    "build": "base ui process plan cache",
    "artifact": "base config wheel",
    "audit": "base config facts artifact compat packaging",
    "rollout": "base ui config journal transport inventory facts wheel audit artifact "
               "topology",
    "report": "base audit artifact rollout wheel",
}

# Headers of a library, as a pattern, and the rooms that it belongs to.
LIBRARIES = {
    "libssh2": (r"libssh2.*\.h", "transport"),
    "c-ares": (r"ares.*\.h", "transport"),
    "yaml-cpp": (r"yaml-cpp/.*", "config"),
    "libarchive": (r"archive(_entry)?\.h", "wheel source"),
    "libzip": (r"zip\.h", "wheel"),
    "libzstd": (r"zstd.*\.h", "wheel"),
    "libelf": (r"(lib|g)elf\.h", "artifact"),
    "Zydis": (r"Zydis/.*", "artifact"),
    "SQLite": (r"sqlite3.*\.h", "journal"),
    "CLI11": (r"CLI/.*", "cli"),
}

MOST_LINES = 400


def sources():
    return sorted(path for path in SOURCE.rglob("*") if path.suffix in (".cc", ".h"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def includes(path, opening):
    """The names in #include "..." or #include <...>."""
    closing = {'"': '"', "<": ">"}[opening]
    pattern = r"^\s*#\s*include\s*%s([^%s]+)%s" % (opening, closing, closing)
    return re.findall(pattern, path.read_text(encoding="utf-8"), re.M)


def project_files():
    """What git knows or would add; without git, what lies in the folders of the project."""
    try:
        done = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                              cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        names = done.stdout.decode("utf-8", "surrogateescape").split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        folders = ("src", "ops", "deploy", "templates", "tests", "man")
        inside = [path for folder in folders for path in (ROOT / folder).rglob("*")]
        return [path for path in [*inside, *ROOT.iterdir()] if path.is_file()]


class Rooms(unittest.TestCase):
    def test_every_room_is_in_the_table(self):
        rooms = {path.name for path in SOURCE.iterdir() if path.is_dir()}
        self.assertEqual(sorted(rooms - set(EDGES) - {"cli"}), [])

    def test_the_table_has_no_ring(self):
        seen = set()

        def visit(room, above):
            self.assertNotIn(room, above, "a ring: %s" % " > ".join([*above, room]))
            if room not in seen:
                for other in EDGES[room].split():
                    visit(other, [*above, room])
                seen.add(room)

        for room in EDGES:
            visit(room, [])

    def test_edges_and_doors(self):
        wrong = []
        for path in sources():
            room = path.relative_to(SOURCE).parts[0]
            for include in includes(path, '"'):
                other, _, header = include.partition("/")
                if other == room:
                    continue
                if not header or not (SOURCE / include).is_file():
                    wrong.append('%s includes "%s": name it as "<room>/<header>.h"'
                                 % (name_of(path), include))
                elif other != "base" and header != other + ".h" and room != "main.cc":
                    wrong.append("%s includes %s, which is not the door of %s"
                                 % (name_of(path), include, other))
                elif room in EDGES and other not in EDGES[room].split():
                    wrong.append("%s includes %s: %s may use %s"
                                 % (name_of(path), include, room, EDGES[room] or "nothing"))
        self.assertEqual(wrong, [])

    def test_architecture_shows_this_table(self):
        shown = {}
        for line in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("| ").split("|")]
            if line.startswith("| ") and len(cells) == 2:
                for room in cells[0].split(", "):
                    shown[room] = set(cells[1].split(", ")) - {"nothing"}
        for room, edges in EDGES.items():
            self.assertEqual(shown.get(room), set(edges.split()), room)


class Libraries(unittest.TestCase):
    def test_one_library_one_file(self):
        for library, (pattern, rooms) in LIBRARIES.items():
            if library == "CLI11":
                continue  # test_command_line_library
            users = [path for path in sources()
                     if any(re.fullmatch(pattern, name)
                            for name in includes(path, "<") + includes(path, '"'))]
            with self.subTest(library):
                used_in = [path.relative_to(SOURCE).parts[0] for path in users]
                self.assertEqual(len(used_in), len(set(used_in)), [name_of(path) for path in users])
                self.assertLessEqual(set(used_in), set(rooms.split()))
                for path in users:
                    self.assertEqual(path.suffix, ".cc", "%s in a header" % library)

    def test_command_line_library(self):
        users = [name_of(path) for path in sources()
                 if any(name.startswith("CLI/") for name in includes(path, "<"))]
        self.assertEqual(users, ["src/cli/command_options.cc", "src/cli/option_groups.cc",
                                 "src/cli/options.cc"])

    def test_no_json_in_a_door(self):
        for room in [*EDGES, "cli"]:
            door = SOURCE / room / (room + ".h")
            if door.exists():
                heavy = [name for name in includes(door, "<") if name.startswith(("nlohmann", "fmt"))]
                self.assertEqual(heavy, [], name_of(door))


class Files(unittest.TestCase):
    def test_length(self):
        long = []
        for path in project_files():
            if name_of(path).split("/")[0] in ("src", "templates", "ops"):
                lines = path.read_bytes().count(b"\n")
                if lines > MOST_LINES:
                    long.append("%s: %d lines" % (name_of(path), lines))
        self.assertEqual(long, [])

    def test_licence_line(self):
        bare = [name_of(path) for path in sources()
                if not path.read_text(encoding="utf-8").startswith(
                    "// SPDX-License-Identifier: Apache-2.0\n")]
        self.assertEqual(bare, [])

    def test_the_project_speaks_of_itself_alone(self):
        # In pieces, so that this file does not hold them.
        foreign = ["/wo" + "rk/", "../sha" + "red"]
        found = []
        for path in project_files():
            text = path.read_bytes().decode("utf-8", "replace")
            found += ["%s: %s" % (name_of(path), word) for word in foreign if word in text]
        self.assertEqual(found, [])

    def test_no_leftovers(self):
        pattern = re.compile("TO" + r"DO\b|\bFIX" + r"ME\b|\bXX" + r"X\b")
        found = []
        for path in sources():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if pattern.search(line):
                    found.append("%s:%d: %s" % (name_of(path), number, line.strip()))
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
