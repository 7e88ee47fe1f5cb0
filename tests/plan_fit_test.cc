// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.h"
#include "base/text.h"
#include "plan/fit.h"
#include "plan/plan.h"
#include "support/plan_fixture.h"

using namespace ds;

namespace {

/// Two hosts and a build machine with the same torch of CUDA 12.8, and an op of each kind that
/// links it.
struct TorchCase {
  OpLibrary library = small_library();
  Fleet fleet = fleet_of({{"n1", "9.0"}, {"n2", "9.0"}});
  HostFacts builder = build_machine("12.8");
  PlanOptions options;

  TorchCase() {
    library.ops[0].links_torch = library.ops[1].links_torch = true;
    for (HostFacts* host : {&fleet.hosts[0], &fleet.hosts[1], &builder}) {
      host->python.executable = "/venv/bin/python";
      host->python.prefix = "/venv";
      host->torch = {"2.9.0+cu128", "12.8", "/venv/lib/torch", true};
    }
  }
  BuildPlan plan() const { return make_plan(library, fleet, builder, options); }
  std::string because(const std::string& op = "fused_adam") const {
    for (const LeftOutOp& one : plan().left_out) {
      if (one.name == op)
        return one.because;
    }
    return {};
  }
};

std::string command(const Job& job) {
  return join(job.command.argv, " ");
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("torch ops: what they are compiled and linked with") {
  const TorchCase torch;
  const BuildPlan plan = torch.plan();
  CHECK(plan.left_out.empty());
  CHECK(plan.version == "0.1.0+g1a2b3c4d5.cu128.sm90.torch2.9.0.cu128");
  const std::string headers =
      "-isystem /venv/lib/torch/include -isystem "
      "/venv/lib/torch/include/torch/csrc/api/include -D_GLIBCXX_USE_CXX11_ABI=1";
  CHECK(has(command(plan.jobs[0]), headers + " -ffile-prefix-map=/venv/lib/torch=torch"));
  CHECK(
      has(command(plan.jobs[3]), headers + " -Xcompiler -ffile-prefix-map=/venv/lib/torch=torch"));
  CHECK(has(command(plan.jobs[3]), "-std=c++17"));
  CHECK(has(command(plan.jobs[2]), " -L/venv/lib/torch/lib -lc10 -ltorch_cpu -ltorch -lm"));
  CHECK(has(command(plan.jobs[5]), " -ltorch -lc10_cuda -ltorch_cuda -lcurand"));
  CHECK_FALSE(has(command(plan.jobs[5]), "rpath"));
  CHECK_FALSE(has(command(plan.jobs.back()), "torch"));
  CHECK(plan.ops[1].rules.torch == "2.9.0+cu128");
  CHECK(plan.ops[1].rules.cuda == "12.8");
  TorchCase newer;
  for (HostFacts* host : {&newer.fleet.hosts[0], &newer.fleet.hosts[1], &newer.builder})
    host->torch = {"2.15.0", "12.8", "/venv/lib/torch", std::nullopt};
  CHECK(has(command(newer.plan().jobs[3]), "-std=c++20"));
  CHECK_FALSE(has(command(newer.plan().jobs[3]), "CXX11_ABI"));
}

TEST_CASE("torch ops: another CUDA is refused, with both and the ways out") {
  TorchCase torch;
  torch.builder.nvcc.front().version = "13.0";
  const std::string said =
      "n1, n2: fused_adam is built with CUDA 13.0, and torch 2.9.0+cu128 of this host with CUDA "
      "12.8; set CUDA_HOME to a CUDA 12.8 toolkit, install a torch that is built with CUDA 13.0, "
      "or set DS_SKIP_CUDA_CHECK=1 to build all the same";
  CHECK(torch.because() == said);
  CHECK(torch.because("cpu_adam").empty());
  for (const char* value : {"", "0"}) {
    torch.options.environment = {{"DS_SKIP_CUDA_CHECK", value}};
    CHECK(torch.because() == said);
  }
  torch.options.environment = {{"DS_SKIP_CUDA_CHECK", "1"}};
  const BuildPlan plan = torch.plan();
  CHECK(plan.left_out.empty());
  REQUIRE(plan.notes.size() == 1);
  CHECK(plan.notes[0] ==
        "n1, n2: fused_adam is built with CUDA 13.0, and torch 2.9.0+cu128 of this host with CUDA "
        "12.8; DS_SKIP_CUDA_CHECK=1 took it all the same");
  torch.options.environment = {{"DS_SKIP_CUDA_CHECK", "yes"}};
  try {
    torch.plan();
    FAIL("yes was taken");
  } catch (const UsageError& error) {
    CHECK(error.what() == "DS_SKIP_CUDA_CHECK=yes cannot be read");
  }
  torch.options.environment = {{"DS_BUILD_FUSED_ADAM", "1"}};
  try {
    torch.plan();
    FAIL("it was not refused");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::build_failed);
    CHECK(error.what() == "an op that was asked for cannot be built: fused_adam: " + said);
  }
}

TEST_CASE("torch ops: the toolkit that fits is found") {
  TorchCase torch;
  torch.builder.nvcc = {{"/usr/local/cuda-13/bin/nvcc", "13.0"}, {"/env/bin/nvcc", "12.6"}};
  CHECK(torch.plan().nvcc == "nvcc 12.6 (/env/bin/nvcc)");
  CHECK(torch.plan().toolkits[0].because ==
        "it is not CUDA 12.8, which torch 2.9.0+cu128 is built with");
  torch.library.ops[1].links_torch = false;
  CHECK(torch.plan().nvcc == "nvcc 13.0 (/usr/local/cuda-13/bin/nvcc)");
}

TEST_CASE("torch ops: which torch, and where it is missing") {
  TorchCase torch;
  torch.fleet.hosts[1].torch.version = "2.8.0";
  CHECK(torch.because() ==
        "it links one PyTorch exactly, and the hosts have torch 2.9.0+cu128 (C++ ABI 1) on n1, "
        "2.8.0 (C++ ABI 1) on n2; install the same on all of them, or choose hosts with --limit");
  torch = {};
  torch.builder.torch = {};
  CHECK(torch.because("cpu_adam") ==
        "it needs PyTorch's headers on the build machine: the hosts have torch 2.9.0+cu128 (C++ "
        "ABI 1), and the build machine has none; install torch 2.9.0+cu128 here, in the "
        "environment that --python names");
  torch.builder.torch = {"2.8.0", "12.8", "/x/torch", true};
  CHECK(has(torch.because(), "and the build machine has torch 2.8.0 (C++ ABI 1); install"));
  torch = {};
  torch.fleet.hosts[0].torch = torch.fleet.hosts[1].torch = {};
  CHECK(torch.because() ==
        "n1, n2: fused_adam links PyTorch, and /venv has none; install torch "
        "2.9.0+cu128");
  torch.builder.torch = torch.fleet.hosts[0].torch = {};
  for (HostFacts& host : torch.fleet.hosts)
    host.python = {};
  CHECK(torch.because() ==
        "it needs PyTorch's headers, and no torch is known, neither of a host nor of the build "
        "machine; name its environment with --python");
}

TEST_CASE("torch ops: a torch without CUDA is for cpu ops") {
  TorchCase torch;
  for (HostFacts* host : {&torch.fleet.hosts[0], &torch.fleet.hosts[1], &torch.builder})
    host->torch = {"2.9.0+cpu", "", "/venv/lib/torch", true};
  CHECK(torch.because() ==
        "n1, n2: fused_adam links PyTorch's CUDA libraries, and torch 2.9.0+cpu "
        "has none; install a torch with CUDA");
  CHECK(torch.because("cpu_adam").empty());
}

TEST_CASE("torch ops: without a host that answers the build machine's torch is judged") {
  TorchCase torch;
  torch.builder.nvcc.front().version = "13.0";
  torch.fleet = {};
  torch.library.ops[1].host_needs = {"libnowhere.so.1"};
  CHECK(has(torch.because(), "builder: fused_adam is built with CUDA 13.0"));
  torch.builder.nvcc.front().version = "12.9";
  CHECK(torch.plan().left_out.empty());
}

TEST_CASE("an op that no host can run is left out, and else a note names those that cannot") {
  OpLibrary library = small_library();
  library.ops[0].host_needs = {"libaio.so.1"};
  Fleet fleet = fleet_of({{"n1", "9.0"}, {"n2", "7.5"}, {"n3", "9.0"}});
  for (HostFacts& host : fleet.hosts)
    host.libraries = {"libc.so.6"};
  const BuildPlan none = make_plan(library, fleet, build_machine(), {});
  REQUIRE(none.left_out.size() == 1);
  CHECK(none.left_out[0].because ==
        "n1, n2, n3: cpu_adam opens libaio.so.1, which this host's loader does not know; install "
        "the package that has libaio.so.1, or put its folder into LD_LIBRARY_PATH (env-script=)");
  fleet.hosts[0].libraries.emplace_back("libaio.so.1");
  const BuildPlan some = make_plan(library, fleet, build_machine(), {});
  CHECK(some.left_out.empty());
  REQUIRE(some.notes.size() == 2);
  CHECK(some.notes[0] ==
        "n2, n3: cpu_adam opens libaio.so.1, which this host's loader does not know");
  CHECK(some.notes[1] ==
        "n2: quantizer needs compute capability 8.0, and no GPU of this host has it: 7.5");
  fleet.hosts[0].state = HostFacts::State::unreachable;
  CHECK(make_plan(library, fleet, build_machine(), {}).left_out.size() == 1);
}

TEST_CASE("hosts without a GPU keep no op out") {
  Fleet fleet;
  fleet.hosts.emplace_back();
  fleet.hosts[0].host = "n1";
  fleet.hosts[0].state = HostFacts::State::reached;
  const BuildPlan plan = make_plan(small_library(), fleet, build_machine(), {});
  CHECK(plan.ops.size() == 3);
}

TEST_CASE("sources in C are compiled by CC") {
  OpLibrary library = small_library();
  library.ops[0].sources = {"a.c", "b.cc"};
  const auto first = [&library](std::map<std::string, std::string> environment) {
    return make_plan(library, {}, build_machine(""), {std::move(environment)}).jobs[0];
  };
  const Job job = first({{"CFLAGS", "-DC"}, {"CXXFLAGS", "-DCXX"}});
  CHECK(job.name == "cc cpu_adam/a.c");
  CHECK(has(command(job), "/usr/bin/gcc -std=gnu11 -O2"));
  CHECK(has(command(job), "-DC -MD"));
  CHECK(command(first({{"CXX", "ccache clang++-14"}})).starts_with("clang-14 "));
  CHECK(command(first({{"CXX", "icpx"}})).starts_with("cc "));
  CHECK(command(first({{"CC", "ccache tcc"}})).starts_with("ccache tcc -std=gnu11"));
  PlanOptions level{{{"CC", "clang"}}};
  level.cpu_level = 3;
  const BuildPlan plan = make_plan(library, {}, build_machine(""), level);
  CHECK(has(command(plan.jobs[0]), "-march=x86-64-v3"));
  CHECK_FALSE(has(command(plan.jobs[0]), "-mneeded"));
  CHECK(has(command(plan.jobs[1]), "-mneeded"));
}
