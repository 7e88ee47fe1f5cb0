# SPDX-License-Identifier: Apache-2.0
"""Run by a fresh interpreter, started as a job would start it: is the release what a job gets?

Reads one JSON request line: {"nonce", "dists": [{"name", "release"}], "imports": [module],
"self_tests": {op: "module:function"}}, and "deepspeed" where confirm_deepspeed.py stands before
this text. What pip installed has "dist_info" in place of a release. With "nothing_below" nothing
on sys.path is of that folder, with "spare_gpus" no GPU is used.
Prints one line: nonce, blank, JSON answer; its "figures" have, of each self-test that passed, the
seconds of the call and what it told of GB/s.
"""
import importlib
import json
import numbers
import os
import re
import sys
import sysconfig
import time


# What the CUDA runtime says where somebody else has the GPU (cudaErrorMemoryAllocation,
# cudaErrorDevicesUnavailable): the op is not to blame.
TAKEN = re.compile(r"out of memory|devices? (is|are) busy or unavailable", re.I)


def is_of_pip(folder):
    """Whether the environment's pip installs there."""
    paths = sysconfig.get_paths()
    return os.path.realpath(folder) in (os.path.realpath(paths[key])
                                        for key in ("purelib", "platlib"))


def check_distribution(dist):
    import importlib.metadata

    found = importlib.metadata.distribution(dist["name"])
    place = os.path.realpath(str(found.locate_file("")))
    if "release" in dist:
        right = os.path.basename(place) == dist["release"]
        wanted = "release " + dist["release"][:12]
    else:
        right = is_of_pip(place) and os.path.isdir(os.path.join(place, dist["dist_info"]))
        wanted = "what pip installed"
    if not right:
        raise AssertionError("%s comes from %s, not from %s: something on sys.path (PYTHONPATH, "
                             "another virtual environment) hides it"
                             % (dist["name"], place, wanted))


def refuse_releases(folder):
    for entry in sys.path:
        if entry.startswith(folder):
            raise AssertionError("release %s is on sys.path still" % os.path.basename(entry)[:12])


def gpu_memory_free():
    """MiB that nobody has of the first GPU that a process sees, as nvidia-smi says; None: not known."""
    import subprocess
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip() or "0"
    try:
        said = subprocess.run(["nvidia-smi", "-i", first, "--query-gpu=memory.free",
                               "--format=csv,noheader,nounits"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30,
                              check=False).stdout
        return int(said.split()[0])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def lacks_memory(needed):
    """Why a test that takes so many MiB is not begun, or None."""
    free = gpu_memory_free() if needed and os.environ.get("CUDA_VISIBLE_DEVICES") != "" else None
    if free is None or free >= needed:
        return None
    return "not run: it takes %d MiB of GPU memory, and %d MiB is free" % (needed, free)


def figure_of(seconds, result):
    """A self-test tells how fast it was by returning {"gb_per_s": number}."""
    figure = {"seconds": seconds}
    speed = result.get("gb_per_s") if isinstance(result, dict) else None
    if isinstance(speed, numbers.Real) and 0 < speed < 1e9:
        figure["gb_per_s"] = float(speed)
    return figure


def run_self_test(op, where, figures):
    module, _, function = where.partition(":")
    try:
        call = getattr(importlib.import_module(module), function)
        begin = time.monotonic()
        result = call()
        figures[op] = figure_of(time.monotonic() - begin, result)
    except Exception as error:  # noqa: BLE001 - any failure of a self-test is an answer
        if type(error).__name__ == "CannotRun":
            return "cannot run here: %s" % error
        if TAKEN.search(str(error)):
            return "not run: somebody has the GPU: %s" % error
        return "failed: %s: %s" % (type(error).__name__, error)
    return "passed"


def confirm(request, deepspeed, answer):
    if request.get("spare_gpus"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if deepspeed:
        deepspeed.hide_compilers()
    for dist in request["dists"]:
        check_distribution(dist)
    for release in request.get("releases", ()):
        if not any(os.path.basename(entry) == release for entry in sys.path):
            raise AssertionError("release %s is not on sys.path" % release[:12])
    if request.get("nothing_below"):
        refuse_releases(os.path.join(os.path.realpath(request["nothing_below"]), "releases", ""))
    for module in request["imports"]:
        importlib.import_module(module)
    if deepspeed:
        deepspeed.start()
        answer["self_tests"].update(deepspeed.outcomes())
        answer["figures"].update(deepspeed.figures)
    for op in sorted(request["self_tests"]):
        answer["self_tests"][op] = lacks_memory(request.get("gpu_memory", {}).get(op, 0)) or \
            run_self_test(op, request["self_tests"][op], answer["figures"])
        if answer["self_tests"][op].startswith("failed"):
            break
    answer["gpus_taken"] = any(said.startswith("not run") for said in answer["self_tests"].values())
    failed = [op for op in sorted(answer["self_tests"])
              if answer["self_tests"][op].startswith("failed")]
    if failed:
        text = answer["self_tests"][failed[0]]
        same = [op for op in failed if answer["self_tests"][op] == text]
        names = ", ".join(same[:3]) + (" and %d more" % (len(same) - 3) if len(same) > 3 else "")
        answer["ok"] = False
        answer["problem"] = "self-test of %s %s" % (names, text)


def main():
    request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whoever prints, the answer has its stream to itself
    answer = {"ok": True, "problem": "", "self_tests": {}, "figures": {}}
    deepspeed = DeepSpeedOps(request["deepspeed"]) if "deepspeed" in request else None
    try:
        confirm(request, deepspeed, answer)
    except BaseException as error:  # noqa: BLE001 - SystemExit from an import is a failure too
        answer["ok"] = False
        name = "" if getattr(error, "plain", False) else type(error).__name__ + ": "
        answer["problem"] = name + str(error)
    finally:
        if deepspeed:
            deepspeed.close()
    out.write("\n%s %s\n" % (request["nonce"], json.dumps(answer)))
    out.flush()
    if deepspeed:
        sys.stdout.flush()
        os._exit(0)  # what DeepSpeed does at its end would miss its folder, and leave others


main()
