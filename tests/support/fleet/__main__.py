# SPDX-License-Identifier: Apache-2.0
"""A fleet to play with, in tests/: python3 -m support.fleet FOLDER NUMBER [--wildcard]

Then a line is a call: "fault n1 reset:3000", "clear n1", "freeze n1", "connections n1". Ends, and
removes FOLDER, at the end of its input.
"""
import argparse
import shutil
import sys

from support import fleet


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("number", type=int)
    parser.add_argument("--wildcard", action="store_true")
    options = parser.parse_args()
    reason = fleet.missing()
    if reason:
        sys.exit(reason)
    calls = ("fault", "clear", "connections", "open", "kill", "freeze", "thaw", "reboot", "pids",
             "processes", "log")
    try:
        with fleet.Fleet(options.folder, options.number, wildcard=options.wildcard) as hosts:
            print("ssh -F %s NAME" % hosts.config)
            print("hostfile: %s" % hosts.hostfile(hosts.folder / "hostfile"), flush=True)
            for line in sys.stdin:
                words = line.split()
                try:
                    if words and words[0] in calls:
                        print(getattr(hosts, words[0])(*words[1:]), flush=True)
                    elif words:
                        print("one of: %s" % ", ".join(calls), flush=True)
                except (KeyError, RuntimeError, TypeError) as error:
                    print(error, flush=True)
    except KeyboardInterrupt:
        pass
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
