# SPDX-License-Identifier: Apache-2.0
"""Runs what tests/run built: unit tests, rules, golden cases, whole deployments, the ops' own tests.
First it looks for a real torch and real trees, see support/prepare_torch.py, and for wheels of
others, see support/third_party.py.

The last line is "N passed, N failed, N skipped"; every skip stands above it with its reason.
"""
import argparse
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent
# Those that drive the transport against the fleet.
SSH_SUITES = ("test_faults", "test_interrupt", "test_hostile_output", "test_jump", "test_host_keys",
              "test_trust", "test_sshd_matrix", "test_ssh_refusals")


# Tests of rollouts mostly wait, for hosts and for time to pass: they run beside all others. Those of
# connections have short limits and do not run beside compilers.
ROLLOUT_UNITS = "rollout*,dead-man*,policy*,conversation*"
ROLLOUT_SUITES = ("test_canary", "test_commands", "test_coordinator_killed", "test_crash",
                  "test_dead_man", "test_demo", "test_diff", "test_faults_copy",
                  "test_faults_disk", "test_faults_host", "test_faults_net", "test_faults_stage",
                  "test_host_history", "test_keep", "test_launchers", "test_left_out",
                  "test_lock", "test_login_environment", "test_moved_bytes", "test_night",
                  "test_owner_group", "test_ownership", "test_pin", "test_pip_mode",
                  "test_readers", "test_remove", "test_remove_host", "test_screen", "test_shared",
                  "test_slow_hosts", "test_slurm")


class Totals:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skips = []

    def add_unit_tests(self, binary, choice):
        if not binary.exists():
            print("%s was not built" % binary)
            self.failed += 1
            return
        done = subprocess.run([str(binary), choice], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        self.add_doctest(done.stdout, done.returncode)

    def add_part(self, said, status):
        """What another process of this program printed."""
        ends = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", said, re.M)
        print(re.sub(r"^(skipped: .*|\d+ passed, .* skipped)\n", "", said, flags=re.M), end="")
        if not ends or (status != 0) != (int(ends[-1][1]) > 0):
            print("the tests of rollouts ended with status %d" % status)
            self.failed += 1
            return
        self.passed += int(ends[-1][0])
        self.failed += int(ends[-1][1])
        self.skips += re.findall(r"^skipped: (.*)$", said, re.M)

    def add_suites(self, pattern, wanted):
        """Python tests of the files whose names `wanted` takes."""
        loader = unittest.TestLoader()
        if pattern is not None:
            loader.testNamePatterns = ["*%s*" % pattern]
        for folder in ("rules", "golden", "e2e"):
            for path in sorted((TESTS / folder).glob("test_*.py")):
                if wanted(path.stem):
                    self.add_suite(loader.discover(str(path.parent), pattern=path.name,
                                                   top_level_dir=str(path.parent)), 2)

    def add_doctest(self, said, status):
        """doctest prints one summary line; tests that lack a tool print SKIPPED: name: reason.

        A binary that cannot be run is one failure, as one that crashes.
        """
        skips = re.findall(r"^SKIPPED: (.*)$", said, re.M)
        summary = re.search(r"test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed", said)
        if summary is None or (status != 0) != (int(summary.group(3)) > 0):
            print(said)
            print("unit-tests ended with status %d" % status)
            self.failed += 1
            return
        if status != 0:
            print(said)
        self.skips += skips
        self.passed += int(summary.group(2)) - len(skips)
        self.failed += int(summary.group(3))

    def add_ops(self, build, pattern):
        """The ops' own tests: C++, and Python in the package that ds-deploy builds of them."""
        for binary in sorted((build / "tests").glob("op-tests-*")) if pattern is None else ():
            self.add_unit_tests(binary, "--no-intro")
        try:
            python, package = ops_environment(build)
        except subprocess.CalledProcessError as error:
            print("the ops could not be built for their tests:\n%s\n%s" % (error, error.stdout))
            self.failed += 1
            return
        for folder in [*sorted(ROOT.glob("ops/*/tests")), TESTS / "gpu"]:
            if (folder.parent / "op.yaml").exists() and not (
                    package / "ds_ops" / folder.parent.name).exists():
                self.skips.append("%s: its tests: the op was not built here" % folder.parent.name)
                continue
            words = [str(python), "-B", "-m", "unittest", "discover", "-v", "-s", str(folder)]
            done = subprocess.run([*words, *(["-k", pattern] if pattern else [])], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                                  env={**os.environ, "PYTHONPATH": str(package)})
            print(done.stdout, end="")
            ran = re.search(r"^Ran (\d+) tests? in ", done.stdout, re.M)
            bad = sum(int(number) for number in
                      re.findall(r"\b(?:failures|errors|unexpected successes)=(\d+)", done.stdout))
            if ran is None or (done.returncode in (0, 5)) != (bad == 0):
                print("the tests in %s ended with status %d" % (folder, done.returncode))
                bad = max(bad, 1)
            skips = re.findall(r"^(\w+) .*\.\.\. skipped ['\"](.*)['\"]$", done.stdout, re.M)
            self.skips += ["%s: %s: %s" % (folder.parent.name, *skip) for skip in skips]
            self.failed += bad
            self.passed += max(int(ran.group(1)) if ran else 0, bad) - bad - len(skips)

    def add_long(self):
        """Unit tests under all of UBSan, of which the dev preset leaves out what takes the compiler
        longest, and with SSH suites under ThreadSanitizer; leaks under valgrind. All that one
        command tests counts as one; its own long form took its time in the first build."""
        ubsan, tsan, plain = ROOT / "build-ubsan", ROOT / "build-tsan", ROOT / "build-plain"
        if self.add_build("ubsan", ubsan):
            self.add_command("unit tests, ubsan", ubsan / "tests" / "unit-tests", build=ubsan)
        if self.add_build("tsan", tsan):
            self.add_command("unit tests, tsan", tsan / "tests" / "unit-tests", build=tsan)
            for name in SSH_SUITES:
                self.add_command(name + ", tsan", sys.executable, "-m", "unittest",
                                 "e2e/%s.py" % name, build=tsan)
        if self.add_build("plain", plain, "--target", "transport-run", "fleetd", "hostshell"):
            self.add_command("leaks, valgrind", sys.executable, "-m", "unittest",
                             "long/test_leaks.py", build=plain)

    def add_build(self, preset, folder, *target):
        """False, and a failure, if it cannot be built."""
        return (self.add_command("%s preset, configured" % preset, "cmake", "--preset", preset,
                                 "-S", ROOT, build=folder)
                and self.add_command("%s preset, built" % preset, "cmake", "--build", folder,
                                     *target, build=folder))

    def add_command(self, what, *words, build):
        try:
            run_checked(*words, cwd=TESTS, DS_DEPLOY_LONG="", DS_DEPLOY=str(build / "ds-deploy"),
                        DS_DEPLOY_TEST_BUILD=str(build), PYTHONPATH=str(TESTS))
        except subprocess.CalledProcessError as error:
            print("%s: failed: %s\n%s" % (what, error, error.stdout))
            self.failed += 1
            return False
        print("%s: passed" % what)
        self.passed += 1
        return True

    def add_suite(self, suite, verbosity):
        result = unittest.TextTestRunner(stream=sys.stdout, verbosity=verbosity).run(suite)
        bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
        self.failed += bad
        self.passed += result.testsRun - bad - len(result.skipped)
        self.skips += ["%s: %s" % (test.id(), reason) for test, reason in result.skipped]


def run_checked(*words, cwd=None, **variables):
    """What the command prints; CalledProcessError, with that, if it fails or cannot be started."""
    words = [str(word) for word in words]
    try:
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", check=True, cwd=cwd,
                              env={**os.environ, **variables}).stdout
    except OSError as error:
        raise subprocess.CalledProcessError(127, words, str(error)) from error


def ops_environment(build):
    """An interpreter, and the folder of the built package.

    It is the one with PyTorch that other tests have, else a new one with NumPy and what reads device
    code, where pip can bring them.
    """
    python = os.environ.get("DS_DEPLOY_TEST_TORCH_PYTHON")
    if not python:
        environment = build / "ops-env"
        python = environment / "bin" / "python"
        if not python.exists():
            run_checked(sys.executable, "-m", "venv", environment)
        for module in ("numpy", "nvidia-cuda-cuobjdump", "nvidia-cuda-nvdisasm"):
            subprocess.run([str(environment / "bin" / "pip"), "install", "-q", module],
                           check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    package = build / "ops-package"
    shutil.rmtree(package, ignore_errors=True)
    from support.deploy_case import LIBRARY_GPUS
    said = run_checked(build / "ds-deploy", "build", "-l", "-q", "--output", package / "dist",
                       "--build-dir", build / "ops-objects",
                       XDG_CACHE_HOME=str(build / "test-cache"), **LIBRARY_GPUS)
    # Warnings come before the wheel's path.
    with zipfile.ZipFile(said.strip().splitlines()[-1]) as wheel:
        wheel.extractall(package)
    return python, package


@contextlib.contextmanager
def beside(*words):
    """This program with other words, at one time with what follows; what it printed, and its status,
    once it is asked for."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = subprocess.Popen([sys.executable, __file__, *words], stdout=said,
                                 stderr=subprocess.STDOUT)

        def end():
            status = child.wait()
            said.seek(0)
            return said.read(), status
        try:
            yield end
        finally:
            child.terminate()
            child.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--rollout", action="store_true", help="only the tests of rollouts")
    parser.add_argument("-k", dest="pattern", help="only Python tests whose name has this in it")
    options = parser.parse_args()
    build = (ROOT / options.build).resolve()
    os.environ["DS_DEPLOY"] = str(build / "ds-deploy")
    os.environ["DS_DEPLOY_TEST_BUILD"] = str(build)
    os.environ["DS_DEPLOY_LONG"] = "1" if options.long else ""
    sys.path.insert(0, str(TESTS))
    from support import prepare_torch, third_party
    # A few tests by their name are not worth gigabytes.
    if not options.rollout:
        prepare_torch.prepare(download=options.pattern is None)
        third_party.prepare()

    totals = Totals()
    began = time.monotonic()
    unit_tests = build / "tests" / "unit-tests"
    if options.pattern is not None:
        totals.add_suites(options.pattern, lambda name: True)
    elif options.rollout:
        totals.add_unit_tests(unit_tests, "-tc=" + ROLLOUT_UNITS)
        totals.add_suites(None, lambda name: name in ROLLOUT_SUITES)
    else:
        with beside("--rollout", *sys.argv[1:]) as part:
            totals.add_unit_tests(unit_tests, "-tce=" + ROLLOUT_UNITS)
            totals.add_ops(build, None)
            totals.add_suites(None, lambda name: name not in ROLLOUT_SUITES)
            totals.add_part(*part())
    if options.pattern is not None:
        totals.add_ops(build, options.pattern)
    if options.long and not options.rollout:
        totals.add_long()
    print("took %.0f s" % (time.monotonic() - began))
    for skip in totals.skips:
        print("skipped: " + skip)
    print("%d passed, %d failed, %d skipped" % (totals.passed, totals.failed, len(totals.skips)))
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main())
