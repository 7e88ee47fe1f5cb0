# SPDX-License-Identifier: Apache-2.0
"""Foreign trees, read by asking their own op builders; whatever they do costs their own op only."""
import subprocess
import time
import unittest

from support.deploy_case import clean_environment
from support.source_case import SourceCase

# The builder's own class of problem, and what is said of it.
BROKEN = {
    "raises": ("def is_compatible(self, verbose=True):\n    raise OSError('no disk')",
               "is_compatible() raised OSError: no disk"),
    "raises_later": ("def sources(self):\n    import dskernels",
                     "builder() raised ModuleNotFoundError: No module named 'dskernels'"),
    "exits": ("def is_compatible(self, verbose=True):\n    sys.exit(0)",
              "its builder raised SystemExit: 0"),
    "dies": ("def sources(self):\n    os._exit(0)", "its builder gave no answer"),
    "dies_loudly": ("def sources(self):\n    os._exit(7)", "its builder ended with status 7"),
    "kills": ("def sources(self):\n    os.kill(os.getpid(), 11)", "its builder ended by signal 11"),
    "closes": ("def sources(self):\n    os.closerange(0, 200)\n    return []",
               "its builder ended with status 1"),
    "silent": ("def is_compatible(self, verbose=True):\n    return False",
               "is_compatible() gives no reason"),
    "prints": ("def is_compatible(self, verbose=True):\n    print('cannot find libx')\n"
               "    print('bye')", "is_compatible() gives no reason; it printed: cannot find libx"),
    "warns": ("def is_compatible(self, verbose=True):\n    self.warning('needs\\nlibx')\n"
              "    return False", "needs libx"),
    "empty": ("def sources(self):\n    return []", "it has no sources"),
    "absent": ("def sources(self):\n    return ['csrc/nowhere.cpp']",
               "1 of its sources are not there, such as csrc/nowhere.cpp"),
    "climbs": ("def sources(self):\n    return ['../../../../../bin/sh']",
               "its sources lie outside of the tree"),
    "typed": ("def cxx_args(self):\n    return '-O3'",
              "builder() raised TypeError: the C++ flags is no list that can be used: '-O3'"),
    "odd": ("def cxx_args(self):\n    return ['-O3\\x1b[2J']",
            "builder() raised TypeError: an item of the C++ flags cannot be used: '-O3\\x1b[2J'"),
    "modules": ("def absolute_name(self):\n    return 'a/../b'", "'a/../b' is no module"),
    "huge": ("def cxx_args(self):\n    return ['-D' + 'x' * 8000] * 4000",
             "its builder raised ValueError: its answer is too long"),
    "floods": ("def sources(self):\n    while True:\n        os.write(1, b'x' * (1 << 20))",
               "builder() raised OSError: [Errno 27] File too large"),
}


class Ops(SourceCase):
    def test_what_a_builder_says(self):
        self.op("store", "def extra_ldflags(self):\n    return ['-laio', '']")
        self.op("kernel", "def filter_ccs(self, ccs):\n"
                          "    return [cc for cc in ccs if int(cc[0]) >= 7]", "CUDAOpBuilder")
        found = self.read(env=clean_environment(TORCH_CUDA_ARCH_LIST="6.1 9.0a", DS_BUILD_OPS="1"))
        self.assertEqual({key: value for key, value in found["kernel"].items() if value}, {
            "name": "kernel", "builder": "KernelBuilder", "build_variable": "DS_BUILD_KERNEL",
            "module": "deepspeed.ops.kernel_op", "sources": ["csrc/kernel.cpp", "csrc/kernel.cu"],
            "include": ["csrc/includes"], "cxx_flags": ["-O3", "-march=native"],
            "nvcc_flags": ["-gencode=8.0"], "cuda": True, "links_cuda": True,
            "minimum_compute_capability": "7.0", "compatible": True})
        self.assertEqual(found["store"]["link_flags"], ["-laio"])
        self.assertEqual((found["store"]["cuda"], found["store"]["links_cuda"]), (False, False))
        self.assertEqual(self.answer["version"], "9.9.1")
        self.assertEqual(self.answer["root"], str(self.root))
        self.assertEqual(self.answer["torch"]["toolkit"], "12.4")
        self.assertTrue(self.answer["torch"]["stub"])
        self.assertRegex(self.answer["python"]["ext_suffix"], r"^\.cpython-3\d+-.*\.so$")

    def test_one_bad_op_costs_itself_only(self):
        for name, (body, _) in BROKEN.items():
            self.op(name, body)
        self.op("good")
        found = self.read()
        self.assertEqual(sorted(found), sorted([*BROKEN, "good"]))
        self.assertTrue(found["good"]["compatible"], found["good"]["because"])
        for name, (_, because) in BROKEN.items():
            with self.subTest(name):
                self.assertEqual(found[name]["because"], because)
                self.assertFalse(found[name]["compatible"])

    def test_nothing_leaks_from_op_to_op(self):
        self.op("aa", "def is_compatible(self, verbose=True):\n"
                      "    os.environ.clear()\n    sys.path.clear()\n    os.chdir('/')\n"
                      "    import torch\n    torch.utils.cpp_extension.CUDA_HOME = None\n"
                      "    OpBuilder.cxx_args = lambda self: ['-leaked']\n    return True")
        for name in ("bb", "cc"):
            self.op(name, base="CUDAOpBuilder")
        found = self.read()
        for name in ("bb", "cc"):
            self.assertEqual(found[name]["nvcc_flags"], ["-gencode=8.0"])
            self.assertEqual(found[name]["cxx_flags"], ["-O3", "-march=native"])
            self.assertEqual(found[name]["because"], "")

    def test_endless_ops(self):
        self.op("aa", "def sources(self):\n    while True: pass")
        self.op("bb", "def sources(self):\n    import subprocess\n"
                      "    subprocess.run(['sleep', '731.5'])")
        self.op("cc")
        began = time.monotonic()
        found = self.read("op_limit=1")
        self.assertLess(time.monotonic() - began, 30)
        for name in ("aa", "bb"):
            self.assertEqual(found[name]["because"], "its builder took longer than 1 s")
        self.assertTrue(found["cc"]["compatible"])
        running = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True,
                                 check=True).stdout
        self.assertNotIn("sleep 731.5", running)

    def test_a_process_that_stays_is_not_waited_for(self):
        self.op("aa", "def sources(self):\n    if os.fork() == 0:\n        time.sleep(20)\n"
                      "        os._exit(0)\n    return super().sources()")
        began = time.monotonic()
        self.assertTrue(self.read()["aa"]["compatible"])
        self.assertLess(time.monotonic() - began, 15)

    def test_all_ops_together_have_a_limit(self):
        for name in ("aa", "bb", "dd"):
            self.op(name, "def sources(self):\n    while True: pass")
        self.op("Early")
        found = self.read("op_limit=2", "limit=3")
        self.assertTrue(found["Early"]["compatible"])
        self.assertEqual(found["aa"]["because"], "its builder took longer than 2 s")
        self.assertIn("it was not asked: those before it took too long", found["dd"]["because"])

    def test_noise_is_no_answer(self):
        lie = "print('{\"ops\": []}'); os.write(1, b'0123 {}\\n'); os.write(2, b'x\\n')"
        self.op("loud", "def is_compatible(self, verbose=True):\n    %s\n    return True" % lie,
                before="%s\nimport warnings; warnings.warn('old')" % lie)
        self.op("other")
        self.assertEqual(sorted(self.read()), ["loud", "other"])

    def test_a_verdict_does_not_depend_on_this_machines_gpu(self):
        self.op("gpu", "def is_compatible(self, verbose=True):\n    import torch\n"
                       "    return not torch.cuda.is_available()\n"
                       "def cxx_args(self):\n    import torch\n"
                       "    return ['-Dcc%d%d' % torch.cuda.get_device_capability(0)]")
        found = self.read()
        self.assertEqual(found["gpu"]["because"], "")
        self.assertEqual(found["gpu"]["cxx_flags"], ["-Dcc80"])

    def test_without_a_toolkit(self):
        self.op("kernel", base="CUDAOpBuilder")
        self.op("host")
        found = self.read(stub="2.6.0/")
        self.assertIn("torch knows no CUDA toolkit", found["kernel"]["because"])
        self.assertTrue(found["host"]["compatible"])

    def test_what_has_to_be_loaded_before(self):
        self.op("async_io")
        self.assertEqual(self.read()["async_io"]["needs"], [])
        self.op("pin_memory")
        self.assertEqual(self.read()["async_io"]["needs"], ["pin_memory"])

    def test_names_that_are_none(self):
        self.op("aa", "NAME = 'a/../b'\ndef sources(self):\n    return ['csrc/aa.cpp']")
        self.op("bb", "def absolute_name(self):\n    return 'deepspeed.ops.cc_op'")
        self.op("cc")
        found = self.read()
        self.assertIn("cannot be the name of an op", found["a____b"]["because"])
        self.assertTrue(found["bb"]["compatible"])
        self.assertEqual(found["cc"]["because"], "another op has its name or its module")


class BrokenTrees(SourceCase):
    def test_a_module_that_cannot_be_imported(self):
        for name, line, because in (
                ("syntax", "def (:", "SyntaxError"),
                ("needy", "import pydantic_of_old", "No module named 'pydantic_of_old'"),
                ("exits", "os._exit(3)", "ended with status 3"),
                ("endless", "while True: pass", "took too long")):
            with self.subTest(name):
                self.op(name, before=line)
                self.op("good")
                found = self.read("op_limit=2")
                self.assertTrue(found["good"]["compatible"], found["good"])
                self.assertIn("op_builder/%s.py: " % name, found[name]["because"])
                self.assertIn(because, found[name]["because"])
                self.assertIn("op_builder cannot be imported as a whole", self.answer["problem"])
                (self.root / "op_builder" / (name + ".py")).unlink()

    def test_a_constructor_that_raises(self):
        self.op("bad", "def __init__(self):\n    raise ValueError('no')")
        self.op("good")
        found = self.read()
        self.assertIn("ValueError: no", found["bad"]["because"])
        self.assertTrue(found["good"]["compatible"])

    def test_builders_without_a_base(self):
        self.op("one")
        self.write("tree/op_builder/builder.py", "raise RuntimeError('half a tree')")
        said = self.refusal()
        self.assertIn("its ops cannot be read", said)
        self.assertIn("half a tree", said)

    def test_no_deepspeed(self):
        self.write("other/setup.py", "import setuptools\nsetuptools.setup(name='x')\n")
        said = self.refusal(source=self.folder / "other")
        self.assertIn("other is no source of ops: it has no version.txt, no op_builder/all_ops.py",
                      said)
        self.assertIn("name a DeepSpeed checkout", said)
        self.refusal(source=self.folder / "nowhere")

    def test_an_interpreter_that_lacks_something(self):
        self.op("one")
        said = self.refusal(stub=None, status=9)
        self.assertIn("there is no module torch", said)
        self.assertIn("-m pip install torch", said)
        (self.site / "torch").mkdir()
        (self.site / "torch" / "__init__.py").write_text("raise OSError('libcuda is missing')")
        (self.site / "setuptools").unlink(missing_ok=True)
        self.assertIn("there is no module setuptools", self.refusal(status=9))
        (self.site / "setuptools.py").write_text("")
        self.assertIn("import torch: OSError: libcuda is missing", self.refusal(status=9))
        self.assertIn("gave no answer", self.refusal(python="/bin/false", status=9))


class Untouched(SourceCase):
    def test_nothing_is_written_to_the_tree(self):
        self.op("one", "def sources(self):\n    import tempfile\n    tempfile.mkdtemp()\n"
                       "    return super().sources()")
        temporary = self.folder / "tmp"
        temporary.mkdir()
        before = self.tree(self.root)
        self.read(env=clean_environment(TMPDIR=str(temporary)))
        self.assertEqual(self.tree(self.root), before)
        self.assertEqual(list(temporary.iterdir()), [])

    def test_a_checkout_and_an_sdist_inside_of_one(self):
        self.op("one")
        def git(*words):
            return subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words],
                                  cwd=self.folder, stdout=subprocess.PIPE, text=True,
                                  check=True).stdout.strip()
        git("init", "-q", "-b", "trunk", ".")
        self.read()
        self.assertEqual(self.answer["git_hash"], "")
        (self.folder / ".git").rename(self.root / ".git")
        git("-C", "tree", "add", ".")
        git("-C", "tree", "commit", "-q", "-m", "x")
        self.read()
        self.assertEqual((self.answer["git_hash"], self.answer["git_branch"], self.answer["dirty"]),
                         (git("-C", "tree", "rev-parse", "--short", "HEAD"), "trunk", False))
        self.write("tree/version.txt", "10")
        self.read()
        self.assertTrue(self.answer["dirty"])


if __name__ == "__main__":
    unittest.main()
