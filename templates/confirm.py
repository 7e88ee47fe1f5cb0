# SPDX-License-Identifier: Apache-2.0
"""Run by a fresh interpreter, started as a job would start it: is the release what a job gets?

Reads one JSON request line: {"nonce", "dists": [{"name", "release"}], "imports": [module],
"self_tests": {op: "module:function"}}. Prints one line: nonce, blank, JSON answer.
"""
import importlib
import json
import os
import sys


def check_distribution(dist):
    import importlib.metadata

    found = importlib.metadata.distribution(dist["name"])
    place = os.path.realpath(str(found.locate_file("")))
    if os.path.basename(place) != dist["release"]:
        raise AssertionError("%s comes from %s, not from release %s: something on sys.path (PYTHONPATH, "
                             "another virtual environment) hides it"
                             % (dist["name"], place, dist["release"][:12]))


def run_self_test(where):
    module, _, function = where.partition(":")
    try:
        getattr(importlib.import_module(module), function)()
    except Exception as error:  # noqa: BLE001 - any failure of a self-test is an answer
        if type(error).__name__ == "CannotRun":
            return "cannot run here: %s" % error
        return "failed: %s: %s" % (type(error).__name__, error)
    return "passed"


def main():
    request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    answer = {"ok": True, "problem": "", "self_tests": {}}
    try:
        for dist in request["dists"]:
            check_distribution(dist)
        for module in request["imports"]:
            importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001 - SystemExit from an import is a failure too
        answer["ok"] = False
        answer["problem"] = "%s: %s" % (type(error).__name__, error)
    else:
        for op in sorted(request["self_tests"]):
            answer["self_tests"][op] = run_self_test(request["self_tests"][op])
            if answer["self_tests"][op].startswith("failed"):
                answer["ok"] = False
                answer["problem"] = "self-test of %s %s" % (op, answer["self_tests"][op])
                break
    sys.stdout.write("\n%s %s\n" % (request["nonce"], json.dumps(answer)))
    sys.stdout.flush()


main()
