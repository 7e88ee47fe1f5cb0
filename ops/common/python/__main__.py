# SPDX-License-Identifier: Apache-2.0
"""``python -m ds_ops``: does every op load and work on this host?

Ends with 0 if no op failed; an op that this host cannot run is no failure. 2: a name is unknown.
"""
from __future__ import annotations

import argparse
import importlib
import json
import sys
import time

import ds_ops


def examine(name: str) -> dict:
    """One op: ``state`` is passed, cannot-run or failed."""
    start = time.perf_counter()
    result = {"name": name, "loads": False, "state": "failed", "message": ""}
    # Whatever an op does wrong is a line of the table, not the end of the run.
    try:
        importlib.import_module(f"ds_ops.{name}")
        result["loads"] = True
        ds_ops.self_test(name)
        result["state"] = "passed"
    except ds_ops.CannotRun as error:
        result.update(state="cannot-run", message=error.reason)
    except Exception as error:  # pylint: disable=broad-except
        result["message"] = f"{type(error).__name__}: {error}"
    result["seconds"] = round(time.perf_counter() - start, 4)
    return result


def table(results: list[dict]) -> str:
    """The results as text: op, loads, self-test."""
    said = {"passed": "passed", "cannot-run": "cannot run here", "failed": "FAILED"}
    rows = [("op", "loads", "self-test")]
    for result in results:
        note = f": {result['message']}" if result["message"] else ""
        rows.append((result["name"], "yes" if result["loads"] else "no",
                     said[result["state"]] + note))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{op:{width}}  {loads:5}  {test}" for op, loads, test in rows)


def main() -> int:
    """Runs the command line; the result is the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ds_ops", description=__doc__.split("\n")[0])
    parser.add_argument("ops", nargs="*", metavar="OP", help="only these (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    for name in arguments.ops:
        if name not in ds_ops.ops():
            parser.error(f"there is no op {name!r}; there are: {', '.join(ds_ops.ops())}")
    results = [examine(name) for name in arguments.ops or ds_ops.ops()]
    if arguments.json:
        print(json.dumps({"schema": "ds_ops.self-test/1", "version": ds_ops.__version__,
                          "ops": results}))
    else:
        print(table(results))
    return 1 if any(result["state"] == "failed" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
