// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/text.h"
#include "plan/cpu_level.h"
#include "plan/toolkit.h"
#include "support/plan_fixture.h"

using namespace ds;

namespace {

const std::vector<Tool> three = {{"/usr/local/cuda-11.8/bin/nvcc", "11.8"},
                                 {"/opt/venv/lib/nvidia/cu13/bin/nvcc", "13.0"},
                                 {"/usr/local/cuda-12.8/bin/nvcc", "12.8"}};

ToolkitNeeds needs(const std::string& compiler = "/usr/bin/g++",
                   const std::string& version = "11.4.0") {
  ToolkitNeeds all;
  all.compiler = host_compiler(compiler, {{compiler, version}});
  return all;
}

std::string judged(const ToolkitNeeds& all, const std::string& home = "",
                   const std::vector<Tool>& tools = three) {
  std::string text;
  for (const JudgedToolkit& one : judge_toolkits(tools, home, all))
    text += (one.chosen ? "*" : " ") + one.tool.version + " " + one.because + "\n";
  return text;
}

}  // namespace

TEST_CASE("toolkits: the newest, where nothing is in the way") {
  CHECK(judged(needs()) ==
        " 11.8 CUDA 13.0 is newer\n"
        "*13.0 it is the newest without an obstacle\n"
        " 12.8 CUDA 13.0 is newer\n");
  CHECK(judged(needs(), "", {{"/a/bin/nvcc", "12.8"}, {"/b/bin/nvcc", "12.8"}}) ==
        "*12.8 it is the newest without an obstacle\n"
        " 12.8 it was found later\n");
  CHECK(judged(needs(), "", {three[0]}) == "*11.8 it is the only one\n");
  CHECK(judged(needs(), "", {}).empty());
}

TEST_CASE("toolkits: CUDA_HOME wins, and what is against it is told") {
  ToolkitNeeds all = needs();
  CHECK(judged(all, "/usr/local/cuda-11.8/") ==
        "*11.8 CUDA_HOME names it\n"
        " 13.0 CUDA_HOME names another\n"
        " 12.8 CUDA_HOME names another\n");
  all.archs = {{100}, {120}};
  CHECK(judged(all, "/usr/local/cuda-11.8") ==
        "*11.8 CUDA_HOME names it, though it cannot compile for 10.0, 12.0\n"
        " 13.0 CUDA_HOME names another\n"
        " 12.8 CUDA_HOME names another\n");
}

TEST_CASE("toolkits: architectures, drivers and PyTorch") {
  ToolkitNeeds all = needs();
  all.archs = {{70}, {90}};
  CHECK(judged(all) ==
        " 11.8 CUDA 12.8 is newer\n"
        " 13.0 it cannot compile for 7.0\n"
        "*12.8 it is the newest without an obstacle\n");
  all = needs();
  all.drivers = {{"n1", "570.26"}, {"n2", "580.65.06"}};
  CHECK(judged(all) ==
        " 11.8 CUDA 12.8 is newer\n"
        " 13.0 it needs NVIDIA driver 580.65.06, and n1 has 570.26\n"
        "*12.8 it is the newest without an obstacle\n");
  all = needs();
  all.torch.version = "2.9.0+cu128";
  all.torch.cuda = "12.8";
  CHECK(judged(all) ==
        " 11.8 it is not CUDA 12.8, which torch 2.9.0+cu128 is built with\n"
        " 13.0 it is not CUDA 12.8, which torch 2.9.0+cu128 is built with\n"
        "*12.8 it is the newest without an obstacle\n");
}

TEST_CASE("toolkits: the host compiler") {
  CHECK(judged(needs("/usr/bin/g++", "12.2.0"))
            .find(" 11.8 it takes GCC up to 11, and /usr/bin/g++ is 12.2.0\n") == 0);
  CHECK(judged(needs("clang++-16", "16.0.6"))
            .find(" 11.8 it takes clang up to 14, and clang++-16 is 16.0.6\n") == 0);
  // A compiler that is refused makes nothing: that weighs more than any architecture.
  ToolkitNeeds all = needs("g++-14", "14.2.0");
  all.archs = {{50}, {60}, {70}};
  const std::vector<Tool> tools = {{"/a/bin/nvcc", "12.6"}, {"/b/bin/nvcc", "13.0"}};
  CHECK(judged(all, "", tools) ==
        " 12.6 it takes GCC up to 13, and g++-14 is 14.2.0\n"
        "*13.0 no other has fewer obstacles, though it cannot compile for 5.0, 6.0, 7.0\n");
  const JudgedToolkit refused = judge_toolkits({tools[0]}, "", all).front();
  REQUIRE(refused.warnings.size() == 1);
  CHECK(refused.warnings[0] == "CUDA 12.6 takes GCC up to 13, and g++-14 is 14.2.0");
  // What is not known is no obstacle.
  CHECK(judged(needs("/opt/icpx", "99.0"), "", {three[0]}) == "*11.8 it is the only one\n");
  CHECK(judged(needs("g++", ""), "", {three[0]}) == "*11.8 it is the only one\n");
  CHECK(judged(needs("g++", "99.1"), "", {{"/x/bin/nvcc", "99.0"}}) ==
        "*99.0 it is the only one\n");
}

TEST_CASE("toolkits: headers that lie apart are named to both compilers") {
  HostFacts builder = build_machine("");
  builder.nvcc = {{"/env/bin/nvcc", "13.0", "/env/targets/x86_64-linux/include"}};
  const BuildPlan plan = make_plan(small_library(), fleet_of({{"n1", "9.0"}}), builder, {});
  const std::string flag = "-I/env/targets/x86_64-linux/include";
  CHECK(join(plan.jobs[3].command.argv, " ").find(flag) != std::string::npos);
  CHECK(join(plan.jobs[4].command.argv, " ").find(flag) != std::string::npos);
}

namespace {

Fleet fleet_with_levels(std::initializer_list<int> levels) {
  Fleet fleet;
  for (const int level : levels) {
    HostFacts host;
    host.host = "n" + std::to_string(fleet.hosts.size() + 1);
    host.state = HostFacts::State::reached;
    host.cpu_level = level;
    fleet.hosts.push_back(host);
  }
  return fleet;
}

}  // namespace

TEST_CASE("cpu level: what all hosts that answered share") {
  const HostCompiler gcc = host_compiler("g++", {{"/usr/bin/g++", "12.2.0"}});
  const auto level = [&gcc](const Fleet& fleet, int asked = 0) {
    return choose_cpu_level(asked, fleet, build_machine(), gcc);
  };
  CHECK(level(fleet_with_levels({4, 3})).level == 3);
  CHECK(level(fleet_with_levels({4, 0})).level == 1);
  CHECK(level({}).level == 1);
  CHECK(level({}).flags.empty());
  Fleet away = fleet_with_levels({4, 2});
  away.hosts[1].state = HostFacts::State::unreachable;
  CHECK(level(away).level == 4);
  CHECK(join(level(away).flags, " ") == "-march=x86-64-v4 -mneeded");
  CHECK(level(away).notes.empty());
  const CpuLevel above = level(fleet_with_levels({4, 3, 2}), 4);
  REQUIRE(above.notes.size() == 1);
  CHECK(above.notes[0] ==
        "--cpu-level 4 is above what the CPU of n2 (x86-64-v3), n3 (x86-64-v2) can do: the ops do "
        "not load there");
  CHECK(level(fleet_with_levels({4}), 1).flags.empty());
}

TEST_CASE("cpu level: compilers and machines") {
  const Fleet fleet = fleet_with_levels({3});
  const auto flags = [&fleet](const std::string& compiler, const std::string& version) {
    return join(
        choose_cpu_level(0, fleet, build_machine(), host_compiler(compiler, {{compiler, version}}))
            .flags,
        " ");
  };
  CHECK(flags("clang++-14", "14.0.6") == "-march=x86-64-v3");
  CHECK(flags("g++-11", "11.4.0") == "-march=x86-64-v3");
  CHECK(flags("/opt/bin/c++", "12.2.0") == "-march=x86-64-v3");
  CHECK(flags("g++-10", "10.2.1").empty());
  CHECK(flags("clang++-11", "11.0.1").empty());
  HostFacts builder = build_machine();
  builder.machine = "aarch64";
  const CpuLevel arm = choose_cpu_level(3, fleet, builder, {});
  CHECK(arm.level == 1);
  CHECK(arm.notes.front() == "--cpu-level 3 has no meaning on aarch64");
}

TEST_CASE("cpu level: flags of every compile, and the version") {
  PlanOptions options;
  options.cpu_level = 3;
  options.environment = {{"CXXFLAGS", "-march=x86-64-v2"}};
  const BuildPlan plan = make_plan(small_library(), {}, build_machine(), options);
  CHECK(plan.version.ends_with(".v3"));
  const std::string cxx = join(plan.jobs[0].command.argv, " ");
  const std::size_t ours = cxx.find("-march=x86-64-v3 -mneeded"), own = cxx.find("-O3 -fopenmp"),
                    users = cxx.find("-march=x86-64-v2");
  CHECK(ours < own);
  CHECK(own < users);
  CHECK(users != std::string::npos);
  CHECK(join(plan.jobs[3].command.argv, " ")
            .find("-Xcompiler=-march=x86-64-v3 -Xcompiler=-mneeded") != std::string::npos);
  CHECK(join(plan.jobs[2].command.argv, " ").find("-march") == std::string::npos);
}
