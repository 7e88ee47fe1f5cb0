# SPDX-License-Identifier: Apache-2.0
"""What an interpreter of a deployed environment imports: the hook beside everything else that
changes sys.path."""
import subprocess

from support.deploy_case import DeployCase, clean_environment

WHERE = "import ds_ops; print(ds_ops.__file__)"

CHILDREN = """
import multiprocessing
import sys


def where(queue):
    import ds_ops
    queue.put(ds_ops.__file__)


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    for method in ("fork", "forkserver", "spawn"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        child = context.Process(target=where, args=(queue,))
        child.start()
        print(method, queue.get(timeout=60), flush=True)
        child.join()
"""


class Hook(DeployCase):
    def setUp(self):
        super().setUp()
        self.hosts = self.write("hostfile", "localhost slots=1 transport=local\n")
        self.env = self.make_environment()
        self.words = ["--hostfile", self.hosts, "--python", self.env]
        self.first = self.deploy(*self.words)["wheels"][0]["sha256"]

    def package_in(self, folder):
        (folder / "ds_ops").mkdir(parents=True)
        (folder / "ds_ops" / "__init__.py").write_text("")
        return folder

    def run_python(self, interpreter, *words, **env):
        return subprocess.run([str(interpreter), *words], stdout=subprocess.PIPE, text=True,
                              env=clean_environment(**env), cwd="/", check=True).stdout

    def test_a_pip_copy_is_shadowed(self):
        site = next((self.folder / "env").rglob("site-packages"))
        self.package_in(site)
        self.assertIn(self.first, self.run_python(self.env, "-c", WHERE))

    def test_pythonpath_wins(self):
        place = self.package_in(self.folder / "mine")
        self.assertIn(str(place), self.run_python(self.env, "-c", WHERE, PYTHONPATH=str(place)))

    def test_a_stacked_environment_wins(self):
        """An environment on top of the deployed one: its own packages first, then the release."""
        top = self.make_environment("top")
        lower = next((self.folder / "env").rglob("site-packages"))
        upper = next((self.folder / "top").rglob("site-packages"))
        (upper / "below.pth").write_text("import site; site.addsitedir(%r)\n" % str(lower))
        self.assertIn(self.first, self.run_python(top, "-c", WHERE))
        self.package_in(upper)
        self.assertIn(str(upper), self.run_python(top, "-c", WHERE))

    def test_children_inherit_the_release_of_their_parent(self):
        script = self.write("children.py", CHILDREN)
        parent = subprocess.Popen([str(self.env), str(script)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True, cwd="/",
                                  env=clean_environment())
        self.assertEqual(parent.stdout.readline(), "ready\n")
        second = self.deploy_change(*self.words)["wheels"][0]["sha256"]
        said = parent.communicate("go\n", timeout=120)[0].splitlines()
        self.assertEqual([line.split()[0] for line in said], ["fork", "forkserver", "spawn"])
        for line in said:
            self.assertIn(self.first, line)
        self.assertIn(second, self.run_python(self.env, "-c", WHERE))
