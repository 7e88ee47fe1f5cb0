# SPDX-License-Identifier: Apache-2.0
"""What can be a source: a folder, an archive that is to be unpacked with care, any setup.py."""
import io
import os
import tarfile
import unittest
import zipfile

from support.source_case import SourceCase


class Archives(SourceCase):
    def pack(self, *entries, name="x.tar.gz"):
        """Entries are (name, text) or TarInfo."""
        path = self.folder / name
        with tarfile.open(path, "w:gz") as archive:
            for entry in entries:
                info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry[0])
                data = b"" if info is entry else entry[1].encode()
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    @staticmethod
    def link(name, target, kind=tarfile.SYMTYPE):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        return info

    def test_packed_and_unpacked_are_one(self):
        self.op("one")
        (self.root / "link").symlink_to("csrc/one.cpp")
        unpacked = self.read()
        with tarfile.open(self.folder / "x-1.tar.gz", "w:gz") as archive:
            archive.add(self.root, "./x-1")
        with zipfile.ZipFile(self.folder / "x-1.zip", "w") as archive:
            for path in self.root.rglob("*"):
                if path.is_file():
                    archive.write(path, path.relative_to(self.root))
        for name in ("x-1.tar.gz", "x-1.zip"):
            for again in range(2):
                with self.subTest(name, again=again):
                    self.assertEqual(self.read(source=self.folder / name), unpacked)
                    self.assertIn(str(self.folder / "cache" / "sources"), self.answer["root"])
        self.assertEqual(len(list((self.folder / "cache" / "sources").iterdir())), 2)

    def test_hostile_archives(self):
        fine = ("x/version.txt", "1")
        device = tarfile.TarInfo("x/dev")
        device.type = tarfile.FIFOTYPE
        outside = self.folder / "outside"
        outside.mkdir()
        for name, entries, why in (
                ("climbing", [fine, ("x/../../e", "")], "climbs"),
                ("absolute", [fine, ("/tmp/e", "")], "absolute"),
                ("twice", [fine, fine], "twice"),
                ("link out", [fine, self.link("x/l", "../../outside")], "leads out"),
                ("absolute link", [fine, self.link("x/l", str(outside))], "leads out"),
                ("to nothing", [fine, self.link("x/l", "nowhere")], "to nothing"),
                ("ring", [fine, self.link("x/a", "b"), self.link("x/b", "a")], "to nothing"),
                ("through a link", [self.link("x/l", "../../../outside"), ("x/l/e", "")], "below"),
                ("link above", [("x/l/e", ""), self.link("x/l", "../../outside")], "twice"),
                ("links in links", [("x/a/b/e", ""), self.link("x/a/b/c", "../.."),
                                    self.link("x/l", "a/b/c/../../..")], "leads out"),
                ("below a file", [fine, ("x/version.txt/e", "")], "below"),
                ("hard", [fine, self.link("x/h", "x/version.txt", tarfile.LNKTYPE)], "hard link"),
                ("device", [fine, device], "special"),
                ("escape", [fine, ("x/\x1b[2J", "")], "characters"),
                ("nothing", [], "nothing in it")):
            with self.subTest(name):
                said = self.refusal(source=self.pack(*entries))
                self.assertRegex(said, why)
                self.assertNotIn("\x1b", said)
        self.assertEqual(list(outside.iterdir()), [])
        self.assertEqual(list((self.folder / "cache" / "sources").iterdir()), [])
        whole = self.pack(("x/version.txt", os.urandom(400000).hex())).read_bytes()
        (self.folder / "cut.tar.gz").write_bytes(whole[:len(whole) // 2])
        self.assertIn("damaged", self.refusal(source=self.folder / "cut.tar.gz"))

    def test_a_bomb(self):
        info = tarfile.TarInfo("x/zeros")
        info.size = 600 << 20
        path = self.folder / "bomb.tar.gz"
        with tarfile.open(path, "w:gz") as archive, open("/dev/zero", "rb") as zeros:
            archive.addfile(info, zeros)
        self.assertIn("too much for a source", self.refusal(source=path))


class SetupProjects(SourceCase):
    """Projects without op builders, whose setup.py makes torch extensions."""

    def setUp(self):
        super().setUp()
        if not (self.site / "setuptools").exists():
            (self.site / "setuptools.py").write_text("import distutils.core\nimport distutils\n"
                                                     "def setup(**words): raise SystemError\n")
        self.write("flash/csrc/a.cu", "")
        self.write("flash/csrc/a.cpp", "")

    def setup_py(self, body):
        self.write("flash/setup.py", "from setuptools import setup\n"
                                     "from torch.utils.cpp_extension import CppExtension, "
                                     "CUDAExtension, BuildExtension\n" + body)

    def test_extensions(self):
        self.setup_py(
            "print('noise')\n"
            "setup(name='flash', version='2.1', cmdclass={'build_ext': BuildExtension},\n"
            "  ext_modules=[CUDAExtension('flash_2_cuda', ['csrc/a.cpp', 'csrc/a.cu'],\n"
            "    include_dirs=['csrc'], define_macros=[('X', '1'), ('Y', None)],\n"
            "    extra_compile_args={'cxx': ['-O3'], 'nvcc': ['-O3', '--use_fast_math']}),\n"
            "  CppExtension(name='flash.plain', sources=['csrc/a.cpp'],\n"
            "    extra_compile_args=['-O2']), CppExtension('gone', ['csrc/gone.cpp'])])\n")
        found = self.read(source=self.folder / "flash")
        self.assertEqual((self.answer["kind"], self.answer["name"], self.answer["version"]),
                         ("setup", "flash", "2.1"))
        self.assertEqual(found["flash_2_cuda"]["nvcc_flags"], ["-O3", "--use_fast_math"])
        self.assertEqual(found["flash_2_cuda"]["defines"], ["X=1", "Y"])
        self.assertEqual(found["flash_2_cuda"]["include"], ["csrc"])
        self.assertTrue(found["flash_2_cuda"]["links_cuda"])
        self.assertEqual(found["plain"]["module"], "flash.plain")
        self.assertEqual(found["plain"]["cxx_flags"], ["-O2"])
        self.assertEqual(found["plain"]["build_variable"], "DS_BUILD_PLAIN")
        self.assertIn("not there", found["gone"]["because"])

    def test_setup_that_fails(self):
        self.setup_py("raise RuntimeError('no CUTLASS')\nCUDAExtension\n")
        self.assertIn("setup.py raised RuntimeError: no CUTLASS",
                      self.refusal(source=self.folder / "flash"))


if __name__ == "__main__":
    unittest.main()
