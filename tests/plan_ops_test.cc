// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.h"
#include "plan/plan.h"
#include "support/plan_fixture.h"

namespace {

using Environment = std::map<std::string, std::string>;

ds::BuildPlan plan_with(const Environment& environment,
                        const ds::HostFacts& builder = ds::build_machine()) {
  return ds::make_plan(ds::small_library(), ds::fleet_of({{"n1", "9.0"}}), builder, {environment});
}

std::string ops_of(const ds::BuildPlan& plan) {
  std::string names;
  for (const ds::PlannedOp& op : plan.ops)
    names += op.name + " ";
  return names;
}

std::string built(const Environment& environment) {
  return ops_of(plan_with(environment));
}

struct Refusal {
  std::string text, fix;
  ds::ExitStatus status = ds::ExitStatus::ok;
};

Refusal refusal(const Environment& environment,
                const ds::HostFacts& builder = ds::build_machine()) {
  try {
    plan_with(environment, builder);
  } catch (const ds::Error& error) {
    return {error.what(), error.fix(), error.status()};
  }
  return {};
}

std::string version(const Environment& environment) {
  return plan_with(environment).version;
}

}  // namespace

TEST_CASE("plan: which ops DS_BUILD_OPS and DS_BUILD_<OP> ask for") {
  const std::string all = "cpu_adam fused_adam quantizer ";
  CHECK(built(Environment{}) == all);
  CHECK(built({{"DS_BUILD_OPS", ""}, {"DS_BUILD_CPU_ADAM", ""}}) == all);
  CHECK(built({{"DS_BUILD_OPS", "1"}}) == all);
  CHECK(built({{"DS_BUILD_OPS", "1"}, {"DS_BUILD_FUSED_ADAM", "0"}}) == "cpu_adam quantizer ");
  CHECK(built({{"DS_BUILD_FUSED_ADAM", "0"}}) == "cpu_adam quantizer ");
  CHECK(built({{"DS_BUILD_CPU_ADAM", "1"}}) == "cpu_adam ");
  CHECK(built({{"DS_BUILD_OPS", "0"}, {"DS_BUILD_CPU_ADAM", "1"}}) == "cpu_adam ");
  CHECK(built({{"DS_BUILD_OPS", "1"}, {"DS_BUILD_CPU_ADAM", "1"}}) == all);
}

TEST_CASE("plan: every op that is left out says why") {
  const ds::BuildPlan plan = plan_with({{"DS_BUILD_FUSED_ADAM", "0"}}, ds::build_machine(""));
  CHECK(ops_of(plan) == "cpu_adam ");
  REQUIRE(plan.left_out.size() == 2);
  CHECK(plan.left_out[0].name == "fused_adam");
  CHECK(plan.left_out[0].because == "DS_BUILD_FUSED_ADAM=0");
  CHECK(plan.left_out[1].because ==
        "no nvcc was found on the build machine (CUDA_HOME, PATH, /usr/local/cuda, the target "
        "environment)");
  CHECK(plan.nvcc.empty());
  CHECK(plan.cuda.empty());
  CHECK(plan.archs.empty());
  const ds::BuildPlan one = plan_with({{"DS_BUILD_CPU_ADAM", "1"}});
  CHECK(one.left_out[0].because == "other ops were asked for by name");
  CHECK(one.jobs[0].because == "op cpu_adam is built because DS_BUILD_CPU_ADAM=1 asks for it");
}

TEST_CASE("plan: switches that cannot be read") {
  for (const std::string value : {"true", "2", "01", " 1", "yes"}) {
    CAPTURE(value);
    CHECK(refusal({{"DS_BUILD_OPS", value}}).status == ds::ExitStatus::usage);
    CHECK(refusal({{"DS_BUILD_CPU_ADAM", value}}).text ==
          "DS_BUILD_CPU_ADAM=" + std::string(value == " 1" ? "1" : value) + " cannot be read");
  }
}

TEST_CASE("plan: nothing left, asked for in vain, no compiler") {
  const Refusal none = refusal({{"DS_BUILD_OPS", "0"}});
  CHECK(none.status == ds::ExitStatus::build_failed);
  CHECK(none.text.find("nothing is left to build: cpu_adam: DS_BUILD_OPS=0") == 0);
  const Refusal asked = refusal({{"DS_BUILD_FUSED_ADAM", "1"}}, ds::build_machine(""));
  CHECK(asked.status == ds::ExitStatus::build_failed);
  CHECK(asked.text.find("fused_adam: no nvcc was found") != std::string::npos);
  ds::HostFacts bare = ds::build_machine();
  bare.cxx.clear();
  CHECK(refusal({}, bare).status == ds::ExitStatus::build_failed);
  CHECK(refusal({}, bare).text.find("no C++ compiler was found") == 0);
  CHECK(refusal({}, bare).fix.find("apt install g++") != std::string::npos);
}

TEST_CASE("plan: variables that belong to no op") {
  const ds::BuildPlan plan = plan_with({{"DS_BUILD_CPU_ADM", "0"}, {"DS_BUILD_JOBS", "8"}});
  REQUIRE(plan.notes.size() == 2);
  CHECK(plan.notes[0] == "DS_BUILD_CPU_ADM=0 belongs to no op; did you mean 'DS_BUILD_CPU_ADAM'?");
  const Refusal slip = refusal({{"DS_BUILD_CPU_ADM", "1"}});
  CHECK(slip.status == ds::ExitStatus::build_failed);
  CHECK(slip.text == "DS_BUILD_CPU_ADM=1 asks for an op that does not exist");
  CHECK(slip.fix == "did you mean 'DS_BUILD_CPU_ADAM'?");
}

TEST_CASE("plan: the version says what was built from what") {
  CHECK(version({}) == "0.1.0+g1a2b3c4d5.cu130.sm90");
  CHECK(version({{"DS_BUILD_CPU_ADAM", "1"}}) == "0.1.0+g1a2b3c4d5.cpu");
  CHECK(version({{"TORCH_CUDA_ARCH_LIST", "8.0;9.0a"}}) == "0.1.0+g1a2b3c4d5.cu130.sm80.sm90a");
  CHECK(version({{"DS_BUILD_STRING", "+Release-007_x"}}) == "0.1.0+release.7.x.cu130.sm90");
  CHECK(version({{"DS_BUILD_STRING", ".dev000"}}) == "0.1.0+dev000.cu130.sm90");
  CHECK(version({{"DS_BUILD_STRING", "000"}}) == "0.1.0+0.cu130.sm90");
  CHECK(version({{"DS_BUILD_STRING", " "}}) == "0.1.0+cu130.sm90");
  CHECK(refusal({{"DS_BUILD_STRING", "a b"}}).status == ds::ExitStatus::usage);
  CHECK(refusal({{"DS_BUILD_STRING", "a..b"}}).status == ds::ExitStatus::usage);
  ds::OpLibrary library = ds::small_library();
  library.dirty = true;
  CHECK(ds::make_plan(library, {}, ds::build_machine(""), {}).version ==
        "0.1.0+g1a2b3c4d5.d01234567.cpu");
  library.commit.clear();
  library.dirty = false;
  CHECK(ds::make_plan(library, {}, ds::build_machine(""), {}).version == "0.1.0+s012345678.cpu");
}
