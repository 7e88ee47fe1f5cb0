# SPDX-License-Identifier: Apache-2.0
"""The host's side of a rollout, asked without a coordinator: one request, one answer."""
import json
import pathlib
import subprocess
import sys

TEMPLATES = pathlib.Path(__file__).resolve().parents[2] / "templates"
FILES = ("layout.py", "durable.py", "receive.py", "unpack.py", "earlier.py", "release.py",
         "activation.py", "dead_man.py", "lock.py", "host.py")
OUTLIVING = ("durable.py", "activation.py", "dead_man.py", "dead_man_main.py")


def text_of(names):
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


class HostSide:
    """A virtual environment below `folder`, its ROOT, and releases that are sealed and empty."""

    def __init__(self, folder):
        self.prefix = folder / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.prefix)],
                       check=True)
        self.root = folder / ".ds-deploy" / "env"
        self.program = text_of(FILES)

    def seal(self, letter):
        sha256 = letter * 64
        (self.root / "releases" / sha256).mkdir(parents=True)
        (self.root / "releases" / (sha256 + ".json")).write_text("{}")
        return sha256

    def open(self, within=()):
        """The program, which waits for requests."""
        words = [*within, str(self.prefix / "bin/python"), "-I", "-B", "-c",
                 "import sys; exec(sys.stdin.buffer.read(%d))" % len(self.program.encode())]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        child.stdin.write(self.program.encode())
        return child

    @staticmethod
    def say(child, phase, **request):
        """One request of an open program, and its answer."""
        request.update(phase=phase, nonce="NONCE")
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.flush()
        for line in child.stdout:
            if line.startswith(b"NONCE "):
                return json.loads(line.decode().partition(" ")[2])
        raise AssertionError("no answer: " + child.stderr.read().decode())

    @staticmethod
    def close(child):
        child.stdin.close()
        child.wait()
        child.stdout.close()
        child.stderr.close()

    def ask(self, phase, within=(), **request):
        child = self.open(within)
        try:
            return self.say(child, phase, **request)
        finally:
            self.close(child)

    def activate(self, releases, identity, seconds=60, armed=True, **more):
        return self.ask("activate", releases=releases, activation=identity, armed=armed,
                        confirm_timeout=seconds, dead_man=text_of(OUTLIVING),
                        hook=(TEMPLATES / "hook.py").read_text(encoding="utf-8"), **more)

    def pointer(self):
        try:
            return (self.root / "active").read_text().split()
        except FileNotFoundError:
            return None

    def record(self, name):
        try:
            return json.loads((self.root / name).read_text())
        except FileNotFoundError:
            return None
