# SPDX-License-Identifier: Apache-2.0
"""The host's side of a rollout, asked without a coordinator: one request, one answer."""
import hashlib
import json
import pathlib
import subprocess
import sys
import time
import zipfile

TEMPLATES = pathlib.Path(__file__).resolve().parents[2] / "templates"
FILES = ("layout.py", "durable.py", "trust.py", "receive.py", "relay.py", "unpack.py",
         "earlier.py", "release.py", "activation.py", "holder.py", "history.py", "dead_man.py",
         "pins.py", "lock.py", "see.py", "launchers.py", "keep.py", "remove.py", "call_pip.py",
         "by_pip.py", "host.py")
OUTLIVING = ("layout.py", "durable.py", "activation.py", "holder.py", "history.py", "dead_man.py",
             "dead_man_main.py")
AGENT = ("relay_wire.py", "relay_store.py", "relay_pace.py", "relay_serve.py", "relay_fetch.py",
         "relay_address.py", "relay_agent.py")


def sha256_of(content):
    return hashlib.sha256(content).hexdigest()


def text_of(names):
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def until(condition, seconds):
    """Whether it came true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_gone(pid):
    """Also of one that nobody has waited for."""
    try:
        return pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class HostSide:
    """A virtual environment below `folder`, its ROOT, and releases that are sealed and empty."""

    def __init__(self, folder, python=sys.executable):
        self.prefix = folder / "env"
        if not self.prefix.exists():
            subprocess.run([python, "-m", "venv", "--without-pip", str(self.prefix)],
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
    def say(child, phase, tail=b"", **request):
        """One request of an open program, the bytes that follow it, and its answer."""
        request.update(phase=phase, nonce="NONCE")
        child.stdin.write(json.dumps(request).encode() + b"\n" + tail)
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

    @staticmethod
    def staging(wheel):
        """What the phase stage is asked, and all of the wheel as a stream that is not packed."""
        with zipfile.ZipFile(wheel) as archive:
            entries = [(entry, archive.read(entry)) for entry in archive.infolist()]
        files = [{"path": entry.filename, "size": len(content), "sha256": sha256_of(content),
                  "mode": 0o755 if entry.external_attr >> 16 & 0o111 else 0o644}
                 for entry, content in entries]
        stream = b"".join(content for _, content in entries)
        sha256 = sha256_of(wheel.read_bytes())
        return {"run": "run-0", "again": False,
                "manifest": {"files": files, "wheel": {"sha256": sha256, "file": wheel.name}},
                "stream": {"files": [0, len(files)], "packing": "none", "bytes": len(stream),
                           "sha256": sha256_of(stream)},
                "kept": {"bytes": 0, "sha256": sha256_of(b"")}}, stream

    def stage(self, wheel, within=(), **more):
        """Its SHA-256."""
        request, stream = self.staging(wheel)
        child = self.open(within)
        try:
            answer = self.say(child, "stage", stream, **request, **more)
        finally:
            self.close(child)
        assert answer["ok"], answer
        return request["manifest"]["wheel"]["sha256"]

    @staticmethod
    def activation(releases, identity, seconds=60, armed=True, **more):
        """What the phase activate is asked."""
        return dict(more, releases=releases, activation=identity, armed=armed,
                    confirm_timeout=seconds, dead_man=text_of(OUTLIVING),
                    hook=text_of(["hook.py"]), launcher=text_of(["launcher.py"]),
                    check=text_of(["check.py"]))

    def activate(self, releases, identity, seconds=60, armed=True, **more):
        return self.ask("activate", **self.activation(releases, identity, seconds, armed, **more))

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
