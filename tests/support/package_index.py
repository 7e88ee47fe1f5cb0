# SPDX-License-Identifier: Apache-2.0
"""A package index of this machine (PEP 503), for pip."""
import functools
import http.server
import pathlib
import re
import shutil
import threading


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *words):
        pass


class PackageIndex:
    """Serves wheels below /simple/ until stop(); `asked` is every path that was asked for."""

    def __init__(self, folder):
        self.root = pathlib.Path(folder) / "simple"
        self.root.mkdir(parents=True)
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.server.asked = []
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def asked(self):
        return self.server.asked

    def url(self, login=""):
        return "http://%s127.0.0.1:%d/simple" % (login and login + "@", self.server.server_port)

    def add(self, wheel):
        name = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
        (self.root / name).mkdir(exist_ok=True)
        shutil.copy(wheel, self.root / name)
        links = "".join('<a href="%s">%s</a><br>\n' % (path.name, path.name)
                        for path in sorted((self.root / name).glob("*.whl")))
        (self.root / name / "index.html").write_text("<!DOCTYPE html><body>%s</body>" % links)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
