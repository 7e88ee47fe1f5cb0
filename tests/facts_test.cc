// SPDX-License-Identifier: Apache-2.0
#include "facts/facts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "support/fake_transport.h"
#include "support/recording_status.h"
#include "support/shell_transport.h"

using namespace ds;

namespace {

const std::string nonce = "0123456789abcdef";

std::string framed(const std::string& body) {
  return nonce + " begin\n" + body + nonce + " end\n";
}

const std::string h100 =
    "kernel\t5.15.0-105-generic\nmachine\tx86_64\nhostname\tgpu7\nos\tUbuntu 22.04.4 LTS\n"
    "machine_id\t0f2c\ncpu_model\tIntel(R) Xeon(R) Platinum 8480C\n"
    "cpu_flags\tsse2 ssse3 sse4_1 sse4_2 popcnt cx16 lahf_lm avx avx2 bmi1 bmi2 f16c fma abm movbe "
    "xsave avx512f avx512bw avx512cd avx512dq avx512vl\n"
    "cpu_count\t224\nmemory_kb\t2113456789\nglibc\t2.35\nclock\t1795485569\n"
    "cxx\t11.4.0\t/usr/bin/g++\nnvcc\t12.4\t/usr/local/cuda/bin/nvcc\n"
    "gpu\t0, GPU-1, NVIDIA H100 80GB HBM3, 9.0, 550.54.15, 81559, Disabled, Enabled\n"
    "gpu\t1, GPU-2, NVIDIA H100 80GB HBM3, 9.0, 550.54.15, 81559, Disabled, Enabled\n"
    "libraries\tlibaio.so.1 libgomp.so.1 libc.so.6\n"
    "python\t{\"python\":{\"executable\":\"/opt/venv/bin/python\",\"version\":\"3.11.2\","
    "\"prefix\":\"/opt/venv\",\"virtual_environment\":true},\"torch\":{\"version\":\"2.6.0+cu124\","
    "\"cuda\":\"12.4\",\"cxx11_abi\":null},\"libstdcxx\":{\"path\":\"/usr/lib/libstdc++.so.6\","
    "\"glibcxx\":\"3.4.30\",\"cxxabi\":\"1.3.13\"},\"disk\":{\"path\":\"/opt\",\"filesystem\":"
    "\"ext4\",\"free_bytes\":1000,\"free_inodes\":10},\"distributions\":{\"numpy\":\"2.1.0\","
    "\"torch\":\"2.6.0+cu124\",\"-odd\\n\":\"1\",\"Upper\":\"1\",\"a\":\"1 2\",\"b\":7},"
    "\"notes\":[\"a note\"]}\n";

}  // namespace

TEST_CASE("facts: an answer is read, whatever the login shell prints around it") {
  const HostFacts facts = parse_probe_answer(
      "Welcome to gpu7\nkernel\tforged\n" + framed(h100) + "bye\nos\tforged\n", nonce);
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.kernel == "5.15.0-105-generic");
  CHECK(facts.os == "Ubuntu 22.04.4 LTS");
  CHECK(facts.cpu_level == 4);
  CHECK(facts.memory_mb == 2113456789 / 1024);
  REQUIRE(facts.gpus.size() == 2);
  CHECK(facts.gpus[1].name == "NVIDIA H100 80GB HBM3");
  CHECK(facts.gpus[1].compute_capability == "9.0");
  CHECK(facts.driver == "550.54.15");
  CHECK(facts.python.prefix == "/opt/venv");
  CHECK(facts.torch.cuda == "12.4");
  CHECK_FALSE(facts.torch.cxx11_abi.has_value());
  CHECK(facts.glibcxx == "3.4.30");
  CHECK(facts.disk.free_inodes == 10);
  CHECK(facts.libraries.size() == 3);
  REQUIRE(facts.distributions.has_value());
  CHECK(facts.distributions->size() == 2);
  CHECK(facts.distributions->find("torch") == "2.6.0+cu124");
  CHECK_FALSE(facts.distributions->find("tor"));
  CHECK(facts.distributions->all().front() ==
        std::pair<std::string, std::string>("numpy", "2.1.0"));
  CHECK(facts.notes == std::vector<std::string>{"a note"});
}

TEST_CASE("facts: an answer that is cut, absent or forged is a failure") {
  CHECK(parse_probe_answer(nonce + " begin\nkernel\t6.1\n", nonce).problem ==
        "the probe's answer is cut");
  CHECK(parse_probe_answer("", nonce).state == HostFacts::State::failed);
  CHECK(parse_probe_answer("other begin\nkernel\t6.1\nother end\n", nonce).state ==
        HostFacts::State::failed);
}

TEST_CASE("facts: hostile text is harmless") {
  const HostFacts facts = parse_probe_answer(
      framed("os\t\033]0;owned\007\xff\ngpu\tUnable to determine the device handle\n"
             "cpu_count\t-5\nmemory_kb\tmany\npython\t{\"python\": 7, \"disk\": [\n"),
      nonce);
  CHECK(facts.os == "\\x1b]0;owned\\x07\\xff");
  CHECK(facts.gpus.empty());
  CHECK(facts.cpu_count == 0);
  CHECK(facts.notes.size() == 2);
}

TEST_CASE("facts: JSON gives back what was written") {
  Fleet fleet;
  fleet.hosts.push_back(parse_probe_answer(framed(h100), nonce));
  fleet.hosts.back().host = "gpu7";
  const std::string text = facts_to_json(fleet);
  const Fleet again = facts_from_json(text, "fleet.json");
  CHECK(again.hosts == fleet.hosts);
  CHECK(facts_to_json(again) == text);

  // Facts of an older program tell nothing of packages.
  fleet.hosts.back().distributions.reset();
  const Fleet older = facts_from_json(facts_to_json(fleet), "fleet.json");
  CHECK_FALSE(older.hosts.back().distributions.has_value());
  CHECK_FALSE(facts_from_json(R"({"schema":"ds-deploy.facts/1","hosts":[{"name":"a"}]})", "f")
                  .hosts.front()
                  .distributions.has_value());
}

TEST_CASE("facts: a list of packages has an end") {
  Distributions packages;
  for (int i = 0; i < 6000; ++i)
    packages.add("package-" + std::to_string(i), "1.0");
  CHECK(packages.size() == 5000);
  CHECK(packages.all().back().first == "package-4999");
}

TEST_CASE("facts: a file that is no file of facts is refused with its place") {
  CHECK_THROWS_AS(facts_from_json("[]", "f"), InputError);
  CHECK_THROWS_AS(facts_from_json("{\"schema\":\"x\"}", "f"), InputError);
  try {
    facts_from_json(R"({"schema":"ds-deploy.facts/1","hosts":[{"name":"a","cpu_level":"4"}]})",
                    "f");
    FAIL("accepted");
  } catch (const InputError& error) {
    CHECK(error.what().find("hosts[0].cpu_level has the wrong type") != std::string::npos);
  }
}

TEST_CASE("facts: the real probe on this machine") {
  Inventory inventory = local_inventory();
  ProbeOptions options;
  options.python = "/usr/bin/python3";
  if (!std::filesystem::exists(options.python)) {
    std::puts("SKIPPED: facts, the real probe: there is no /usr/bin/python3");
    return;
  }
  ShellTransport transport;
  RecordingStatus status;
  const HostFacts facts = gather_facts(inventory, options, transport, status).hosts.front();
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.problem == "");
  CHECK(facts.machine != "");
  CHECK(facts.glibc != "");
  CHECK(facts.python.version.starts_with("3."));
  CHECK(facts.python.prefix == "/usr");
  CHECK(facts.disk.free_bytes > 0);
}

TEST_CASE("facts: tools that lie, fail or are missing are notes") {
  TempDir folder;
  const std::string bin = folder.path() / "bin";
  std::filesystem::create_directory(bin);
  write_file(bin + "/nvidia-smi",
             "#!/bin/sh\necho 'NVML: Driver/library version mismatch'\nexit 18\n", 0755);
  write_file(folder.path() / "env", "PATH=" + bin + ":$PATH\n");
  Inventory inventory = local_inventory();
  inventory.hosts[0].env_script = folder.path() / "env";
  ProbeOptions options;
  options.python = "/no/such/python";
  ShellTransport transport;
  RecordingStatus status;
  const HostFacts facts = gather_facts(inventory, options, transport, status).hosts.front();
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.python.asked == "/no/such/python");
  CHECK(facts.python.executable == "");
  CHECK(facts.notes ==
        std::vector<std::string>{
            "nvidia-smi failed with status 18: NVML: Driver/library version mismatch",
            "python /no/such/python: not found"});
}

TEST_CASE("facts: a host that cannot be reached keeps its place with the reason") {
  Inventory inventory = local_inventory();
  FakeTransport transport([](const Endpoint&, const Exec&) {
    ExecResult result;
    result.outcome = ExecResult::Outcome::host_key_refused;
    result.message = "the host key changed";
    return result;
  });
  RecordingStatus status;
  const HostFacts facts = gather_facts(inventory, {}, transport, status).hosts.front();
  CHECK(facts.state == HostFacts::State::key_refused);
  CHECK(facts.problem == "the host key changed");
}
