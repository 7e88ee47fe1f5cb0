// SPDX-License-Identifier: Apache-2.0
#include "audit/audit.h"

#include <doctest/doctest.h>

#include <string>

#include "base/error.h"
#include "support/audit_fixture.h"

using namespace ds;
using enum Severity;

TEST_CASE("audit: a good host is ready, and every pass is kept") {
  AuditCase audited;
  const HostAudit result = audited.run();
  CHECK(result.verdict == Verdict::ready);
  CHECK(result.findings.size() >= 13);
  for (const Finding& finding : result.findings) {
    CHECK_MESSAGE(finding.severity == ok, finding.rule, ": ", finding.because);
    CHECK_FALSE(finding.because.empty());
  }
  audited.options.strict = true;
  CHECK(audit(audited.wheels, audited.fleet, audited.options).all_ready());
}

TEST_CASE("audit: worst first; strict refuses warnings and unknowns") {
  AuditCase audited;
  audited.host().gpus.clear();
  audited.host().driver.clear();
  audited.host().disk.free_bytes = -1;
  HostAudit result = audited.run();
  CHECK(result.verdict == Verdict::ready);
  CHECK(result.findings[0].rule == "disk");
  CHECK(result.findings[0].severity == unknown);
  CHECK(result.findings[1].rule == "gpu");
  audited.options.strict = true;
  CHECK(audited.run().verdict == Verdict::refused);
  audited.host().glibc = "2.17";
  audited.options.strict = false;
  result = audited.run();
  CHECK(result.verdict == Verdict::refused);
  CHECK(result.findings[0].rule == "glibc");
}

TEST_CASE("audit: hosts that were not reached") {
  using State = HostFacts::State;
  const std::pair<State, Verdict> cases[] = {{State::unreachable, Verdict::unreachable},
                                             {State::failed, Verdict::unreachable},
                                             {State::login_refused, Verdict::refused},
                                             {State::key_refused, Verdict::refused}};
  for (const auto& [state, verdict] : cases) {
    AuditCase audited;
    audited.host() = {};
    audited.host().host = "node1";
    audited.host().state = state;
    audited.host().problem = "no route to host";
    const HostAudit result = audited.run();
    CHECK(result.verdict == verdict);
    REQUIRE(result.findings.size() == 1);
    CHECK(result.findings[0].rule == "reachable");
    CHECK(result.findings[0].severity == fail);
    CHECK(result.findings[0].because == "no route to host");
    CHECK(result.findings[0].fix.ends_with("leave the host out: --exclude node1"));
    CHECK_FALSE(audit(audited.wheels, audited.fleet, audited.options).all_ready());
  }
}

TEST_CASE("audit: several wheels must all fit, and say the same thing once") {
  AuditCase audited;
  audited.wheels.push_back(audited.wheel());
  audited.wheels.back().sha256 = std::string(64, 'b');
  CHECK(audited.findings("python").size() == 1);
  CHECK(audited.run().verdict == Verdict::ready);
  audited.wheels.back().python_tag = "cp39-cp39-linux_x86_64";
  CHECK(audited.run().verdict == Verdict::refused);
  audited.host().disk.free_bytes = 59'999'999;
  CHECK(audited.worst("disk").severity == fail);
}

TEST_CASE("audit: each host is held against the wheels of its own set") {
  AuditCase fine;
  fine.fleet.hosts.push_back(AuditCase::good_host("node2"));
  fine.fleet.hosts.push_back(AuditCase::good_host("node3"));
  Requirements newer = fine.wheel();
  newer.python_tag = "cp39-cp39-linux_x86_64";
  const AuditReport report =
      audit({{{newer}, {"node2"}}, {fine.wheels, {}}}, fine.fleet, fine.options);
  CHECK(report.hosts[0].verdict == Verdict::ready);
  CHECK(report.hosts[1].verdict == Verdict::refused);
  CHECK(report.hosts[2].verdict == Verdict::ready);
}

TEST_CASE("audit: a wheel that is only planned is not judged by binaries that do not exist") {
  AuditCase audited;
  audited.wheel().sha256.clear();
  audited.host().gpus = {AuditCase::gpu("7.0", "V100")};
  for (const char* rule : {"glibc", "libstdc++", "cpu-level", "needed-libraries"})
    CHECK(audited.findings(rule).empty());
  CHECK(audited.worst("gpu-image").severity == fail);
  // What its manifest names is known before there is a binary.
  audited.cpu().opens = {"libaio.so.1"};
  const Finding missing = audited.worst("needed-libraries");
  CHECK(missing.severity == fail);
  CHECK(missing.op == "cpu_adam");
  CHECK(missing.fix.find("install the package that has libaio.so.1") != std::string::npos);
}

TEST_CASE("audit: facts that are all missing are never ok") {
  AuditCase audited;
  audited.host() = {};
  audited.host().host = "node1";
  audited.host().state = HostFacts::State::reached;
  audited.cpu().cpu_level = 3;
  audited.cpu().links_torch = true;
  audited.fleet.hosts.push_back(AuditCase::good_host("node2"));
  for (const Finding& finding : audited.run().findings) {
    if (finding.rule != "reachable")
      CHECK_MESSAGE(finding.severity != ok, finding.rule, ": ", finding.because);
  }
}

TEST_CASE("audit: two names of one machine, and of one environment") {
  AuditCase audited;
  audited.fleet.hosts.push_back(AuditCase::good_host("node1-ib"));
  HostFacts& twin = audited.host(1);
  CHECK(audited.worst("same-machine", 1).severity == ok);
  twin = audited.host();
  twin.host = "node1-ib";
  CHECK(audited.worst("same-machine", 0).severity == ok);
  CHECK(audited.worst("same-machine", 1).severity == warn);
  CHECK(audited.worst("same-machine", 1).because ==
        "it is the same machine as node1, with the same environment");
  CHECK(audited.run(1).same_target_as == "node1");
  CHECK(audited.run(1).verdict == Verdict::ready);
  CHECK(audited.run(0).same_target_as == "");

  twin.python.prefix = "/opt/other";
  CHECK(audited.worst("same-machine", 1).because == "it is the same machine as node1");
  CHECK(audited.run(1).same_target_as == "");

  // One path, another folder: a container on the same kernel.
  twin.python.prefix = audited.host().python.prefix;
  twin.python.prefix_id = "9:9";
  CHECK(audited.run(1).same_target_as == "");

  // Machines cloned from one image.
  twin = audited.host();
  twin.host = "node1-ib";
  twin.boot_id = "another";
  CHECK(audited.worst("same-machine", 1).severity == ok);
  CHECK(audited.run(1).same_target_as == "");

  // Images without a machine id.
  twin.machine_id.clear();
  CHECK(audited.worst("same-machine", 1).severity == ok);
  twin.boot_id.clear();
  CHECK(audited.worst("same-machine", 1).severity == unknown);
  audited.host().machine_id.clear();
  twin.boot_id = audited.host().boot_id;
  CHECK(audited.run(1).same_target_as == "node1");
}

TEST_CASE("audit: what is ignored is told and refuses nothing") {
  AuditCase audited;
  audited.cpu().glibc = "2.99";
  audited.fleet.hosts.push_back(AuditCase::good_host("other7"));
  audited.options.strict = true;
  audited.options.ignored = {parse_ignored("glibc@node*"), parse_ignored("torch")};
  CHECK(audited.run(0).verdict == Verdict::ready);
  const Finding found = audited.worst("glibc");
  CHECK(found.severity == Severity::warn);
  CHECK(found.ignored);
  CHECK(found.because.ends_with("(ignored, as --ignore asks)"));
  CHECK(audited.run(1).verdict == Verdict::refused);
  CHECK_FALSE(audited.worst("glibc", 1).ignored);
  CHECK(parse_ignored("driver").hosts.empty());
  for (const char* text : {"drivr", "reachable", "environment@x", "glibc@", ""})
    CHECK_THROWS_AS(parse_ignored(text), UsageError);
}
