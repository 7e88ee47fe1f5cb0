// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "facts/facts.h"
#include "facts/gpu_names.h"
#include "facts/probe_answer.h"

using namespace ds;

namespace {

const std::string nonce = "00112233445566778899aabbccddeeff";

std::string recorded_text(const std::string& name) {
  return read_file(std::filesystem::path(DS_TESTS_DIR) / "data/facts" / (name + ".answer"));
}

HostFacts recorded(const std::string& name) {
  HostFacts facts = parse_probe_answer(recorded_text(name), nonce);
  facts.host = name;
  return facts;
}

HostFacts answer(const std::string& body) {
  return parse_probe_answer(nonce + " begin\n" + body + "\n" + nonce + " end\n", nonce);
}

std::string problem_of(const std::string& json) {
  try {
    facts_from_json(json, "fleet.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

std::string problem_of_host(const std::string& fields) {
  return problem_of(R"({"schema":"ds-deploy.facts/1","hosts":[{"name":"a",)" + fields + "}]}");
}

}  // namespace

TEST_CASE("facts: eight H100 under Ubuntu 22.04") {
  const HostFacts facts = recorded("h100-ubuntu2204");
  REQUIRE(facts.state == HostFacts::State::reached);
  CHECK(facts.os == "Ubuntu 22.04.4 LTS");
  CHECK(facts.cpu_level == 4);
  CHECK(facts.cpu_count == 224);
  CHECK(facts.gpus.size() == 8);
  CHECK(facts.gpus[7].index == 7);
  CHECK(facts.gpus[7].compute_capability == "9.0");
  CHECK(facts.gpus[7].memory_mb == 81559);
  CHECK(facts.gpus[7].ecc == "Enabled");
  CHECK(facts.driver == "550.54.15");
  CHECK(facts.nvcc.size() == 3);
  CHECK(facts.nvcc[2] == Tool{"/usr/local/cuda-11.8/bin/nvcc", "11.8"});
  CHECK(facts.cxx.size() == 2);
  CHECK(facts.python.virtual_environment);
  CHECK(facts.torch.cxx11_abi == true);
  CHECK(facts.installed.hook);
  CHECK(facts.installed.active == std::vector<std::string>{std::string(64, 'b')});
  CHECK(facts.installed.packages.at("ds_ops").starts_with("0.1.0+g1a2b3c4d5.cu124 /opt"));
  CHECK(facts.notes.empty());
  CHECK(facts.gpus_on_bus == 8);
  REQUIRE(facts.xids);
  CHECK(*facts.xids == std::vector<Xid>{{63, "0000:3b:00", 2}});
  CHECK(facts.nvidia.cuda == "12.4");
  CHECK(facts.gpus[0].processes == std::vector<std::string>{"python3 of train (31337)"});
  CHECK(facts.gpus[7].processes == std::vector<std::string>());
  CHECK(facts.shared_memory.bytes == 1082128842752);
  CHECK(facts.jit.locks == std::vector<std::string>{"py310_cu124/fused_adam"});
  CHECK(facts.earlier_modules->at("tokens") == "/home/train/src");
  CHECK(facts.runtime.size() == 2);
  CHECK(facts.disk.noexec == false);
}

TEST_CASE("facts: every toolkit once, with its headers, also those of the environment") {
  const HostFacts facts = answer(
      "nvcc\t13.0\t/usr/local/cuda/bin/nvcc\t/usr/local/cuda/include\n"
      "python\t{\"nvcc\":[{\"path\":\"/usr/local/cuda/bin/nvcc\",\"version\":\"1.0\"},"
      "{\"path\":\"/env/bin/nvcc\",\"version\":\"12.8\\u001b[31m\",\"include\":\"/env/x\"}]}");
  REQUIRE(facts.nvcc.size() == 2);
  CHECK(facts.nvcc[0] == Tool{"/usr/local/cuda/bin/nvcc", "13.0", "/usr/local/cuda/include"});
  CHECK(facts.nvcc[1].path == "/env/bin/nvcc");
  CHECK(facts.nvcc[1].version.find('\x1b') == std::string::npos);
  CHECK(facts.nvcc[1].include == "/env/x");
  CHECK(facts_from_json(facts_to_json({{[&facts] {
                          HostFacts named = facts;
                          named.host = "a";
                          return named;
                        }()}}),
                        "f")
            .hosts[0]
            .nvcc == facts.nvcc);
}

TEST_CASE("facts: an old driver does not say the compute capability, the name does") {
  const HostFacts facts = recorded("t4-centos8");
  REQUIRE(facts.gpus.size() == 2);
  CHECK(facts.gpus[0].compute_capability == "7.5");
  CHECK(facts.glibc == "2.28");
  CHECK(facts.cpu_level == 3);
  CHECK(facts.boot_id.empty());
  CHECK_FALSE(facts.torch.cxx11_abi.has_value());
  CHECK(facts.disk.free_inodes == -1);
  // conda's own folder and the loader's list, each name once.
  CHECK(facts.libraries == std::vector<std::string>{"libaio.so.1", "libc.so.6", "libcuda.so.1",
                                                    "libgomp.so.1", "libm.so.6", "libstdc++.so.6"});
  CHECK(capability_of_name("Tesla V100-SXM2-16GB") == "7.0");
  CHECK(capability_of_name("NVIDIA A100-SXM4-40GB") == "8.0");
  CHECK(capability_of_name("Quadro P400") == "");
}

TEST_CASE("facts: a host without a GPU, and its own Python") {
  const HostFacts facts = recorded("cpu-debian12");
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.gpus.empty());
  CHECK(facts.driver == "");
  CHECK(facts.python.externally_managed);
  CHECK(facts.torch == TorchFacts());
  CHECK_FALSE(facts.installed.root_writable);
}

TEST_CASE("facts: a tool that hangs is a note, and the rest is known") {
  const HostFacts facts = recorded("hanging-nvidia-smi");
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.driver == "535.104.05");
  CHECK(facts.gpus.empty());
  CHECK(facts.python.executable == "");
  CHECK(facts.disk.free_bytes == -1);
  CHECK(facts.notes == std::vector<std::string>{"nvidia-smi gave no answer in 10 s",
                                                "python /opt/venv/bin/python: not found"});
}

TEST_CASE("facts: every recorded answer survives JSON") {
  Fleet fleet;
  for (const char* name : {"h100-ubuntu2204", "t4-centos8", "cpu-debian12", "hanging-nvidia-smi"})
    fleet.hosts.push_back(recorded(name));
  fleet.hosts.push_back({});
  fleet.hosts.back().host = "gone";
  fleet.hosts.back().state = HostFacts::State::login_refused;
  fleet.hosts.back().problem = "no key was accepted";
  fleet.hosts.back().seconds = 0.25;
  const Fleet again = facts_from_json(facts_to_json(fleet), "fleet.json");
  CHECK(again.hosts == fleet.hosts);
  CHECK(again.find("gone") == &again.hosts.back());
  CHECK(again.find("nobody") == nullptr);
}

TEST_CASE("facts: an answer cut anywhere is never taken for a whole one") {
  const std::string whole = recorded_text("hanging-nvidia-smi");
  const std::size_t end = whole.rfind(nonce + " end") + nonce.size() + 4;
  for (std::size_t length = 0; length < end; ++length) {
    const HostFacts facts = parse_probe_answer(whole.substr(0, length), nonce);
    REQUIRE(facts.state == HostFacts::State::failed);
    REQUIRE_FALSE(facts.problem.empty());
  }
  CHECK(parse_probe_answer(whole.substr(0, end), nonce).state == HostFacts::State::reached);
}

TEST_CASE("facts: noise inside the frame and frames with other nonces are passed over") {
  const HostFacts facts = answer(
      "You have mail.\nkernel\t6.1\r\n\n00000000000000000000000000000000 end\n"
      "ffff begin\nnosuchkey\tvalue\n\tvalue\nx" +
      nonce + " end\nos\tDebian");
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.kernel == "6.1");
  CHECK(facts.os == "Debian");
}

TEST_CASE("facts: hostile answers stay small, clean and in range") {
  std::string body = "kernel\t\033[2J" + std::string(100000, 'k') + "\n";
  for (int i = 0; i < 1000; ++i) {
    const std::string number = std::to_string(i);
    body += "note\tn" + number + "\ncxx\t1\t/" + number + "\ngpu\t" + number +
            ", GPU-x, \xe2\x80\xaename, 9.0, 1, 99999999999999999999, a, b\n";
  }
  body += "cpu_count\t99999999999\ncpu_flags\t" + std::string(1 << 20, ' ') + "\n";
  const HostFacts facts = answer(body);
  CHECK(facts.state == HostFacts::State::reached);
  CHECK(facts.kernel.size() < 500);
  CHECK(facts.kernel.starts_with("\\x1b[2J"));
  CHECK(facts.notes.size() == 64);
  CHECK(facts.cxx.size() == 32);
  CHECK(facts.gpus.size() == 64);
  CHECK(facts.gpus[0].name == "\xEF\xBF\xBDname");
  CHECK(facts.gpus[0].memory_mb == 0);
  CHECK(facts.cpu_count == 0);
  CHECK(facts.cpu_level == 0);
}

TEST_CASE("facts: the interpreter's answer may have any shape") {
  for (const char* json :
       {"", "7", "[]", "{", "{\"python\":[]}", "{\"disk\":{\"free_bytes\":1e300}}",
        "{\"disk\":{\"free_bytes\":18446744073709551615}}", "{\"torch\":{\"cxx11_abi\":3}}",
        "{\"python\":{\"virtual_environment\":\"yes\"}}", "{\"installed\":{\"packages\":[1]}}",
        "{\"notes\":{}}", "{\"libstdcxx\":{\"path\":4}}",
        "{\"python\":{\"version\":\"\\ud800\"}}"}) {
    CAPTURE(std::string(json));
    const HostFacts facts = answer(std::string("python\t") + json);
    CHECK(facts.state == HostFacts::State::reached);
    CHECK(facts.notes.size() == 1);
    CHECK(facts.disk.free_bytes == -1);
  }
  CHECK(answer("python\t" + std::string(100000, '[')).notes.size() == 1);
}

TEST_CASE("facts: x86-64 levels") {
  const auto level = [](const std::string& flags) {
    return answer("cpu_flags\t" + flags).cpu_level;
  };
  CHECK(level("") == 0);
  CHECK(level("fp asimd evtstrm aes") == 0);
  CHECK(level("sse sse2") == 1);
  CHECK(level("sse sse2 cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx avx2") == 2);
  CHECK(recorded("cpu-debian12").cpu_level == 3);
  // Flags of v4 without those of v3 are no level 4.
  CHECK(level("sse2 cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx512f avx512bw avx512cd avx512dq "
              "avx512vl") == 2);
}

TEST_CASE("facts: a file of facts is refused with file and place") {
  CHECK(problem_of_host("\"disk\":{\"free_bytes\":\"many\"}")
            .find("fleet.json: hosts[0].disk.free_bytes has the wrong type") == 0);
  CHECK(problem_of_host("\"gpus\":[{},{\"index\":1.5}]").find("hosts[0].gpus[1].index") !=
        std::string::npos);
  CHECK(problem_of_host("\"cpu_count\":4294967296").find("hosts[0].cpu_count") !=
        std::string::npos);
  CHECK(problem_of_host("\"state\":\"fine\"").find("hosts[0].state is no state") !=
        std::string::npos);
  CHECK(problem_of_host("\"notes\":\"x\"").find("hosts[0].notes is no list") != std::string::npos);
  CHECK(problem_of_host("\"python\":null").find("hosts[0].python is no object") !=
        std::string::npos);
  CHECK(problem_of_host("\"cpu_level\":3") == "accepted");
  CHECK(problem_of("{").find("is no JSON object") != std::string::npos);
  CHECK(problem_of(R"({"schema":"ds-deploy.facts/1","hosts":[{}]})")
            .find("hosts[0].name is missing") != std::string::npos);
  CHECK(problem_of(R"({"schema":"ds-deploy.facts/1","hosts":[{"name":"a"},{"name":"a"}]})")
            .find("hosts[1].name is a once more") != std::string::npos);
}
