# SPDX-License-Identifier: Apache-2.0
"""What a relay in the middle costs its host.

    python3 tests/bench/relay_agent.py [--rounds 5] [--bytes 100000000]

Real programs of hosts on this machine, each with an address of its own: the root is sent a stream,
a relay takes it from the root, and its children from the relay, all over TLS. CPU and memory are
those of the relay's agent, as it says itself when it is closed.
"""
import argparse
import concurrent.futures
import pathlib
import shutil
import subprocess
import sys
import tempfile

from ssh import Table, spread  # puts tests/ on the path


class Place:
    """What RelayHost needs of a test."""

    def __init__(self, folder):
        from support.relay_authority import Authority
        self.folder, self.ends = folder, []
        self.authority = Authority(folder / "authority")
        self.origin = folder / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.origin)],
                       check=True)

    def addCleanup(self, end):
        self.ends.append(end)

    def end_all(self):
        while self.ends:
            self.ends.pop()()


def take(place, stream, children, threads):
    """What the relay's agent says once all have the stream."""
    from support.relay_case import Feed, RelayCase, RelayHost
    root, relay, *others = [RelayHost(place, number, degree=children)
                            for number in range(1, 3 + children)]
    answers = [threads.submit(host.say, host.child, "stage", **RelayCase.request(stream, [source]))
               for source, hosts in ((root, [relay]), (relay, others)) for host in hosts]
    said = [Feed(root, stream, RelayCase.request(stream)).answer()]
    said += [answer.result() for answer in answers]
    for one in said:
        if not one["ok"]:
            sys.exit(one["problem"])
    moved = relay.say(relay.child, "relay-close")["relay"]
    size = len(stream.content)
    if moved["in"] != {root.id: size} or moved["out"] != {host.id: size for host in others}:
        sys.exit("the stream went another way: %s" % moved)
    place.end_all()
    for number in range(1, 3 + children):
        shutil.rmtree(place.folder / str(number) / ".ds-deploy", ignore_errors=True)
    return moved


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=100_000_000)
    options = parser.parse_args()
    from support.relay_case import Stream
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ds-deploy-bench."))
    place, threads = Place(folder), concurrent.futures.ThreadPoolExecutor(16)
    table = Table("A relay in the middle, %.0f MB, %d rounds: min / median / max"
                  % (options.bytes / 1e6, options.rounds),
                  ["chunks, children", "CPU s per 100 MB", "most memory, MB"])
    try:
        cases = [(1, 1), (8, 1), (8, 8)]
        runs = {case: [] for case in cases}
        for at in range(options.rounds):
            for chunk, children in cases:
                stream = Stream(options.bytes, at, chunk << 20)
                runs[chunk, children].append(take(place, stream, children, threads))
        for chunk, children in cases:
            told = runs[chunk, children]
            table.add("%d MiB, %d" % (chunk, children),
                      spread([one["cpu_s"] * 1e8 / options.bytes for one in told]),
                      spread([one["peak_kb"] / 1024 for one in told], "%.1f"))
        table.show()
    finally:
        place.end_all()
        threads.shutdown(wait=False)
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
