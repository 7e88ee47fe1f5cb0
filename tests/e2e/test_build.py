# SPDX-License-Identifier: Apache-2.0
"""The build engine with real compilers: what is made again and what is not, limits, the store."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import textwrap
import threading
import time
import unittest

from support.build_case import BuildCase, returning
from support.deploy_case import PROGRAM, clean_environment
from support.find_nvcc import find_nvcc

KILLS = 50 if os.environ.get("DS_DEPLOY_LONG") else 6


class MadeAgain(BuildCase):
    """And not made again: every way in which an object could be stale."""

    def test_nothing_changed(self):
        self.op(a=returning(1), b=returning(2, "other"))
        self.assertEqual(self.build(), (3, 0, 0))
        self.assertEqual(self.build(), (0, 3, 0))
        self.assertEqual(self.build(build="elsewhere"), (0, 0, 3))
        self.assertEqual(self.value(), 1)
        shutil.rmtree(self.cache)
        self.assertEqual(self.build(), (3, 0, 0))

    def test_header(self):
        header = self.write("ops/common/include/x.h", "#define X 1\n")
        self.op(include="../common/include", a='#include "x.h"\n' + returning("X"),
                b=returning(2, "other"))
        self.assertEqual(self.build(), (3, 0, 0))
        header.touch()
        self.assertEqual(self.build(), (0, 3, 0))
        header.write_text("#define X 7\n")
        self.assertEqual(self.build(), (2, 1, 0))
        self.assertEqual(self.value(), 7)
        header.write_text("#define X 1\n")
        self.assertEqual(self.build(), (0, 1, 2))
        self.assertEqual(self.value(), 1)

    def test_header_that_is_added_earlier_in_the_include_path(self):
        self.write("ops/common/second/x.h", "#define X 1\n")
        (self.ops / "common" / "first").mkdir()
        self.op(include="../common/first, ../common/second",
                a="#include <x.h>\n" + returning("X"))
        self.build()
        self.assertEqual(self.value(), 1)
        self.write("ops/common/first/x.h", "#define X 2\n")
        self.build()
        self.assertEqual(self.value(), 2)

    def test_variables(self):
        self.op(a="#include <x.h>\n" + returning("X"))
        for number in (1, 2):
            self.write("include%d/x.h" % number, "#define X %d\n" % number)
        for number in (1, 2):
            self.build(env=clean_environment(CPATH=str(self.folder / ("include%d" % number))))
            self.assertEqual(self.value(), number)
        self.assertEqual(self.build(env=clean_environment(
            CPATH=str(self.folder / "include2"), SOMETHING="else")), (0, 2, 0))

    def test_flags(self):
        self.op(a=returning("X"))
        for number in (1, 2):
            self.build(env=clean_environment(CXXFLAGS="-DX=%d" % number))
            self.assertEqual(self.value(), number)
        self.build(env=clean_environment(CFLAGS="-DX=3 -march=native"))
        self.assertIn("CFLAGS holds -march=native", self.stderr)

    def test_sources_in_c(self):
        """By CC, with CFLAGS; what C++ does not take."""
        self.op(a=returning(1))
        self.write("ops/one/b.c", "int other(int class) { return class + X; }\n")
        manifest = self.ops / "one" / "op.yaml"
        manifest.write_text(manifest.read_text().replace("[a.cc]", "[a.cc, b.c]"))
        compiler = self.script("my-cc", '#!/bin/sh\necho ran >> "%s/log"\nexec gcc "$@"\n'
                               % self.folder)
        for number in (1, 2):
            self.build(env=clean_environment(CC=str(compiler), CFLAGS="-DX=%d" % number,
                                             CXXFLAGS="-std=c++20"))
        self.assertGreaterEqual((self.folder / "log").read_text().count("ran"), 2)
        self.assertEqual(self.value(), 1)

    def test_compiler_replaced_at_the_same_path_and_time(self):
        self.op(a=returning("X"))
        compiler = self.folder / "c++"
        for number in (1, 2, 1):
            self.script("c++", '#!/bin/sh\nexec g++ -DX=%d "$@"\n' % number)
            os.utime(compiler, ns=(10**18, 10**18))
            self.build(env=clean_environment(CXX=str(compiler)))
            self.assertEqual(self.value(), number)

    def test_a_program_behind_the_compiler(self):
        """-B finds another assembler, which the driver runs."""
        self.op(a=returning(1))
        self.script("bin/as", '#!/bin/sh\nexec /usr/bin/as "$@"\n')
        compiler = self.script("c++", '#!/bin/sh\nexec g++ -B "%s/bin/" "$@"\n' % self.folder)
        env = clean_environment(CXX=str(compiler))
        self.assertEqual(self.build(env=env), (2, 0, 0))
        self.assertEqual(self.build(env=env), (0, 2, 0))
        self.script("bin/as", '#!/bin/sh\n# another\nexec /usr/bin/as "$@"\n')
        self.assertEqual(self.build(env=env), (2, 0, 0))

    def test_damaged_entry(self):
        self.op(a=returning(1))
        self.build()
        for path in (self.cache / "outputs").rglob("*"):
            if path.is_file():
                path.chmod(0o644)
                path.write_bytes(path.read_bytes()[:-1] + b"x")
        self.assertEqual(self.build(build="elsewhere"), (2, 0, 0))
        self.assertEqual(self.value(), 1)
        self.assertEqual(self.build(build="third"), (0, 0, 2))

    def test_warnings_come_back(self):
        self.op(a="#warning \"look here\"\n" + returning(1))
        self.build()
        self.assertIn("look here", self.stderr)
        self.build()
        self.assertNotIn("look here", self.stderr)
        self.build(build="elsewhere")
        self.assertIn("look here", self.stderr)


@unittest.skipIf(find_nvcc() is None, "no nvcc on this machine")
class MadeAgainByNvcc(BuildCase):
    def cuda(self, **more):
        return clean_environment(TORCH_CUDA_ARCH_LIST="8.0", **more)

    def test_code_for_the_host_alone(self):
        """Caches that key on preprocessed CUDA text give the old object here."""
        text = ("#ifndef __CUDA_ARCH__\n#define X %d\n#else\n#define X 0\n#endif\n"
                "__global__ void kernel() {}\n" + returning("X").replace("%", "%%"))
        for number in (111, 222, 111):
            self.op(kind="cuda", a=text % number)
            self.build(env=self.cuda())
            self.assertEqual(self.value(), number)
        self.assertEqual(self.build(env=self.cuda()), (0, 2, 0))

    def test_a_variable_that_nvcc_reads(self):
        self.op(kind="cuda", a="__global__ void kernel() {}\n" + returning("X"))
        for number, variable in ((1, "APPEND"), (2, "APPEND"), (3, "PREPEND"), (4, "PREPEND")):
            self.build(env=self.cuda(**{"NVCC_%s_FLAGS" % variable: "-DX=%d" % number}))
            self.assertEqual(self.value(), number)

    def test_the_same_bytes_twice(self):
        self.op(kind="cuda", a="namespace { __global__ void kernel(int* p) { *p = 1; } }\n"
                "static __device__ int here;\n" + returning(1)
                + 'extern "C" void run(int* p) { kernel<<<1, 1>>>(p); }\n')
        self.build("--verify-reproducible", env=self.cuda())
        self.assertIn("reproducible: 2 jobs made the same bytes twice", self.stderr)


class SameBytes(BuildCase):
    def test_two_folders_users_and_time_zones(self):
        self.op(a="const char* where() { return __FILE__ __DATE__ __TIME__; }\n"
                "#include <cassert>\n" + returning("(assert(where()), 1)"))
        self.write("ops/VERSION", "1.0\n")
        digests = set()
        for number, zone in enumerate(("UTC", "Asia/Tokyo", "America/New_York")):
            home = self.folder / ("a" * (number * 7 + 1))
            shutil.copytree(self.ops, home / "ops")
            words = [PROGRAM, *map(str, self.words(ops=home / "ops", build=home / "build",
                                                   cache=home / "cache"))]
            if number == 2 and os.geteuid() == 0 and shutil.which("setpriv"):
                subprocess.run(["chmod", "755", self.folder], check=True)
                subprocess.run(["chown", "-R", "65534:65534", home], check=True)
                words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words]
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  check=False, env=clean_environment(TZ=zone, HOME=str(home)))
            self.assertEqual(done.returncode, 0, done.stderr)
            wheel = pathlib.Path(done.stdout.strip())
            digests.add((wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()))
        self.assertEqual(len(digests), 1, digests)

    def test_other_bytes_the_second_time(self):
        self.op(a=returning("X"), b=returning(2, "other"))
        compiler = self.script("c++", '#!/bin/sh\nn=$(cat "%s/n" 2>/dev/null || echo 0)\n'
                               'echo $((n + 1)) > "%s/n"\nexec g++ -DX=$n "$@"\n'
                               % (self.folder, self.folder))
        self.build("--verify-reproducible", "-j1", exit_status=9,
                   env=clean_environment(CXX=str(compiler)))
        self.assertIn("not reproducible: c++ one/a.cc", self.stderr)


@unittest.skipUnless(os.uname().machine == "x86_64", "levels are those of x86-64")
class CpuLevel(BuildCase):
    def level(self, *words, **more):
        """What the library itself says that it needs."""
        self.build(*words, env=clean_environment(**more))
        said = json.loads(self.run_program("inspect", "--json", self.wheel).stdout)
        return said["requirements"]["cpu_level"]

    def test_stated_in_version_and_library(self):
        self.op(a=returning("__SSE4_2__"))
        self.assertEqual(self.level("--cpu-level", "2"), 2)
        self.assertIn(".cpu.v2-", self.wheel.name)
        self.assertEqual(self.value(), 1)
        self.assertLessEqual(self.level("--cpu-level", "4"), 4)
        self.assertIn(".cpu.v4-", self.wheel.name)

    def test_nothing_is_added_for_any_cpu(self):
        self.op(a=returning("__GNUC__"))
        self.assertLessEqual(self.level("--cpu-level", "1"), 1)
        self.assertIn(".cpu-", self.wheel.name)

    def test_the_users_flags_win(self):
        self.op(a="#ifdef __SSE4_2__\n#error level 2\n#endif\n" + returning(1))
        self.build("--cpu-level", "2", exit_status=9)
        self.level("--cpu-level", "2", CXXFLAGS="-march=x86-64")

    @unittest.skipIf(find_nvcc() is None, "no nvcc on this machine")
    def test_host_code_of_a_cuda_source(self):
        self.op(kind="cuda", a="__global__ void kernel() {}\n" + returning("__SSE4_2__"))
        self.assertEqual(self.level("--cpu-level", "2", TORCH_CUDA_ARCH_LIST="8.0"), 2)
        self.assertEqual(self.value(), 1)

    def test_what_a_host_lacks_is_refused(self):
        self.op(a=returning(1))
        self.level("--cpu-level", "4")
        facts = self.write("facts.json", json.dumps({"schema": "ds-deploy.facts/1", "hosts": [
            {"name": "old", "state": "reached", "machine": "x86_64", "cpu_level": 2}]}))
        done = self.run_program("audit", self.wheel, "--facts", facts)
        self.assertIn("x86-64-v4, and this host's is v2", done.stdout)


class Limits(BuildCase):
    def many(self, number=8):
        self.op(**{"s%d" % at: returning(at, "f%d" % at) for at in range(number)})

    def test_memory(self):
        """Eight heavy jobs, memory for two: by guess at first, then by what was learned."""
        self.many()
        for _ in range(2):
            env = self.heavy(HEAVY_MB="300", HEAVY_SECONDS="0.4")
            self.build("-j8", "--memory-limit", "800M", env=env)
            self.assertEqual(self.most_at_once(), 2)
            shutil.rmtree(self.cache / "results")
            self.assertTrue((self.cache / "costs").exists())

    def test_jobs(self):
        self.many(4)
        for words, env, most in ((["-j", "2"], {}, 2), ([], {"MAX_JOBS": "3"}, 3)):
            self.build(*words, env=self.heavy(HEAVY_SECONDS="0.4", **env))
            self.assertEqual(self.most_at_once(), most)
            shutil.rmtree(self.cache / "results")

    def test_load(self):
        self.many(3)
        self.build("-j3", "--max-load", "0.0001", env=self.heavy(HEAVY_SECONDS="0.2"))
        if os.getloadavg()[0] > 0.0001:
            self.assertEqual(self.most_at_once(), 1)

    @unittest.skipIf(shutil.which("make") is None, "no make")
    def test_job_server_of_make(self):
        """`make -j3` with another job of its own: two slots are left."""
        self.many(6)
        words = " ".join("'%s'" % word for word in [PROGRAM, *self.words("-j6")])
        self.write("Makefile", "all: ours other\nours:\n\t+@%s > wheel\nother:\n\t@sleep 4\n" % words)
        done = subprocess.run(["make", "-C", self.folder, "-j3"], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, check=False,
                              env=self.heavy(HEAVY_SECONDS="0.3"))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.most_at_once(), 2, done.stdout)

    def test_a_compiler_that_hangs(self):
        self.op(a=returning(1))
        compiler = self.script("c++", "#!/bin/sh\ncase \" $* \" in *\" -o \"*) sleep 1000 & wait ;; "
                               "*) exec g++ \"$@\" ;; esac\n")
        began = time.monotonic()
        self.build("--job-timeout", "1", exit_status=9, env=clean_environment(CXX=str(compiler)))
        self.assertIn("failed: it ran out of time after 1.", self.stderr)
        self.assertLess(time.monotonic() - began, 10)

    def test_interrupt(self):
        """The whole process group goes, and no half object stays."""
        self.op(a=returning(1))
        compiler = self.script("c++", textwrap.dedent("""\
            #!/bin/sh
            case " $* " in *" -o "*) ;; *) exec g++ "$@" ;; esac
            for word; do [ "$last" = -o ] && echo half > "$word"; last=$word; done
            sleep 1000 &
            echo $! > "%s/pid"
            wait
            """) % self.folder)
        child = subprocess.Popen([PROGRAM, *map(str, self.words())], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, env=clean_environment(CXX=str(compiler)))
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        pid = self.folder / "pid"
        while not pid.exists() or not pid.read_text():
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(10), 130)
        self.assertFalse(pathlib.Path("/proc/%s/root" % pid.read_text().strip()).exists())
        self.assertEqual([path.name for path in (self.folder / "build").rglob("*")
                          if path.is_file()], ["compile_commands.json"])

    def test_wrong_sizes(self):
        self.op(a=returning(1))
        for option in ("--memory-limit", "--cache-size"):
            self.build(option, "lots", exit_status=2)
            self.assertIn("%s is 'lots', which is no size" % option, self.stderr)


class Together(BuildCase):
    @staticmethod
    def wait_for_session(leader):
        """Compilers that it began may outlive the victim by a moment, and still write."""
        def members():
            for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
                try:
                    fields = path.read_text(errors="replace").rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == leader and fields[0] not in "ZX":
                    yield path
        latest = time.monotonic() + 60
        while any(members()) and time.monotonic() < latest:
            time.sleep(0.05)

    def test_two_builds_in_one_cache_of_which_one_is_killed(self):
        """At random moments. The results are right, and the next run finishes."""
        seed = random.randrange(1 << 30)
        chance = random.Random(seed)
        self.op(**{"s%d" % at: "#include <string>\n" + returning(at, "f%d" % at)
                   for at in range(6)})
        for number in range(KILLS):
            if number % 3 == 0:
                shutil.rmtree(self.cache, ignore_errors=True)
            victim = subprocess.Popen(
                [PROGRAM, *map(str, self.words(build="victim"))], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env=clean_environment(), start_new_session=True)
            killer = threading.Timer(chance.uniform(0.1, 2.5), victim.kill)
            killer.start()
            with self.subTest(seed=seed, number=number):
                self.build(build="survivor")
                self.assertEqual([self.value("f%d" % at) for at in range(6)], [*range(6)])
            killer.join()
            victim.wait()
            self.wait_for_session(victim.pid)
            with self.subTest(seed=seed, number=number):
                self.build(build="victim")
                self.assertEqual([self.value("f%d" % at) for at in range(6)], [*range(6)])
                self.assertEqual([*(self.folder / "victim").rglob("*.tmp.*")], [])


class Seen(BuildCase):
    def test_explain(self):
        header = self.write("ops/common/include/x.h", "#define X 1\n")
        self.op(include="../common/include", a='#include "x.h"\n' + returning("X"))
        self.build("--explain")
        self.assertIn("c++ one/a.cc: nothing was made yet by this command from these files",
                      self.stderr)
        header.write_text("#define X 2\n")
        self.build("--explain")
        self.assertIn("c++ one/a.cc: %s changed" % header, self.stderr)

    def test_trace(self):
        self.op(a=returning(1), b=returning(2, "other"))
        self.build("--trace", self.folder / "trace.json")
        events = json.loads((self.folder / "trace.json").read_text())["traceEvents"]
        jobs = {event["name"]: event for event in events if event["ph"] == "X"}
        self.assertEqual(sorted(jobs), ["c++ one/a.cc", "c++ one/b.cc", "link libone.so"])
        link = jobs["link libone.so"]
        self.assertTrue(link["args"]["critical"])
        self.assertGreater(jobs["c++ one/a.cc"]["args"]["memory_MB"], 5)
        for name in ("c++ one/a.cc", "c++ one/b.cc"):
            self.assertLessEqual(jobs[name]["ts"] + jobs[name]["dur"], link["ts"])
        self.assertEqual(len([event for event in jobs.values() if event["args"]["critical"]]), 2)

    def test_cache_command(self):
        self.op(a=returning(1))
        self.build()

        def cache(*words):
            done = self.run_program("cache", *words, "--cache-dir", self.cache)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        use = json.loads(cache("show", "--json"))
        self.assertEqual((use["outputs"], use["results"], use["folder"]), (3, 3, str(self.cache)))
        self.assertIn("3 outputs, 3 results, 0 packages", cache("show"))
        self.assertIn("0 files damaged", cache("verify"))
        output = next(path for path in (self.cache / "outputs").rglob("*") if path.is_file())
        output.chmod(0o644)
        output.write_bytes(b"damaged")
        self.assertIn("1 file damaged and dropped", cache("verify"))
        cache("trim", "--cache-size", "0")
        self.assertEqual(json.loads(cache("show", "--json"))["bytes"], 0)
        self.assertEqual(self.run_program("cache", "destroy").returncode, 2)

    def test_launcher(self):
        self.op(a=returning(1))
        log = self.folder / "log"
        launcher = self.script("ccache", '#!/bin/sh\necho "$CCACHE_DEPEND $1" >> %s\nexec "$@"\n'
                               % log)
        self.build("--launcher", launcher)
        # The compile, then the link.
        self.assertRegex(log.read_text(), r"^1 \S*[gc]\+\+\n \S*[gc]\+\+\n$")


if __name__ == "__main__":
    unittest.main()
