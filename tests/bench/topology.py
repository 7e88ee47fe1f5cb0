# SPDX-License-Identifier: Apache-2.0
"""Who would get a stream from whom: the plan's own prediction, beside the bound and the star.

    python3 tests/bench/topology.py --build build [--megabytes 300]

Nothing is sent. All links of a row are equally fast; hosts are in racks of 32.
"""
import argparse
import json
import pathlib
import statistics
import subprocess

from ssh import Table

GIGABIT = 125e6


def plan(options, hosts, rate, uplink):
    """The plan, and the milliseconds that it took, each in a process of its own."""
    program = pathlib.Path(options.build).resolve() / "tests" / "topology-bench"
    words = [str(program), str(options.megabytes * 1_000_000), str(hosts), "32", str(rate),
             str(uplink)]
    runs = [json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
            for _ in range(options.rounds)]
    return runs[0], statistics.median(run["planning_ms"] for run in runs)


def shape_of(said):
    if said["shape"] == "star":
        return "star"
    kind = "chain" if said["most_children"] == 1 else "tree"
    text = "%d %s%s" % (said["trees"], kind, "" if said["trees"] == 1 else "s")
    if kind == "tree":
        text += " of up to %d children" % said["most_children"]
    return "%s, %d hops" % (text, said["most_hops"])


def row(table, options, hosts, rate, uplink, link):
    said, milliseconds = plan(options, hosts, rate, uplink)
    table.add(link, hosts, shape_of(said), "%.2f" % said["seconds"], "%.2f" % said["bound_seconds"],
              "%.2f" % (said["seconds"] / said["bound_seconds"]), "%.1f" % said["star_seconds"],
              "%.1f" % milliseconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build folder with tests (build)")
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    table = Table("%d MB, predicted" % options.megabytes,
                  ["links", "hosts", "plan", "s", "bound s", "ratio to it", "star s",
                   "planning, ms"])
    for gigabits in (1, 10, 100):
        for hosts in (64, 512, 4096):
            rate = gigabits * GIGABIT
            row(table, options, hosts, rate, rate, "%d Gbit/s" % gigabits)
    for hosts in (64, 512, 4096):
        row(table, options, hosts, 2 * GIGABIT, 2 * GIGABIT, "100 Gbit/s, 0.25 GB/s a process")
    table.show()


if __name__ == "__main__":
    main()
