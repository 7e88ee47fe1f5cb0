// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "audit/audit.h"
#include "audit/python_tag.h"
#include "packaging/packaging.h"
#include "support/audit_fixture.h"
#include "support/audit_rows.h"

using namespace ds;

namespace {

using Row = AuditRow;
using enum Severity;

void check(const Row& row) {
  check_row(row);
}

PythonFacts python(const std::string& version, const std::string& soabi) {
  PythonFacts facts;
  facts.version = version;
  facts.soabi = soabi;
  return facts;
}

}  // namespace

TEST_CASE("audit: rules about the environment") {
  const Row rows[] = {
      {"reachable", [](auto&) {}, ok, "it answered"},
      {"environment", [](auto&) {}, ok, "Python 3.11.2 in /opt/venv"},
      {"environment", [](auto& c) { c.host().python.version = "3.7.16"; }, fail,
       "Python 3.7.16 in /opt/venv is older than 3.8"},
      {"environment", [](auto& c) { c.host().python.executable.clear(); }, fail,
       "the interpreter /opt/venv/bin/python does not exist or does not run"},
      {"environment", [](auto& c) { c.host().python = {}; }, fail,
       "no Python environment was named"},
      {"environment",
       [](auto& c) {
         c.host().python = {};
         c.options.needs_environment = false;
       },
       unknown, "no Python environment was named"},
      {"env-script", [](auto& c) { c.host().env_script_problem = "env-script /x: not found"; },
       fail, "env-script /x: not found, and every step"},
      {"externally-managed", [](auto&) {}, ok, "not the operating system's"},
      {"externally-managed", [](auto& c) { c.host().python.externally_managed = true; }, fail,
       "PEP 668"},
      {"write-permission", [](auto&) {}, ok, "can be written"},
      {"write-permission", [](auto& c) { c.host().installed.root_writable = false; }, fail,
       "user ops cannot write to both /opt/.ds-deploy/venv and"},
      {"write-permission", [](auto& c) { c.host().installed = {}; }, unknown, "not known"},
      {"disk", [](auto&) {}, ok, "needed"},
      {"disk", [](auto& c) { c.host().disk.free_bytes = 54'999'999; }, fail,
       "/opt has 55.0 MB free, and staging needs 55.0 MB"},
      {"disk", [](auto& c) { c.host().disk.free_bytes = 55'000'000; }, ok, "free"},
      {"disk", [](auto& c) { c.host().disk.free_inodes = 139; }, fail, "139 inodes free"},
      {"disk", [](auto& c) { c.host().disk.free_inodes = -1; }, ok, "free"},
      {"disk", [](auto& c) { c.host().disk.free_bytes = -1; }, unknown, "not known"},
      {"disk",
       [](auto& c) {
         c.host().disk.free_bytes = 1;
         c.host().installed.sealed = {c.wheel().sha256};
       },
       ok, "nothing has to be copied"}};
  for (const Row& row : rows)
    check(row);
}

TEST_CASE("audit: rules about the interpreter and the machine") {
  const auto tag = [](const char* text) {
    return [text](AuditCase& c) { c.wheel().python_tag = text; };
  };
  const Row rows[] = {
      {"python", tag("py3-none-linux_x86_64"), ok, "fits Python 3.11.2"},
      {"python", tag("cp311-cp311-linux_x86_64"), ok, "fits"},
      {"python", tag("cp310-cp310-linux_x86_64"), fail, "this host's Python 3.11.2 is cp311"},
      {"python", tag("cp312-abi3-linux_x86_64"), fail, "cp312-abi3"},
      {"python", tag("cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64"), ok, "fits"},
      {"python", [](auto& c) { c.wheel().requires_python = ">=3.12"; }, fail, "requires Python"},
      {"python", [](auto& c) { c.wheel().requires_python = ">=3.8,<4"; }, ok, "fits"},
      {"python", [](auto& c) { c.wheel().requires_python = "=>3.11"; }, unknown, "not known"},
      {"python", [](auto& c) { c.cpu().python = "cp310"; }, fail, "is for cp310"},
      {"python", [](auto& c) { c.host().python.executable.clear(); }, unknown, "not known"},
      {"python", [](auto& c) { c.host().python.version = "?"; }, unknown, "not known"},
      {"machine", [](auto&) {}, ok, "x86_64"},
      {"machine", [](auto& c) { c.host().machine = "aarch64"; }, fail,
       "cpu_adam is for x86_64, and this host is aarch64"},
      {"machine", tag("py3-none-win_amd64"), fail, "win_amd64"},
      {"machine", [](auto& c) { c.host().machine.clear(); }, unknown, "not known"},
      {"torch",
       [](auto& c) {
         c.cpu().links_torch = true;
         c.host().torch = {};
       },
       fail, "links PyTorch, and /opt/venv has none"},
      {"torch",
       [](auto& c) {
         c.cpu().links_torch = true;
         c.cpu().needed.push_back("libc10_cuda.so");
         c.host().torch.cuda.clear();
       },
       fail, "CUDA libraries"},
      {"torch", [](auto& c) { c.cpu().links_torch = true; }, unknown, "torch 2.6.0+cu124 is there"},
      {"torch",
       [](auto& c) {
         c.cpu().links_torch = true;
         c.host().python.executable.clear();
       },
       unknown, "not known"}};
  for (const Row& row : rows)
    check(row);
  CHECK(AuditCase().findings("torch").empty());
}

TEST_CASE("audit: rules about what PyTorch the wheel was built with") {
  const auto recorded = [](const char* accelerator, const char* torch, const char* cuda,
                           bool gpus = true) {
    return [=](AuditCase& c) {
      c.wheel().deepspeed = InstallRecord{"0.19.8", accelerator, torch, cuda, {"cpu_adam"}};
      if (!gpus)
        c.host().gpus.clear();
    };
  };
  const auto strings = [](const char* kind, std::optional<bool> host) {
    return [=](AuditCase& c) {
      c.cpu().links_torch = true;
      c.cpu().cxx_strings = kind;
      c.host().torch.cxx11_abi = host;
    };
  };
  const Row rows[] = {
      {"deepspeed-record", recorded("cuda", "2.6", "12.4"), ok, "torch 2.6 with CUDA 12.4"},
      {"deepspeed-record", recorded("cuda", "2.7", "12.4"), fail,
       "this host has torch 2.6.0+cu124 with CUDA 12.4: DeepSpeed refuses"},
      {"deepspeed-record", recorded("cuda", "2.6", "12.8"), fail, "DeepSpeed refuses"},
      {"deepspeed-record", recorded("cuda", "2.6", "12.8", false), warn, "compiles its own"},
      {"deepspeed-record", recorded("cpu", "2.6", "12.4"), fail,
       "for accelerator 'cpu', and DeepSpeed takes this host for cuda"},
      {"deepspeed-record", recorded("xpu", "2.6", "", false), warn,
       "for accelerator 'xpu', and DeepSpeed takes this host for cpu"},
      {"deepspeed-record", recorded("cpu", "2.6", "", false), ok, "torch 2.6, which is there"},
      {"deepspeed-record", recorded("cuda", "", ""), unknown, "not in DeepSpeed's own record"},
      {"deepspeed-record",
       [](AuditCase& c) {
         c.wheel().deepspeed = InstallRecord{"0.19.8", "cuda", "2.6", "12.4", {"cpu_adam"}};
         c.host().torch = {};
       },
       unknown, "which torch this host has is not known"},
      {"c++-abi", strings("cxx11", true), ok, "that of the host's torch"},
      {"c++-abi", strings("cxx11", false), fail, "of the C++11 ABI from PyTorch, and torch"},
      {"c++-abi", strings("old", true), fail, "of the ABI before GCC 5 from PyTorch"},
      {"c++-abi", strings("old", std::nullopt), unknown, "not known"},
      {"run-path", [](auto& c) { c.cpu().runpath = "$ORIGIN:/home/me/lib"; }, warn,
       "cpu_adam looks for its libraries in /home/me/lib"},
      {"run-path", [](auto& c) { c.cpu().rpath = "/opt/x"; }, warn, "/opt/x"},
      {"torch",
       [](auto& c) {
         c.cpu().links_torch = true;
         c.cpu().torch_abi = "stable";
       },
       fail, "stable ABI, which begins with torch 2.9; torch 2.6.0+cu124 is there"},
      {"torch",
       [](auto& c) {
         c.cpu().links_torch = true;
         c.cpu().torch_abi = "stable";
         c.host().torch.version = "2.10.1";
       },
       ok, "torch 2.10.1 is there"}};
  for (const Row& row : rows)
    check(row);
  for (const char* rule : {"deepspeed-record", "c++-abi", "run-path"})
    CHECK(AuditCase().findings(rule).empty());
}

TEST_CASE("audit: rules about a host among others") {
  const auto among = [](std::size_t others, std::function<void(HostFacts&)> change) {
    return [=](AuditCase& c) {
      for (std::size_t at = 0; at < others; ++at)
        c.fleet.hosts.push_back(AuditCase::good_host("other" + std::to_string(at)));
      change(c.host());
    };
  };
  const Row rows[] = {
      {"uniformity", among(2, [](HostFacts&) {}), ok,
       "torch, Python are like those of the other hosts"},
      {"uniformity", among(3, [](HostFacts& host) { host.driver = "535.1"; }), warn,
       "its NVIDIA driver is 535.1, and 3 hosts have 550.54.15"},
      {"uniformity", among(1, [](HostFacts& host) { host.torch.version = "2.7.0"; }), warn,
       "its torch is 2.7.0, and other hosts have others"},
      {"uniformity", among(2, [](HostFacts& host) { host.gpus.pop_back(); }), warn,
       "its GPUs are 1 x NVIDIA A100, and 2 hosts have 2 x NVIDIA A100"},
      // What is not known is no difference.
      {"uniformity", among(2, [](HostFacts& host) { host.torch = {}; }), ok,
       "NVIDIA driver, Python are like"},
      {"uniformity",
       among(1,
             [](HostFacts& host) {
               host.gpus.clear();
               host.driver.clear();
               host.torch = {};
               host.python = {};
             }),
       unknown, "not known"},
      {"slots", [](auto& c) { c.options.slots["node1"] = 2; }, ok, "2 slots, as many as GPUs"},
      {"slots", [](auto& c) { c.options.slots["node1"] = 8; }, warn,
       "the hostfile gives it 8 slots, and it has 2 GPUs"},
      {"slots", [](auto& c) { c.options.slots["node1"] = 1; }, warn, "1 slot, and it has 2 GPUs"},
      {"gpu-mode", [](auto&) {}, ok, "no GPU is split by MIG or runs without ECC"},
      {"gpu-mode", [](auto& c) { c.host().gpus[1].ecc.clear(); }, unknown, "is not known"},
      {"gpu-mode", [](auto& c) { c.host().gpus[0].mig = "Enabled"; }, warn,
       "1 of its 2 GPUs is split by MIG"},
      {"gpu-mode", [](auto& c) { c.host().gpus[1].ecc = "Disabled"; }, warn, "without ECC"}};
  for (const Row& row : rows)
    check(row);
  for (const char* rule : {"uniformity", "slots"})
    CHECK(AuditCase().findings(rule).empty());
}

/// What a scan found in a library, on a host whose CPU has AVX2 and FMA.
std::function<void(AuditCase&)> code_of(std::vector<InstructionSet> sets, bool asks_cpu) {
  return [=](AuditCase& c) {
    c.cpu().instructions = Instructions{true, sets, asks_cpu};
    c.host().cpu_flags = {"avx", "avx2", "fma", "sse2"};
  };
}

TEST_CASE("audit: rules about libraries and the CPU") {
  const Row rows[] = {
      {"glibc", [](auto&) {}, ok, "glibc 2.34 is needed, glibc 2.36 is there"},
      {"glibc", [](auto& c) { c.host().glibc = "2.9"; }, fail,
       "cpu_adam, fused_adam need glibc 2.34, and this host has 2.9"},
      {"glibc", [](auto& c) { c.host().glibc.clear(); }, unknown, "not known"},
      {"libstdc++", [](auto&) {}, ok, "GLIBCXX_3.4.30 is there"},
      {"libstdc++", [](auto& c) { c.host().glibcxx = "3.4.25"; }, fail,
       "cpu_adam needs GLIBCXX_3.4.29, and this host has 3.4.25"},
      {"libstdc++", [](auto& c) { c.host().cxxabi = "1.3.8"; }, fail, "CXXABI_1.3.9"},
      {"libstdc++", [](auto& c) { c.host().glibcxx = c.host().cxxabi = ""; }, unknown, "not known"},
      {"cpu-level", [](auto&) {}, ok, "no library states"},
      {"cpu-level", [](auto& c) { c.cpu().cpu_level = 3; }, ok, "the CPU has v3"},
      {"cpu-level", [](auto& c) { c.cpu().cpu_level = 4; }, fail,
       "cpu_adam needs a CPU of level x86-64-v4, and this host's is v3"},
      {"cpu-level",
       [](auto& c) {
         c.cpu().cpu_level = 4;
         c.host().cpu_level = 0;
       },
       unknown, "not known"},
      {"instructions", code_of({}, false), ok, "no extension that this CPU lacks"},
      {"instructions", code_of({{"avx2", 3, 7, "scale+0x1c"}}, false), ok,
       "no extension that this CPU lacks"},
      {"instructions", code_of({{"avx512f", 4, 7, "scale+0x1c"}, {"fma", 3, 1, "0x10"}}, false),
       warn,
       "cpu_adam has instructions that this CPU has not: avx512f (7 instructions, the first in "
       "scale+0x1c); it does not ask the CPU what it can do"},
      {"instructions", code_of({{"avx512f", 4, 1, "0x10"}}, true), warn,
       "(1 instruction, the first in 0x10); it asks the CPU (CPUID), so it may have other code"},
      // A level that the library states is for the rule cpu-level.
      {"instructions",
       [](auto& c) {
         code_of({{"avx512f", 4, 1, "0x10"}, {"fma", 3, 1, "0x20"}}, false)(c);
         c.cpu().cpu_level = 4;
       },
       ok, "no extension that this CPU lacks"},
      {"instructions",
       [](auto& c) {
         code_of({{"avx512_fp16", 0, 1, "0x10"}, {"avx512f", 4, 1, "0x10"}}, false)(c);
         c.cpu().cpu_level = 4;
       },
       warn, "this CPU has not: avx512_fp16 (1 instruction, the first in 0x10); it"},
      {"instructions",
       [](auto& c) {
         code_of({{"avx512f", 4, 1, "0x10"}}, true)(c);
         c.host().cpu_flags.clear();
       },
       unknown, "cpu_adam has instructions beyond x86-64-v1, and what this host's CPU can do"},
      {"instructions", [](auto& c) { c.cpu().instructions = Instructions{false}; }, unknown,
       "cpu_adam is not for x86-64, and only that can be scanned"},
      {"needed-libraries", [](auto&) {}, ok, "all needed libraries are there"},
      {"needed-libraries", [](auto& c) { c.cpu().needed.push_back("libaio.so.1"); }, fail,
       "cpu_adam needs libaio.so.1, which this host's loader does not know"},
      {"needed-libraries", [](auto& c) { c.cpu().opens = {"libaio.so.1"}; }, fail,
       "cpu_adam opens libaio.so.1, which this host's loader does not know"},
      {"needed-libraries",
       [](auto& c) {
         c.cpu().opens = {"libgomp.so.1", "libm.so.6"};
       },
       ok, "all"},
      {"needed-libraries", [](auto& c) { c.host().libraries.clear(); }, unknown, "not known"},
      {"needed-libraries",
       [](auto& c) {
         c.cpu().needed.push_back("libaio.so.1");
         c.cpu().runpath = "$ORIGIN:/opt/aio/lib";
       },
       unknown, "/opt/aio/lib is not known"},
      {"needed-libraries", [](auto& c) { c.cpu().needed.push_back("libfused_adam.so"); }, ok,
       "all"},
      {"needed-libraries", [](auto& c) { c.cuda().needed.push_back("libcudart.so.12"); }, ok,
       "all"},
      {"needed-libraries", [](auto& c) { c.cuda().needed.push_back("libcudart.so.11.0"); }, fail,
       "libcudart.so.11.0"},
      {"needed-libraries", [](auto& c) { c.cuda().needed.push_back("libcuda.so.1"); }, ok, "all"},
      {"needed-libraries",
       [](auto& c) {
         c.cuda().needed.push_back("libcudart.so.11.0");
         c.host().gpus.clear();
       },
       ok, "all"}};
  for (const Row& row : rows)
    check(row);
}

TEST_CASE("audit: compatibility tags") {
  const PythonFacts cp311 = python("3.11.2", "cpython-311-x86_64-linux-gnu");
  const PythonFacts free = python("3.13.1", "cpython-313t-x86_64-linux-gnu");
  const PythonFacts old = python("3.7.9", "cpython-37m-x86_64-linux-gnu");
  CHECK(tag_fits("py2.py3-none-any", cp311));
  CHECK(tag_fits("py310-none-any", cp311));
  CHECK_FALSE(tag_fits("py312-none-any", cp311));
  CHECK_FALSE(tag_fits("py2-none-any", cp311));
  CHECK(tag_fits("cp311-none-linux_x86_64", cp311));
  CHECK_FALSE(tag_fits("cp310-none-linux_x86_64", cp311));
  CHECK(tag_fits("cp37-cp37m-linux_x86_64", old));
  CHECK(tag_fits("cp313-cp313t-linux_x86_64", free));
  CHECK_FALSE(tag_fits("cp313-cp313-linux_x86_64", free));
  CHECK_FALSE(tag_fits("cp39-abi3-linux_x86_64", free));
  CHECK_FALSE(tag_fits("nonsense", cp311));
  CHECK(python_tag_of(free) == "cp313t");
  CHECK(python_tag_of({}) == "");
}

TEST_CASE("audit: version specifiers") {
  CHECK(version_fits("", "3.11.2") == true);
  CHECK(version_fits(">= 3.8 , != 3.9.*, < 4", "3.9.1") == false);
  CHECK(version_fits("!=3.9.*", "3.11.2") == true);
  CHECK(version_fits("==3.11.*", "3.11.2") == true);
  CHECK(version_fits("==3.1.*", "3.11.2") == false);
  CHECK(version_fits("~=3.8", "3.11.2") == true);
  CHECK(version_fits("~=3.8.1", "3.11.2") == false);
  CHECK(version_fits(">3.10", "3.11.2") == true);
  CHECK(version_fits("<=3.11", "3.11.2") == false);
  CHECK(version_fits("3.8", "3.11.2") == std::nullopt);
  CHECK(version_fits(">=3.8; extra", "3.11.2") == std::nullopt);
  CHECK(version_fits(">=3.*", "3.11.2") == std::nullopt);
}
