// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <iostream>
#include <string>

#include "base/file.h"
#include "base/text.h"
#include "facts/facts.h"
#include "support/probe_bench.h"

using namespace ds;

namespace {

namespace fs = std::filesystem;

const std::string t4_row =
    "0, GPU-11111111-2222-3333-4444-555555555555, Tesla T4, 7.5, 535.104.05, 15360, [N/A], Enabled";

}  // namespace

TEST_CASE("probe: dash and bash give the same facts of this machine") {
  Bench bench;
  bench.options.python = "/usr/bin/python3";
  if (!needs("test -x /usr/bin/python3", "probe in two shells", "there is no /usr/bin/python3"))
    return;
  HostFacts first;
  for (const char* name : {"dash", "bash"}) {
    if (!needs(std::string("command -v ") + name, "probe in two shells",
               std::string("there is no ") + name))
      continue;
    HostFacts facts = bench.ask(name);
    CHECK(facts.problem == "");
    REQUIRE(facts.state == HostFacts::State::reached);
    CHECK_FALSE(facts.boot_id.empty());
    CHECK_FALSE(facts.glibc.empty());
    CHECK_FALSE(facts.glibcxx.empty());
    CHECK_FALSE(facts.cxxabi.empty());
    CHECK_FALSE(facts.libraries.empty());
    CHECK_FALSE(facts.python.prefix_id.empty());
    CHECK(facts.clock > 1'600'000'000);
    CHECK(facts.memory_mb > 0);
    facts.clock = 0;
    facts.disk.free_bytes = facts.disk.free_inodes = 0;
    if (first.hostname.empty())
      first = facts;
    CHECK(facts == first);
  }
}

TEST_CASE("probe: it writes nothing and works where nothing can be written") {
  if (!needs("unshare -rm true", "probe on read-only folders", "unshare -rm is not allowed here"))
    return;
  Bench bench;
  bench.options.python = "/usr/bin/python3";
  bench.prelude =
      "exec unshare -rm sh -c 'mount -o bind,ro /tmp /tmp && "
      "mount -o remount,bind,ro /tmp && ! touch /tmp/x 2>/dev/null && exec \"$@\"' sh ";
  HostFacts facts = bench.ask("bash");
  CHECK(facts.problem == "");
  CHECK(facts.python.version.starts_with("3."));
}

TEST_CASE("probe: rows of nvidia-smi become GPUs") {
  Bench bench;
  bench.tool("nvidia-smi", "echo '" + t4_row + "'");
  const HostFacts facts = bench.ask();
  REQUIRE(facts.gpus.size() == 1);
  CHECK(facts.gpus[0].compute_capability == "7.5");
  CHECK(facts.gpus[0].memory_mb == 15360);
  CHECK(facts.driver == "535.104.05");
  CHECK_FALSE(has_note(facts, "nvidia-smi"));
}

TEST_CASE("probe: an old nvidia-smi is asked without the compute capability") {
  Bench bench;
  bench.tool("nvidia-smi",
             "case \"$*\" in *compute_cap*) echo 'Field \"compute_cap\" is not a valid field to "
             "query.'; exit 2;; esac\n"
             "echo '0, GPU-1, Tesla V100-SXM2-32GB, 470.82.01, 32510, [N/A], Enabled'");
  const HostFacts facts = bench.ask("bash");
  REQUIRE(facts.gpus.size() == 1);
  CHECK(facts.gpus[0].compute_capability == "7.0");
  CHECK(facts.gpus[0].driver == "470.82.01");
  CHECK_FALSE(has_note(facts, "nvidia-smi"));
}

TEST_CASE("probe: what nvidia-smi says instead of rows is a note") {
  Bench bench;
  bench.tool("nvidia-smi", "echo 'No devices were found'; echo '+1'; echo '=0'");
  HostFacts facts = bench.ask();
  CHECK(facts.gpus.empty());
  CHECK(has_note(facts, "nvidia-smi said: No devices were found"));
  bench.tool("nvidia-smi", "echo 'Failed to initialize NVML' >&2; exit 9");
  facts = bench.ask("bash");
  CHECK(has_note(facts, "nvidia-smi failed with status 9: Failed to initialize NVML"));
}

TEST_CASE("probe: a tool that hangs costs ten seconds and one note") {
  Bench bench;
  bench.tool("nvidia-smi", "trap '' TERM\nexec sleep 60");
  bench.options.python = "/no/such/python";
  const HostFacts facts = bench.ask();
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.gpus.empty());
  CHECK(facts.notes == std::vector<std::string>{"nvidia-smi gave no answer in 10 s",
                                                "python /no/such/python: not found"});
}

TEST_CASE("probe: a tool that cannot be killed does not hold it") {
  Bench bench;
  bench.tool("nvidia-smi", ":");
  // Stands for a timeout(1) whose child is in uninterruptible sleep: it waits on.
  bench.tool("timeout", "case \"$*\" in *nvidia-smi*) exec sleep 20;; esac\nshift 3\nexec \"$@\"");
  const HostFacts facts = bench.ask("bash");
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(has_note(facts, "nvidia-smi gave no answer in 10 s"));
}

TEST_CASE("probe: without timeout(1) and ldconfig there are still facts") {
  if (!needs("test -x /usr/bin/python3", "probe without tools", "there is no /usr/bin/python3"))
    return;
  Bench bench;
  const std::string bin = (bench.folder.path() / "bin").string();
  for (const char* name : {"sed", "uname", "id", "grep", "sort", "tr", "date", "getconf", "sleep"})
    shell("ln -s \"$(command -v " + std::string(name) + ")\" " + bin);
  bench.env("PATH=" + bin + "\n");
  bench.tool("nvidia-smi", "echo '" + t4_row + "'");
  bench.options.python = "/usr/bin/python3";
  const HostFacts facts = bench.ask();
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.gpus.size() == 1);
  CHECK_FALSE(facts.kernel.empty());
  CHECK(facts.python.version.starts_with("3."));
}

TEST_CASE("probe: compilers and every nvcc are found") {
  Bench bench;
  const std::string home = (bench.folder.path() / "cuda").string();
  fs::create_directories(home + "/bin");
  write_file(home + "/bin/nvcc",
             "#!/bin/sh\necho 'Cuda compilation tools, release 12.4, V12.4.1'\n", 0755);
  bench.tool("nvcc", "echo 'Cuda compilation tools, release 11.8, V11.8.89'");
  bench.tool("mycxx", "echo 13.2.0");
  bench.env("PATH=" + (bench.folder.path() / "bin").string() + ":$PATH\nexport CUDA_HOME=" + home +
            " CXX=mycxx\n");
  const HostFacts facts = bench.ask();
  REQUIRE(facts.nvcc.size() >= 2);
  CHECK(facts.nvcc[0] == Tool{home + "/bin/nvcc", "12.4"});
  CHECK(facts.nvcc[1].version == "11.8");
  REQUIRE_FALSE(facts.cxx.empty());
  CHECK(facts.cxx[0] == Tool{(bench.folder.path() / "bin/mycxx").string(), "13.2.0"});
}

TEST_CASE("probe: an env-script that is missing, fails, exits or is no sh") {
  Bench bench;
  const std::string file = (bench.folder.path() / "env").string();
  bench.inventory.hosts[0].env_script = "/no/such/env";
  CHECK(bench.ask().env_script_problem == "env-script /no/such/env: not found");
  const std::pair<const char*, const char*> cases[] = {
      {"export CUDA_HOME=/x\nfalse\n", "ended with status 1"},
      {"exit 3\n", "did not run to its end"},
      {"exec sleep 0\n", "did not run to its end"},
      {"if then fi (\n", "did not run to its end"},
      {"set -eu\nIFS=xyz\necho noise\necho noise >&2\ncat\n", ""}};
  for (const auto& [text, note] : cases) {
    CAPTURE(std::string(text));
    bench.env(text);
    const HostFacts facts = bench.ask();
    CHECK(facts.state == HostFacts::State::reached);
    CHECK_FALSE(facts.glibc.empty());
    CHECK(has_note(facts, "env-script") == (*note != '\0'));
    CHECK((*note == '\0' || has_note(facts, note)));
    CHECK(facts.env_script_problem.empty() == (*note == '\0'));
    CHECK(facts.env_script_problem.find(note) != std::string::npos);
  }
}

TEST_CASE("probe: an interpreter that fails, prints noise or hangs") {
  Bench bench;
  const std::string python = (bench.folder.path() / "bin/python").string();
  bench.options.python = python;
  bench.tool("python", "echo 'noise of a site file'; exit 7");
  HostFacts facts = bench.ask();
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.python.executable == "");
  CHECK(facts.python.asked == python);
  CHECK(has_note(facts, "python " + python + " ended with status 7"));
  write_file(bench.folder.path() / "bin/no'python", "", 0644);
  bench.options.python = python + "'; echo $(id) \"`id`\" '";
  facts = bench.ask();
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(has_note(facts, "echo $(id) \"`id`\" ': not found"));
}

TEST_CASE("probe: the environment's packages, releases and torch are read, not imported") {
  if (!needs("python3 -m venv --help", "probe of an environment", "python3 has no venv"))
    return;
  Bench bench;
  const std::string venv = (bench.folder.path() / "env-1").string();
  REQUIRE(shell("python3 -m venv --without-pip " + venv).status == 0);
  const std::string site = std::string(
      trim(shell(venv + "/bin/python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'")
               .output));
  fs::create_directories(site + "/torch");
  write_file(site + "/torch/__init__.py", "raise SystemExit('imported')\n");
  write_file(site + "/torch/version.py",
             "from typing import Optional\n__version__ = '2.4.1+cu121'\ndebug = False\n"
             "cuda: Optional[str] = '12.1'\n");
  fs::create_directories(site + "/deepspeed-0.14.0.dist-info");
  fs::create_directories(site + "/torch/lib");
  write_file(site + "/_ds_deploy.py", "");
  write_file(site + "/ds_deploy.start", "_ds_deploy:activate\n");
  const std::string root = (bench.folder.path() / ".ds-deploy/env-1").string();
  const std::string whole(64, 'a'), torn(64, 'b');
  fs::create_directories(root + "/releases/" + whole);
  fs::create_directories(root + "/releases/" + torn);
  write_file(root + "/releases/" + whole + ".json", "{}");
  write_file(root + "/releases/" + torn + ".part", "begin");
  write_file(root + "/active", whole + "\n");
  bench.options.python = venv + "/bin/python";
  const HostFacts facts = bench.ask();
  CHECK(facts.notes.empty());
  CHECK(facts.python.prefix == venv);
  CHECK(facts.python.virtual_environment);
  CHECK_FALSE(facts.python.externally_managed);
  CHECK(facts.python.pip == "");
  CHECK(facts.torch.version == "2.4.1+cu121");
  CHECK(facts.torch.cuda == "12.1");
  CHECK_FALSE(facts.torch.cxx11_abi.has_value());
  CHECK(facts.installed.root == root);
  CHECK(facts.installed.root_writable);
  CHECK(facts.installed.sealed == std::vector<std::string>{whole});
  CHECK(facts.installed.active == std::vector<std::string>{whole});
  CHECK_FALSE(facts.installed.hook);  // it has two of three files
  CHECK(facts.installed.packages ==
        std::map<std::string, std::string>{{"deepspeed", "0.14.0 " + site}});
  CHECK(facts.disk.free_bytes > 0);
  // In a chroot the kernel does not list the root.
  const bool listed =
      shell("grep -q '^[^ ]* [^ ]* [^ ]* [^ ]* / ' /proc/self/mountinfo").status == 0;
  CHECK_FALSE((listed && facts.disk.filesystem.empty()));
}

TEST_CASE("probe: what lies in our releases, and the C++ ABI of an older torch") {
  if (!needs("python3 -m venv --help", "probe of a deployed environment", "python3 has no venv"))
    return;
  Bench bench;
  const std::string venv = (bench.folder.path() / "env-1").string();
  REQUIRE(shell("python3 -m venv --without-pip " + venv).status == 0);
  const std::string site = std::string(
      trim(shell(venv + "/bin/python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'")
               .output));
  const std::string release =
      (bench.folder.path() / ".ds-deploy/env-1/releases" / std::string(64, 'a')).string();
  fs::create_directories(release + "/any_wheel-2.0.dist-info");
  fs::create_directories(site + "/unrelated-1.0.dist-info");
  fs::create_directories(site + "/torch/lib");
  write_file(site + "/torch/version.py", "__version__ = '2.4.1'\n");
  write_file(site + "/_ds_deploy.py", "import sys\nsys.path.insert(1, '" + release + "')\n");
  write_file(site + "/ds_deploy.start", "");
  write_file(site + "/ds_deploy.pth", "import _ds_deploy\n");
  bench.options.python = venv + "/bin/python";
  const std::string block(1u << 20, 'x');
  for (const bool modern : {true, false}) {
    // The word stands across the border of two blocks.
    write_file(site + "/torch/lib/libc10.so",
               block.substr(7) + (modern ? "NSt7__cxx1112basic_string" : "Ss") + block);
    const HostFacts facts = bench.ask();
    CHECK(facts.torch.cxx11_abi == modern);
    CHECK(facts.installed.hook);
    CHECK(facts.installed.packages ==
          std::map<std::string, std::string>{{"any_wheel", "2.0 " + release}});
  }
}

TEST_CASE("facts: a whole answer counts, even if the session ended badly after it") {
  for (const auto outcome : {ExecResult::Outcome::lost, ExecResult::Outcome::timed_out}) {
    FakeTransport transport([&](const Endpoint&, const Exec& exec) {
      const std::size_t at = exec.script.find("nonce=") + 6;
      const std::string nonce = exec.script.substr(at, 32);
      ExecResult result;
      result.outcome = outcome;
      result.message = "it took\ntoo long";
      result.out = nonce + " begin\nkernel\t6.1\n";
      if (outcome == ExecResult::Outcome::lost)
        result.out += nonce + " end\n";
      return result;
    });
    RecordingStatus status;
    const HostFacts facts = gather_facts(local_inventory(), {}, transport, status).hosts.front();
    const bool whole = outcome == ExecResult::Outcome::lost;
    CHECK((facts.state == HostFacts::State::reached) == whole);
    CHECK(facts.kernel == (whole ? "6.1" : ""));
    CHECK(facts.problem == (whole ? "" : "it took too long"));
    CHECK(status.failures.size() == (whole ? 0 : 1));
  }
}
