// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <set>

#include "base/file.h"
#include "plan/plan.h"
#include "support/plan_fixture.h"

namespace {

ds::BuildPlan plan_in(const std::map<std::string, std::string>& environment,
                      const ds::HostFacts& builder = ds::build_machine()) {
  return ds::make_plan(ds::small_library(), ds::fleet_of({{"n1", "9.0"}}), builder, {environment});
}

}  // namespace

TEST_CASE("plan jobs: golden") {
  CHECK(ds::listed(plan_in({{"TORCH_CUDA_ARCH_LIST", "8.0;9.0"}, {"DS_BUILD_QUANTIZER", "0"}})) ==
        ds::read_file(DS_TESTS_DIR "/data/plan/jobs"));
}

TEST_CASE("plan jobs: no two jobs write the same file") {
  ds::OpLibrary library = ds::small_library();
  library.ops[0].sources = {"a/b.cc", "a-b.cc", "x.cc", "./y.cc"};
  const ds::BuildPlan plan = ds::make_plan(library, {}, ds::build_machine(), {});
  std::set<std::filesystem::path> outputs;
  for (const ds::Job& job : plan.jobs)
    CHECK(outputs.insert(job.output).second);
  library.ops[0].flags.push_back("-DX");
  const ds::BuildPlan other = ds::make_plan(library, {}, ds::build_machine(), {});
  CHECK(other.jobs[0].output != plan.jobs[0].output);
  CHECK(other.ops[0].library != plan.ops[0].library);
}

TEST_CASE("plan jobs: what nvcc does at one time is bound by tokens, or by what it is told") {
  ds::HostFacts builder = ds::build_machine();
  const auto words_with = [&](const std::string& nvcc, const std::string& archs) {
    builder.nvcc = {{"/opt/cuda/bin/nvcc", nvcc}};
    const ds::BuildPlan plan = plan_in({{"TORCH_CUDA_ARCH_LIST", archs}}, builder);
    return ds::join(plan.jobs[3].command.argv, " ") + " #" + std::to_string(plan.jobs[3].threads);
  };
  const std::string tokens = words_with("13.0", "8.0;9.0;10.0");
  CHECK(tokens.find(" --jobserver --threads 3 ") != std::string::npos);
  CHECK(tokens.ends_with(" #1"));
  const std::string told = words_with("12.8", "8.0;9.0;10.0");
  CHECK(told.find(" --threads @THREADS@ ") != std::string::npos);
  CHECK(told.ends_with(" #3"));
  CHECK(words_with("12.8", "9.0").find("--threads") == std::string::npos);
  CHECK(words_with("13.0", "9.0").find("--threads") == std::string::npos);
}

TEST_CASE("plan jobs: CXX and CUDA_HOME choose the tools") {
  ds::HostFacts builder = ds::build_machine();
  builder.nvcc = {{"/usr/bin/nvcc", "11.8"}, {"/opt/cuda-13/bin/nvcc", "13.0"}};
  const ds::BuildPlan plan =
      plan_in({{"CXX", "ccache clang++"}, {"CUDA_HOME", "/opt/cuda-13/"}}, builder);
  CHECK(plan.compiler == "clang++ 14.0.6 (/usr/bin/clang++)");
  CHECK(plan.nvcc == "nvcc 13.0 (/opt/cuda-13/bin/nvcc)");
  CHECK(plan.jobs[0].command.argv[0] == "ccache");
  CHECK(plan.jobs[3].command.argv[0] == "/opt/cuda-13/bin/nvcc");
  CHECK(plan.jobs[3].command.argv[2] == "clang++");
  const ds::BuildPlan lost = plan_in({{"CUDA_HOME", "/nowhere"}}, builder);
  CHECK(lost.nvcc == "nvcc 13.0 (/opt/cuda-13/bin/nvcc)");
  REQUIRE(lost.notes.size() == 1);
  CHECK(lost.notes[0].find("CUDA_HOME=/nowhere") == 0);
  const ds::BuildPlan first = plan_in({{"CUDA_HOME", "/usr"}}, builder);
  CHECK(ds::join(first.jobs[4].command.argv, " ").find("-I/usr/include") == std::string::npos);
  CHECK(plan_in({{"CXX", "/opt/gcc/bin/g++-13"}}).compiler == "/opt/gcc/bin/g++-13");
}

TEST_CASE("plan jobs: the tag names the build machine's kind") {
  ds::HostFacts builder = ds::build_machine("");
  builder.machine = "aarch64";
  CHECK(plan_in({}, builder).tag == "py3-none-linux_aarch64");
}
