# SPDX-License-Identifier: Apache-2.0
"""What it costs to know beforehand.

    python3 tests/bench/audit.py --build build-bench [--library FILE.so] [--cuobjdump FILE]
        [--python PY] [--hosts 200] [--rounds 5]

Five tables. Inspection: the needs of one large library read by `ds-deploy inspect`, beside
`cuobjdump --list-elf --list-ptx` on it, in turns, and by itself without the hash that inspect prints
too. The library should be PyTorch's largest. Audit: 4,000 replayed hosts against a wheel with 25
libraries, all good, and with every fourth host's GPUs too old: time, and the most memory. Plan: a dry run of a deployment to 4,000 replayed hosts under
deploy/canary.yaml, with its report as text, JSON and HTML. Page: that HTML in a browser. Live: what
an audit of sshd hosts of this machine costs the coordinator for each of them, and what the probe of
this machine's own PY costs a host, its CPU and that of all that it runs.
"""
import argparse
import hashlib
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import fleet as fleet_module  # noqa: E402
from support import chromium, recorded_wheel, report_fleet  # noqa: E402

HOSTS, LIBRARIES = 4000, 25
ROOT = pathlib.Path(__file__).resolve().parents[2]


def timed(words):
    """Seconds, and the most memory in MB, of a command whose output nobody reads."""
    before = time.monotonic()
    child = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return (time.monotonic() - before, usage.ru_maxrss / 1024, child.returncode,
            usage.ru_utime + usage.ru_stime)


def spread(values, unit):
    return "%.3f %s (%.3f to %.3f)" % (statistics.median(values), unit, min(values), max(values))


def inspection(program, library, cuobjdump, rounds):
    size = library.stat().st_size
    ours, theirs, hashing = [], [], []
    timed([program, "inspect", library])  # from the page cache, for all of them
    for _ in range(rounds):
        ours.append(timed([program, "inspect", "--json", library])[0])
        before = time.monotonic()
        with open(library, "rb") as content:
            digest = hashlib.sha256()
            for block in iter(lambda: content.read(1 << 20), b""):
                digest.update(block)
        hashing.append(time.monotonic() - before)
        if cuobjdump:
            theirs.append(sum(timed([cuobjdump, option, library])[0]
                              for option in ("--list-elf", "--list-ptx")))
    print("\n### Inspection of %s, %.0f MB\n" % (library.name, size / 1e6))
    print("| what | seconds, median (min to max) | |\n|---|---|---|")
    print("| ds-deploy inspect | %s | %.2f GB/s |" % (
        spread(ours, "s"), size / 1e9 / statistics.median(ours)))
    print("| SHA-256 of the file alone | %s | |" % spread(hashing, "s"))
    if theirs:
        ratios = [other / own for other, own in zip(theirs, ours)]
        print("| cuobjdump --list-elf, --list-ptx | %s | %s times as long |" % (
            spread(theirs, "s"), spread(ratios, "").replace("  (", " (")))


def audits(program, folder, rounds):
    files = {"ds_ops/op%d/libop%d.so" % (number, number): recorded_wheel.cuda_library()
             for number in range(LIBRARIES)}
    wheel = recorded_wheel.pack(folder, files)
    print("\n### Audit of %d hosts, a wheel with %d libraries\n" % (HOSTS, LIBRARIES))
    print("| fleet | seconds, median (min to max) | most memory | exit |\n|---|---|---|---|")
    for name, old in (("all good", 0), ("GPUs of every fourth host too old", 4)):
        facts = report_fleet.save(folder / "facts.json", fleet(old))
        runs = [timed([program, "audit", wheel, "--facts", facts]) for _ in range(rounds)]
        print("| %s | %s | %.0f MB | %d |" % (
            name, spread([run[0] for run in runs], "s"), max(run[1] for run in runs), runs[0][2]))


def plans(program, folder, rounds):
    wheel = recorded_wheel.pack(folder, {"ds_ops/scale/libscale.so": recorded_wheel.cuda_library()})
    # Two classes, and every tenth host is too old.
    hosts = [report_fleet.host("rack%d-node%02d" % (at // 16 + 1, at % 16 + 1), **(
        {"gpus": [report_fleet.V100]} if at % 10 == 0 else {"glibc": "2.39"} if at % 3 == 0 else {}))
        for at in range(HOSTS)]
    facts = report_fleet.save(folder / "facts.json", hosts)
    policy = folder / "canary.yaml"
    policy.write_text((ROOT / "deploy" / "canary.yaml").read_text() + "incompatible: leave-out\n")
    words = [program, "deploy", "--dry-run", "--wheel", wheel, "--facts", facts, "--policy", policy,
             "--state-dir", folder / "state"]
    print("\n### Dry run of a deployment to %d hosts under a canary\n" % HOSTS)
    print("| report | seconds, median (min to max) | most memory | exit |\n|---|---|---|---|")
    for name, more in (("text", []), ("JSON", ["--json"]),
                       ("text and HTML", ["--html", folder / "report.html"])):
        runs = [timed([*words, *more]) for _ in range(rounds)]
        print("| %s | %s | %.0f MB | %d |" % (
            name, spread([run[0] for run in runs], "s"), max(run[1] for run in runs), runs[0][2]))


def page(program, folder, rounds):
    """Seconds until a frame with the change was shown."""
    if not chromium.PROGRAM:
        print("\nno page: chromium is not installed")
        return
    facts, html = folder / "facts.json", folder / "report.html"
    report_fleet.thousands(facts)
    timed([program, "audit", report_fleet.wheel(folder), "--facts", facts, "--html", html])
    shown = ("new Promise(done => requestAnimationFrame(() => requestAnimationFrame("
             "() => done(1))))")
    acts = {"open": lambda tab: tab.open(html.as_uri()),
            "sort": lambda tab: tab.evaluate(
                "document.querySelector('#hosts thead button').click()"),
            "filter": lambda tab: (tab.press("/"), tab.type("rack25")),
            "to the last host": lambda tab: (tab.press("Escape"), tab.press("ArrowDown"),
                                             tab.press("End"))}
    taken = {name: [] for name in acts}
    with chromium.Browser(folder / "profile") as browser:
        for _ in range(rounds):
            tab = browser.page()
            for name, act in acts.items():
                start = time.monotonic()
                act(tab)
                tab.evaluate(shown)
                taken[name].append(time.monotonic() - start)
    print("\n### The page of an audit of %d hosts\n" % HOSTS)
    print("| what | seconds, median (min to max) |\n|---|---|")
    for name, values in taken.items():
        print("| %s | %s |" % (name, spread(values, "s")))


def live(program, folder, number, python, rounds):
    reason = fleet_module.missing()
    if reason:
        print("\nno live audit: %s" % reason)
        return
    wheel = recorded_wheel.pack(folder, {"ds_ops/scale/libscale.so": recorded_wheel.cuda_library()})
    with fleet_module.Fleet(folder / "fleet", number, wildcard=True, noise=False,
                            separate=False) as hosts:
        cluster = folder / "cluster"
        cluster.write_text("".join("%s slots=8 port=%d\n" % (name, host["port"])
                                   for name, host in hosts.hosts.items()))
        words = [program, "audit", wheel, "--hostfile", cluster, "-q", "-F", "none",
                 "-o", "IdentityFile=%s" % hosts.user_key, "-o", "IdentitiesOnly=yes",
                 "-o", "UserKnownHostsFile=%s" % hosts.known_hosts, "--python", python]
        runs = [timed(words) for _ in range(rounds)]
    probes = [timed([program, "facts", "-l", "--python", python])[3] for _ in range(rounds)]
    print("\n### Live audit of %d hosts, -F none\n" % number)
    print("| what | median (min to max) | |\n|---|---|---|")
    print("| coordinator, CPU for each host | %s | exit %d |" % (
        spread([run[3] * 1000 / number for run in runs], "ms"), runs[0][2]))
    print("| a host, CPU for its probe | %s | |" % spread(probes, "s"))


def fleet(old):
    """Every host of the number `old` has a GPU that the wheel has no code for; 0: none has."""
    return [report_fleet.host("node%04d" % at, **(
        {"gpus": [report_fleet.V100]} if old and at % old == 0 else {})) for at in range(HOSTS)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--library", type=pathlib.Path)
    parser.add_argument("--cuobjdump")
    parser.add_argument("--python", default="/usr/bin/python3", help="on all hosts")
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    program = pathlib.Path(given.build).resolve() / "ds-deploy"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="ds-deploy-bench.") as folder:
        audits(program, pathlib.Path(folder), given.rounds)
        plans(program, pathlib.Path(folder), given.rounds)
        page(program, pathlib.Path(folder), given.rounds)
        os.environ["DS_DEPLOY_TEST_BUILD"] = str(program.parent)
        live(program, pathlib.Path(folder), given.hosts, given.python, given.rounds)
    if given.library:
        inspection(program, given.library, given.cuobjdump, given.rounds)


if __name__ == "__main__":
    main()
