// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "support/audit_fixture.h"

using namespace ds;

namespace {

using Changes = std::vector<std::function<void(HostFacts&)>>;

/// One host for each change.
AuditReport audited(const Changes& changes, bool strict = false) {
  AuditCase fleet;
  fleet.fleet.hosts.clear();
  for (const auto& change : changes) {
    fleet.fleet.hosts.push_back(
        AuditCase::good_host("node" + std::to_string(fleet.fleet.hosts.size() + 1)));
    change(fleet.fleet.hosts.back());
  }
  fleet.options.strict = strict;
  return audit(fleet.wheels, fleet.fleet, fleet.options);
}

void good(HostFacts&) {}
void hopper(HostFacts& host) {
  host.gpus = {AuditCase::gpu("9.0", "NVIDIA H100")};
  host.gpus_on_bus = 1;
}
void old_driver(HostFacts& host) {
  host.driver = "470.82.01";
}
void old_glibc(HostFacts& host) {
  host.glibc = "2.28";
}
void older_glibc(HostFacts& host) {
  host.glibc = "2.17";
}
void lost_gpu(HostFacts& host) {
  host.nvidia.lost = {"GPU 1 (NVML status 15)"};
}
void no_room(HostFacts& host) {
  host.disk.free_bytes = 1;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("way out: nothing to change where all are ready") {
  const WayOut way = audited({good, good}).way_out;
  CHECK(way.steps.empty());
  CHECK(way.remaining.empty());
}

TEST_CASE("way out: what helps the most hosts comes first") {
  const WayOut way = audited({old_glibc, hopper, hopper, good, hopper}).way_out;
  REQUIRE(way.steps.size() == 2);
  CHECK(way.steps[0].change == "build for compute capability 9.0 too");
  CHECK(way.steps[0].hosts == Names{"node2", "node3", "node5"});
  CHECK(way.steps[1].change == "build where glibc is 2.28 or older");
}

TEST_CASE("way out: one build for the oldest glibc serves the newer ones too") {
  const WayOut way = audited({old_glibc, older_glibc}).way_out;
  REQUIRE(way.steps.size() == 1);
  CHECK(way.steps[0].change == "build where glibc is 2.17 or older");
  CHECK(way.steps[0].hosts == Names{"node1", "node2"});
}

TEST_CASE("way out: a few drivers are updated; for many the wheel is built with an older CUDA") {
  WayOut way = audited({old_driver, old_driver, old_driver}).way_out;
  REQUIRE(way.steps.size() == 1);
  CHECK(way.steps[0].change == "update the NVIDIA driver to 525.60.13 or newer");
  way = audited({old_driver, old_driver, old_driver, old_driver}).way_out;
  REQUIRE(way.steps.size() == 1);
  CHECK(way.steps[0].change == "build with CUDA 11.4 or older");
}

TEST_CASE("way out: an older CUDA that cannot compile for the other hosts makes a second wheel") {
  const auto blackwell = [](HostFacts& host) {
    host.gpus = {AuditCase::gpu("10.0", "NVIDIA B200")};
    host.gpus_on_bus = 1;
  };
  const WayOut way = audited({old_driver, old_driver, old_driver, old_driver, blackwell}).way_out;
  REQUIRE(way.steps.size() == 2);
  CHECK(way.steps[0].change ==
        "build with CUDA 11.4 or older, as a second wheel: other hosts need a newer CUDA");
  CHECK(way.steps[1].change == "build for compute capability 10.0 too");
}

TEST_CASE("way out: an architecture more costs as much as those that are there") {
  AuditCase fleet;
  hopper(fleet.host());
  fleet.cuda().gpu.bytes = {{"sm_80", 3000}, {"sm_86", 1000}, {"compute_86", 500}};
  fleet.cuda().gpu.units = 3;
  const WayOut way = audit(fleet.wheels, fleet.fleet, fleet.options).way_out;
  REQUIRE(way.steps.size() == 1);
  CHECK(way.steps[0].units == 3);
  CHECK(way.steps[0].bytes == 2000);
  // A library that has code for it already, and one that is not for such GPUs.
  fleet.wheel().libraries.push_back(fleet.cuda());
  fleet.wheel().libraries.back().gpu.sass_all_units =
      fleet.wheel().libraries.back().gpu.sass = {"90"};
  fleet.wheel().libraries.push_back(fleet.cuda());
  fleet.wheel().libraries.back().minimum_capability = "10.0";
  CHECK(audit(fleet.wheels, fleet.fleet, fleet.options).way_out.steps[0].bytes == 2000);
}

TEST_CASE("way out: hosts that have wheels of their own need no second one") {
  AuditCase fleet;
  fleet.fleet.hosts.clear();
  for (const char* name : {"a1", "a2", "a3", "a4", "b1"}) {
    fleet.fleet.hosts.push_back(AuditCase::good_host(name));
    if (*name == 'a')
      old_driver(fleet.fleet.hosts.back());
  }
  fleet.fleet.hosts.back().gpus = {AuditCase::gpu("10.0", "NVIDIA B200")};
  const auto first = [&fleet](const std::vector<SetNeeds>& sets) {
    return audit(sets, fleet.fleet, fleet.options).way_out.steps[0].change;
  };
  CHECK(first({{fleet.wheels, {}}}) ==
        "build with CUDA 11.4 or older, as a second wheel: other hosts need a newer CUDA");
  CHECK(first({{fleet.wheels, {"b1"}}, {fleet.wheels, {}}}) == "build with CUDA 11.4 or older");
}

TEST_CASE("way out: the command that brings a library, where it is known") {
  AuditCase fleet;
  fleet.cpu().needed.emplace_back("libaio.so.1");
  fleet.cuda().opens = {"libnuma.so.1"};
  const auto changes = [&fleet](const std::string& system) {
    fleet.host().os = system;
    std::string all;
    for (const WayOut::Step& step : audit(fleet.wheels, fleet.fleet, fleet.options).way_out.steps)
      all += step.change + "\n";
    return all;
  };
  CHECK(changes("Debian GNU/Linux 12 (bookworm)") ==
        "apt-get install libaio1\napt-get install libnuma1\n");
  CHECK(changes("Rocky Linux 9.4 (Blue Onyx)") == "yum install libaio\nyum install numactl-libs\n");
  CHECK(changes("Debian GNU/Linux 13 (trixie)").find("ln -s /usr/lib/*/libaio.so.1t64") !=
        std::string::npos);
  CHECK(changes("Ubuntu 16.04.7 LTS").starts_with("apt-get install libaio1\n"));
  CHECK(changes("Haiku") ==
        "install the package that has libaio.so.1\ninstall the package that has libnuma.so.1\n");
  fleet.host().os = "Ubuntu 22.04.4 LTS";
  CHECK(fleet.worst("needed-libraries").fix ==
        "apt-get install libaio1, or put its folder into LD_LIBRARY_PATH (env-script=), or leave "
        "the host out: --exclude node1");
}

TEST_CASE("way out: a host that nothing helps is not counted for what else it needs") {
  const auto both = [](HostFacts& host) {
    host.machine_id.clear();
    hopper(host);
    host.python.externally_managed = true;
  };
  const WayOut way = audited({both, no_room}).way_out;
  CHECK(way.remaining.empty());
  REQUIRE(way.steps.size() == 3);
  const WayOut lost = audited({[](HostFacts& host) {
                        lost_gpu(host);
                        hopper(host);
                      }}).way_out;
  // A host that has to be repaired can be repaired.
  CHECK(lost.steps.size() == 2);
}

TEST_CASE("way out: hosts that do not answer are looked at") {
  const WayOut way = audited({[](HostFacts& host) {
                       host.state = HostFacts::State::unreachable;
                       host.problem = "no route to host";
                     }}).way_out;
  REQUIRE(way.steps.size() == 1);
  CHECK(way.steps[0].change == "check its name, its route and that sshd runs");
}
