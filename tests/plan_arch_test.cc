// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.h"
#include "base/text.h"
#include "plan/arch_list.h"
#include "support/plan_fixture.h"

namespace {

std::string parsed(const std::string& text) {
  return ds::join(ds::parse_arch_list(text), " ");
}

ds::BuildPlan plan_for(const ds::Fleet& fleet, const std::string& nvcc,
                       const std::string& asked = "") {
  return ds::make_plan(ds::small_library(), fleet, ds::build_machine(nvcc),
                       {{{"TORCH_CUDA_ARCH_LIST", asked}}});
}

/// What nvcc of `toolkit` compiles for, of everything that has a name.
std::string makes(const std::string& toolkit) {
  std::string names;
  for (int number = 30; number < 130; ++number) {
    for (const char suffix : {'\0', 'a', 'f'}) {
      const ds::Arch arch{number, suffix, false};
      if (ds::nvcc_makes(toolkit, arch))
        names += ds::to_string(arch) + " ";
    }
  }
  return names;
}

std::string archs_of(const ds::BuildPlan& plan, const std::string& op) {
  for (const ds::PlannedOp& planned : plan.ops) {
    if (planned.name == op)
      return ds::join(planned.archs, " ");
  }
  return "left out";
}

}  // namespace

TEST_CASE("arch list: as PyTorch reads it") {
  CHECK(parsed("8.0;9.0") == "80 90");
  CHECK(parsed("9.0a+PTX 8.0, 8.0") == "80 90a 90a+PTX");
  CHECK(parsed("Ampere") == "80 86 86+PTX");
  CHECK(parsed("Hopper;12.0f;10.0") == "90 90+PTX 100 120f");
  CHECK(parsed("Ampere+Tegra") == "87");
  CHECK(parsed("") == "");
  CHECK(parsed(" ; ") == "");
  for (const std::string wrong : {"8", "8.x", "sm_80", "8.0b", "+PTX", "8.0+ptx", "ampere", ".0",
                                  "8.", "-8.0", "8.00", "8.0\x1b[1m", "999999999999.0"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(parsed(wrong), ds::UsageError);
  }
}

TEST_CASE("arch list: what each toolkit compiles for, as nvcc prints it") {
  CHECK(makes("11.8") == "35 37 50 52 53 60 61 62 70 72 75 80 86 87 89 90 ");
  CHECK(makes("12.4") == "50 52 53 60 61 62 70 72 75 80 86 87 89 90 90a ");
  CHECK(makes("13.0.88") ==
        "75 80 86 87 88 89 90 90a 100 100a 100f 103 103a 103f 110 110a 110f 120 120a 120f 121 121a "
        "121f ");
  CHECK(ds::nvcc_makes("14.1", ds::Arch{130}));
  CHECK_FALSE(ds::nvcc_makes("14.1", ds::Arch{70}));
}

TEST_CASE("arch list: the union of the fleet, PTX of the highest") {
  const ds::BuildPlan plan = plan_for(
      ds::fleet_of({{"n1", "9.0"}, {"n2", "9.0"}, {"n3", "9.0"}, {"n4", "9.0"}, {"n5", "8.0"}}),
      "13.0");
  CHECK(plan.archs == std::vector<std::string>{"80", "90"});
  CHECK(plan.archs_because == "8.0 on n5, 9.0 on n1, n2 and 2 more; PTX of 9.0 for newer GPUs");
  const std::string command = ds::join(plan.jobs[3].command.argv, " ");
  CHECK(command.find("-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90 "
                     "-gencode=arch=compute_90,code=compute_90") != std::string::npos);
  CHECK(plan.jobs[3].because ==
        "op fused_adam is built because every compatible op is; needs sm_80, sm_90: " +
            plan.archs_because);
  CHECK(plan.notes.empty());
}

TEST_CASE("arch list: the fleet has what this nvcc or an op cannot") {
  const ds::BuildPlan plan =
      plan_for(ds::fleet_of({{"old", "7.0"}, {"t4", "7.5"}, {"a100", "8.0"}}), "13.0");
  CHECK(archs_of(plan, "fused_adam") == "75 80");
  CHECK(archs_of(plan, "quantizer") == "80");
  REQUIRE(plan.notes.size() == 3);
  CHECK(plan.notes[0] == "nvcc 13.0 cannot compile for 7.0, the GPUs of old");
  CHECK(plan.notes[1] ==
        "old: quantizer needs compute capability 8.0, and no GPU of this host has it: 7.0");
  CHECK(plan.notes[2] ==
        "t4: quantizer needs compute capability 8.0, and no GPU of this host has it: 7.5");
  const ds::BuildPlan asked = plan_for({}, "13.0", "7.5;8.0");
  REQUIRE(asked.notes.size() == 1);
  CHECK(asked.notes[0] == "op quantizer is not compiled for 7.5: its minimum is 8.0");
  const ds::BuildPlan old = plan_for(ds::fleet_of({{"old", "7.0"}}), "13.0");
  CHECK(archs_of(old, "fused_adam") == "left out");
  CHECK(old.left_out[0].because == "nvcc 13.0 cannot compile for any GPU of the hosts");
  CHECK(old.version == "0.1.0+g1a2b3c4d5.cpu");
  const ds::BuildPlan t4 = plan_for(ds::fleet_of({{"t4", "7.5"}}), "13.0");
  CHECK(archs_of(t4, "quantizer") == "left out");
  CHECK(t4.left_out[0].because ==
        "t4: quantizer needs compute capability 8.0, and no GPU of this host has it: 7.5; build "
        "without quantizer");
  CHECK(plan_for({}, "13.0", "7.5").left_out[0].because ==
        "it needs compute capability 8.0, and the arch list ends at 7.5");
  CHECK(t4.archs == std::vector<std::string>{"75"});
}

TEST_CASE("arch list: no GPU anywhere gives a stated default") {
  const ds::BuildPlan plan = plan_for({}, "13.0");
  CHECK(ds::join(plan.archs, " ") == "75 80 86 89 90 100 120");
  CHECK(plan.archs_because.find("the default of nvcc 13.0; PTX of 12.0") != std::string::npos);
  CHECK(ds::join(plan_for({}, "12.8").archs, " ") == "70 75 80 86 89 90 100 120");
  CHECK(ds::join(plan_for({}, "12.4").archs, " ") == "70 75 80 86 89 90");
  CHECK(ds::join(plan_for({}, "11.0").archs, " ") == "70 75 80");
  CHECK(ds::join(plan_for(ds::fleet_of({{"odd", "N/A"}}), "11.0").archs, " ") == "70 75 80");
}

TEST_CASE("arch list: TORCH_CUDA_ARCH_LIST wins, and is refused where nvcc cannot") {
  const ds::Fleet fleet = ds::fleet_of({{"n1", "9.0"}});
  const ds::BuildPlan plan = plan_for(fleet, "13.0", "8.0;9.0a+PTX");
  CHECK(plan.archs == std::vector<std::string>{"80", "90a"});
  CHECK(plan.archs_because == "TORCH_CUDA_ARCH_LIST=8.0;9.0a+PTX");
  const std::string command = ds::join(plan.jobs[3].command.argv, " ");
  CHECK(command.find("-gencode=arch=compute_90a,code=sm_90a "
                     "-gencode=arch=compute_90a,code=compute_90a") != std::string::npos);
  try {
    plan_for(fleet, "13.0", "7.0;8.0");
    FAIL("7.0 was not refused");
  } catch (const ds::Error& error) {
    CHECK(error.status() == ds::ExitStatus::build_failed);
    CHECK(error.what() == "TORCH_CUDA_ARCH_LIST=7.0;8.0: nvcc 13.0 cannot compile for 7.0");
  }
  CHECK_THROWS_AS(plan_for(fleet, "", "8.x"), ds::UsageError);
  CHECK(plan_for(fleet, "", "7.0").ops.size() == 1);
}

TEST_CASE("arch list: policies") {
  const ds::Fleet fleet =
      ds::fleet_of({{"n1", "8.0"}, {"n2", "8.6"}, {"n3", "8.9"}, {"n4", "9.0"}});
  const auto archs = [&fleet](ds::ArchPolicy policy, const std::string& asked = "") {
    std::string names;
    for (const ds::Arch& arch : ds::choose_archs(asked, fleet, "13.0", policy).archs)
      names += ds::to_string(arch) + " ";
    return names;
  };
  CHECK(archs(ds::ArchPolicy::exact) == "80 86 89 90 90+PTX ");
  CHECK(archs(ds::ArchPolicy::cover) == "80 90 90+PTX ");
  CHECK(archs(ds::ArchPolicy::ptx) == "80 80+PTX ");
  CHECK(archs(ds::ArchPolicy::ptx, "8.6;9.0a") == "86 90a ");
  CHECK(ds::choose_archs("", fleet, "13.0", ds::ArchPolicy::cover)
            .because.find("; --arch-policy cover compiles for 80, 90 of them alone") !=
        std::string::npos);
}
