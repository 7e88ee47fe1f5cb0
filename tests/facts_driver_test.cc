// SPDX-License-Identifier: Apache-2.0
//
// What the driver's libraries say, by doubles of them that a compiler makes here: the calls are
// those of NVML's header, the GPUs are not there.
#include <doctest/doctest.h>

#include <string>

#include "facts/probe_answer.h"
#include "support/probe_bench.h"

using namespace ds;

namespace {

const std::string nvml_head = R"(
#include <string.h>
#include <unistd.h>
typedef void* Gpu;
typedef unsigned U;
int nvmlInit_v2(void) { return 0; }
int nvmlSystemGetDriverVersion(char* to, U n) { strncpy(to, "580.65.06", n); return 0; }
int nvmlDeviceGetCount_v2(U* to) { *to = 3; return 0; }
int nvmlDeviceGetUUID(Gpu gpu, char* to, U n) {
  strncpy(to, gpu == (Gpu)1 ? "GPU-one" : "GPU-two", n); return 0; }
int nvmlDeviceGetName(Gpu gpu, char* to, U n) { strncpy(to, "NVIDIA H100 80GB HBM3", n); return 0; }
int nvmlDeviceGetCudaComputeCapability(Gpu gpu, int* major, int* minor) {
  *major = 9; *minor = 0; return 0; }
int nvmlDeviceGetMemoryInfo(Gpu gpu, unsigned long long* to) { to[0] = 81559ull << 20; return 0; }
int nvmlDeviceGetMigMode(Gpu gpu, U* now, U* next) { *now = *next = gpu == (Gpu)2; return 0; }
int nvmlDeviceGetEccMode(Gpu gpu, U* now, U* next) { *now = *next = 1; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(Gpu gpu, U* to) { *to = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(Gpu gpu, U at, Gpu* to) { return at < 2 && gpu == (Gpu)2 ? 0 : 6; }
int nvmlDeviceGetRemappedRows(Gpu gpu, U* a, U* b, U* pending, U* failed) {
  *a = *b = 1; *pending = gpu == (Gpu)1; *failed = 0; return 0; }
)";

const std::string nvml_devices = R"(
int nvmlDeviceGetHandleByIndex_v2(U at, Gpu* to) { *to = (Gpu)(unsigned long)(at + 1); return at == 2 ? 15 : 0; }
struct Process { U pid; unsigned long long memory; U gi, ci; };
int nvmlDeviceGetComputeRunningProcesses_v3(Gpu gpu, U* count, struct Process* to) {
  *count = gpu == (Gpu)1; to[0].pid = 1; return 0; }
)";

const std::string libcuda = "int cuDriverGetVersion(int* to) { *to = 13000; return 0; }\n";

bool has_compiler() {
  return needs("command -v cc", "the driver's libraries", "there is no C compiler");
}

/// A host with these libraries in LD_LIBRARY_PATH, and an nvidia-smi that says `smi`.
struct DriverBench : Bench {
  DriverBench(const std::string& nvml, const std::string& smi) {
    options.python = "/usr/bin/python3";
    tool("nvidia-smi", smi);
    library("libnvidia-ml.so.1", nvml);
    library("libcuda.so.1", libcuda);
    env("PATH=" + (folder.path() / "bin").string() +
        ":$PATH\nexport LD_LIBRARY_PATH=" + folder.path().string() + "\n");
  }
  void library(const std::string& name, const std::string& text) {
    const std::string source = (folder.path() / "x.c").string();
    write_file(source, text);
    const ShellResult made =
        shell("cc -shared -fPIC -w -o " + (folder.path() / name).string() + " " + source);
    REQUIRE_MESSAGE(made.status == 0, made.output);
  }
};

}  // namespace

TEST_CASE("driver: where nvidia-smi fails the GPUs are those that NVML lists") {
  if (!has_compiler())
    return;
  DriverBench bench(nvml_head + nvml_devices, "echo 'driver/library mismatch'; exit 18");
  const HostFacts facts = bench.ask();
  REQUIRE(facts.gpus.size() == 2);
  const Gpu& first = facts.gpus[0];
  CHECK(first.uuid == "GPU-one");
  CHECK(first.name == "NVIDIA H100 80GB HBM3");
  CHECK(first.compute_capability == "9.0");
  CHECK(first.memory_mb == 81559);
  CHECK(first.driver == "580.65.06");
  CHECK(first.ecc == "Enabled");
  CHECK(first.mig == "Disabled");
  CHECK(first.remapping == "pending");
  REQUIRE(first.processes);
  REQUIRE(first.processes->size() == 1);
  CHECK(first.processes->front().ends_with(" of root (1)"));
  CHECK(facts.gpus[1].mig == "Enabled");
  CHECK(facts.gpus[1].mig_devices == 2);
  CHECK(facts.gpus[1].remapping == "none");
  CHECK(facts.gpus[1].processes->empty());
  CHECK(facts.nvidia.lost == std::vector<std::string>{"GPU 2 (NVML status 15)"});
  CHECK(facts.nvidia.cuda == "13.0");
  CHECK(facts.nvidia.libcuda.ends_with("/libcuda.so.1"));
  CHECK(facts.driver == "580.65.06");
}

TEST_CASE("driver: what nvidia-smi lists gets what NVML knows besides") {
  if (!has_compiler())
    return;
  DriverBench bench(nvml_head + nvml_devices,
                    "echo '0, GPU-two, NVIDIA H100, 9.0, 580.65.06, 81559, Enabled, Enabled'");
  const HostFacts facts = bench.ask("bash");
  REQUIRE(facts.gpus.size() == 1);
  CHECK(facts.gpus[0].name == "NVIDIA H100");
  CHECK(facts.gpus[0].mig_devices == 2);
  CHECK(facts.gpus[0].remapping == "none");
}

TEST_CASE("driver: an older NVML has fewer functions") {
  if (!has_compiler())
    return;
  DriverBench bench(
      "int nvmlInit_v2(void) { return 0; }\n"
      "int nvmlDeviceGetCount_v2(unsigned* to) { *to = 1; return 0; }\n"
      "int nvmlDeviceGetHandleByIndex_v2(unsigned at, void** to) { *to = (void*)1; return 0; }\n",
      "echo '0, GPU-two, NVIDIA H100, 9.0, 580.65.06, 81559, Enabled, Enabled'");
  const HostFacts facts = bench.ask();
  REQUIRE(facts.gpus.size() == 1);
  CHECK(facts.gpus[0].remapping == "");
  CHECK_FALSE(facts.gpus[0].processes);
}

TEST_CASE("driver: libraries that crash or hang are a note, and the rest is known") {
  if (!has_compiler())
    return;
  for (const auto& [body, said] :
       {std::pair("int nvmlInit_v2(void) { return *(volatile int*)0; }",
                  "the NVIDIA driver's libraries ended the process that asked"),
        {"#include <unistd.h>\nint nvmlInit_v2(void) { sleep(60); return 0; }",
         "the NVIDIA driver's libraries gave no answer in 8 s"}}) {
    DriverBench bench(body, "exit 1");
    const HostFacts facts = bench.ask();
    CAPTURE(std::string(said));
    CHECK(has_note(facts, said));
    CHECK(facts.nvidia == DriverFacts());
    CHECK(facts.python.version.starts_with("3."));
    CHECK_FALSE(facts.runtime.empty());
  }
}

TEST_CASE("driver: what the kernel's log says of GPUs") {
  Bench bench;
  bench.tool("nvidia-smi", "exit 1");
  bench.tool("dmesg",
             "echo '[  9.1] NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.'\n"
             "echo '[  9.2] NVRM: Xid (PCI:0000:3b:00): 79, GPU 0000:3b:00.0'\n"
             "echo '[  9.3] NVRM: Xid (PCI:0000:86:00): 13, Graphics Exception'");
  HostFacts facts = bench.ask();
  REQUIRE(facts.xids);
  CHECK(*facts.xids == std::vector<Xid>{{13, "0000:86:00", 1}, {79, "0000:3b:00", 2}});
  CHECK(facts.gpus_on_bus >= 0);
  bench.tool("dmesg",
             "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1");
  facts = bench.ask("bash");
  CHECK_FALSE(facts.xids);
}

TEST_CASE("place: locks that nobody holds, and modules that come first") {
  if (!needs("test -x /usr/bin/python3", "where processes work", "there is no /usr/bin/python3"))
    return;
  Bench bench;
  bench.options.python = "/usr/bin/python3";
  const std::filesystem::path here = bench.folder.path();
  for (const char* folder :
       {"extensions/py311_cu130/cpu_adam", "extensions/fresh", "earlier/deepspeed"})
    std::filesystem::create_directories(here / folder);
  write_file(here / "extensions/py311_cu130/cpu_adam/lock", "");
  write_file(here / "extensions/fresh/lock", "");
  write_file(here / "earlier/deepspeed/__init__.py", "");
  write_file(here / "earlier/one.py", "");
  write_file(here / "earlier/no-module.txt", "");
  REQUIRE(
      shell("touch -d '2 hours ago' " + (here / "extensions/py311_cu130/cpu_adam/lock").string())
          .status == 0);
  bench.env("export TORCH_EXTENSIONS_DIR=" + (here / "extensions").string() +
            "\nexport PYTHONPATH=" + (here / "earlier").string() + "\n");
  const HostFacts facts = bench.ask();
  CHECK(facts.jit.folder == (here / "extensions").string());
  CHECK(facts.jit.locks == std::vector<std::string>{"py311_cu130/cpu_adam"});
  REQUIRE(facts.earlier_modules);
  CHECK(facts.earlier_modules->at("deepspeed") == (here / "earlier").string());
  CHECK(facts.earlier_modules->contains("one"));
  CHECK_FALSE(facts.earlier_modules->contains("no-module"));
  CHECK(facts.shared_memory.bytes > 0);
  // Inside of a chroot the mount that holds it is not told.
  CHECK(facts.disk.noexec.has_value() == !facts.disk.filesystem.empty());
  if (facts.disk.source.empty()) {
    needs("false", "quotas", "the mount that holds the environment is not told");
    return;
  }
  CHECK(facts.disk.noexec == false);
  bench.tool("quota",
             "echo 'Disk quotas for user x (uid 1):'\necho ' Filesystem blocks quota limit'\n"
             "echo ' " +
                 facts.disk.source + " 1000* 900 5000 none 5 0 0'");
  bench.env("PATH=" + (here / "bin").string() + ":$PATH\n");
  CHECK(bench.ask("bash").disk.quota_bytes == 4000 * 1024);
}

TEST_CASE("place: what a login shell has otherwise") {
  if (!needs(R"x(getent passwd "$(id -un)" | grep -qE '/(ba|da|)sh$')x", "login shells",
             "this user's shell reads no ~/.profile") ||
      !needs("test -x /usr/bin/python3", "login shells", "there is no /usr/bin/python3"))
    return;
  Bench bench;
  bench.options.python = "/usr/bin/python3";
  const std::string home = bench.folder.path().string();
  bench.inventory.hosts[0].env_script.clear();
  // What the shell of the command has set already is inherited, as from ~/.bashrc.
  bench.prelude = "export HOME=" + home + " LD_LIBRARY_PATH=/inherited\n";
  CHECK_FALSE(bench.ask().login.asked);  // not over SSH
  bench.inventory.hosts[0].endpoint.kind = Endpoint::Kind::ssh;
  const auto differs = [&](const std::string& profile) {
    write_file(home + "/.profile", profile);
    const LoginFacts login = bench.ask().login;
    CHECK(login.asked);
    return login.differs ? join(*login.differs, " ") : "not known";
  };
  const std::string before = differs("");
  const std::string with_path = std::string(trim("LD_LIBRARY_PATH " + before));
  CHECK(differs("echo welcome\nexport LD_LIBRARY_PATH=/opt/x\n") == with_path);
  CHECK(differs("export LD_LIBRARY_PATH=/opt/x:$LD_LIBRARY_PATH\n") == with_path);
  CHECK(differs("sleep 60 &\n") == before);
  for (const char* profile : {"exit 1\n", "sleep 60\n", "yes\n"})
    CHECK(differs(profile) == "not known");
  bench.env("true\n");
  CHECK_FALSE(bench.ask().login.asked);
}

TEST_CASE("place: the clock of a host is held against ours") {
  Bench bench;
  bench.tool("date", "echo 1000000000");
  HostFacts facts = bench.ask();
  REQUIRE(facts.clock_ahead);
  CHECK(*facts.clock_ahead < -100'000'000);
  bench.tool("date", "echo 9000000000");
  facts = bench.ask();
  CHECK(*facts.clock_ahead > 100'000'000);
  bench.tool("date", "exec /bin/date \"$@\"");
  CHECK(bench.ask().clock_ahead == 0);
}

TEST_CASE("driver: hostile answers stay in range") {
  const std::string nonce(32, '0');
  const auto answer = [&](const std::string& body) {
    return parse_probe_answer(nonce + " begin\n" + body + "\n" + nonce + " end\n", nonce);
  };
  CHECK_FALSE(answer("xid\t79\tx\t1").xids);
  CHECK(answer("kernel_log\tread\nxid\t0\tx\t1\nxid\tmany").xids->empty());
  CHECK(answer("gpus_on_bus\t-3").gpus_on_bus == 0);
  CHECK(answer("python\t{\"nvidia\": 3}").gpus.empty());
  const HostFacts odd = answer(
      "python\t{\"nvidia\": {\"gpus\": [{\"uuid\": \"a\\u001b[2J\", \"processes\": 3}], "
      "\"lost\": [\"x\\ny\"]}}");
  REQUIRE(odd.gpus.size() == 1);
  CHECK(odd.gpus[0].uuid.find('\x1b') == std::string::npos);
  CHECK_FALSE(odd.gpus[0].processes);
  CHECK(odd.nvidia.lost.front().find('\n') == std::string::npos);
}
