# SPDX-License-Identifier: Apache-2.0
"""The host's side of staging where one write after another finds the disk full: it names the file,
leaves nothing, and stages once there is room. See tests/faults/README.md."""
import hashlib
import json
import os
import pathlib
import re
import sys
import tempfile
import unittest

from support.fault_case import cannot_mount, leave, mount, shell
from support.host_side import OUTLIVING, HostSide, text_of

FILES = {"demo/__init__.py": b"VALUES = %r\n" % list(range(2000)), "demo/data": os.urandom(9000),
         "demo-1.0.dist-info/METADATA": b"Name: demo\n"}
TAG = sys.implementation.cache_tag
FULL = "No space left on device: "


def request():
    """What stages FILES, and the bytes that follow it."""
    files = [{"path": path, "size": len(content), "mode": 0o644,
              "sha256": hashlib.sha256(content).hexdigest()} for path, content in FILES.items()]
    stream = b"".join(FILES.values())
    wheel = {"file": "demo-1.0-py3-none-any.whl", "sha256": "d" * 64, "bytes": len(stream)}
    return {"run": "run-1", "again": False, "manifest": {"wheel": wheel, "files": files},
            "kept": {"bytes": 0, "sha256": hashlib.sha256().hexdigest()},
            "stream": {"bytes": len(stream), "sha256": hashlib.sha256(stream).hexdigest(),
                       "packing": "none", "files": [0, len(files)]}}, stream


@unittest.skipIf(cannot_mount(), "%s" % cannot_mount())
class FullWhileStaged(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="ds-deploy-test.")
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.host = HostSide(self.folder)
        self.disk = self.host.root.parent
        self.disk.mkdir(parents=True)
        mount(self, self.disk)
        self.releases = self.host.root / "releases"
        self.releases.mkdir(parents=True)
        (self.disk / "other").write_text("no tmpfs has a size of 0")

    def stage(self):
        words, stream = request()
        child = self.host.open()
        try:
            child.stdin.write(json.dumps(dict(words, phase="stage", nonce="NONCE")).encode()
                              + b"\n" + stream)
            child.stdin.close()
            said = child.stdout.read().decode()
            self.assertEqual(child.stderr.read(), b"")
        finally:
            child.wait()
            child.stdout.close()
            child.stderr.close()
        return json.loads(said.partition("NONCE ")[2])

    def walk(self, **step):
        """Leaves room for one more of them each time; the files for which there was none."""
        failed = []
        for room in range(0, 60):
            shell(leave(self.disk, **{what: room for what in step}))
            answer = self.stage()
            if answer["ok"]:
                break
            self.assertIn(FULL, answer["problem"])
            failed.append(pathlib.Path(answer["problem"].partition(FULL)[2]))
            self.assertEqual([path.name for path in self.releases.iterdir()], [])
            self.assertFalse(failed[-1].exists(), failed[-1])
        self.assertTrue(answer["ok"], failed)
        self.assertEqual(self.host.ask("verify", manifests=[request()[0]["manifest"]]),
                         {"ok": True})
        compiled = self.releases / ("d" * 64) / "demo" / "__pycache__"
        self.assertEqual(len(list(compiled.iterdir())), 3)
        return [re.sub(r"^d{64}|\.[0-9]+(\.new)?$", "", path.name) for path in failed]

    def test_pages(self):
        names = list(dict.fromkeys(self.walk(pages=1)))
        # One page more or less is between two of these: __init__.py stands for its compiled forms.
        self.assertEqual(names, [".part", "__init__.py", "data", "METADATA", ".json"])

    def test_inodes(self):
        self.assertEqual(self.walk(inodes=1), [
            ".part", ".stage-" + "d" * 64, "demo", "demo-1.0.dist-info", "__init__.py", "data",
            "METADATA", "__pycache__", "__init__.%s.pyc" % TAG, "__init__.%s.opt-1.pyc" % TAG,
            "__init__.%s.opt-2.pyc" % TAG, ".json"])

    def test_a_process_that_cannot_say_that_it_is_there(self):
        shell(leave(self.disk, pages=0))
        answer = self.host.ask("show-outliving", run="r", dead_man=text_of(OUTLIVING))
        self.assertFalse(answer["ok"])
        self.assertEqual(answer["problem"], FULL + str(self.host.root / "outlives.json"))

    def test_the_word_to_go_back_where_nothing_was_begun(self):
        """It is noted, so that what comes late does not begin; without room nothing changes."""
        old = self.host.seal("a")
        self.host.activate([old], "run-0")
        self.host.ask("keep", activation="run-0")
        for end in (leave(self.disk, pages=0), "mount --bind -o ro %s %s" % (
                self.host.root, self.host.root)):
            shell(end)
            answer = self.host.ask("rollback", activation="run-1", because="test")
            self.assertEqual((answer["ok"], answer["releases"]), (True, [old]))
        shell("umount -l %s" % self.host.root)


if __name__ == "__main__":
    unittest.main()
