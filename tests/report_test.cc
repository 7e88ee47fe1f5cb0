// SPDX-License-Identifier: Apache-2.0
#include "report/report.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace ds;

namespace {

HostOutcome outcome(const std::string& host, HostState state, const std::string& step = "",
                    const std::string& message = "") {
  HostOutcome value;
  value.host = host;
  value.state = state;
  value.step = step;
  value.message = message;
  return value;
}

Report report_of(std::vector<HostOutcome> hosts) {
  Report report;
  report.command = "deploy";
  report.environment = "/opt/venv/bin/python";
  report.hosts = std::move(hosts);
  return report;
}

}  // namespace

TEST_CASE("report: exit status") {
  const HostOutcome good = outcome("a", HostState::confirmed);
  const HostOutcome refused = outcome("b", HostState::refused, "audit");
  const HostOutcome dead = outcome("c", HostState::unreachable, "connect");
  const HostOutcome failed = outcome("d", HostState::failed, "stage");
  const HostOutcome back = outcome("e", HostState::rolled_back, "confirm");
  const HostOutcome stuck = outcome("f", HostState::failed, "rollback");
  HostOutcome key = outcome("g", HostState::refused, "connect");
  key.key_refused = true;
  CHECK(exit_status(report_of({good, outcome("h", HostState::unchanged)})) == ExitStatus::ok);
  CHECK(exit_status(report_of({good, refused})) == ExitStatus::incompatible);
  CHECK(exit_status(report_of({refused, dead})) == ExitStatus::unreachable);
  CHECK(exit_status(report_of({outcome("l", HostState::refused, "connect")})) ==
        ExitStatus::unreachable);
  CHECK(exit_status(report_of({dead, failed})) == ExitStatus::host_failed);
  CHECK(exit_status(report_of({good, back})) == ExitStatus::host_failed);
  CHECK(exit_status(report_of({failed, key})) == ExitStatus::key_refused);
  CHECK(exit_status(report_of({key, stuck})) == ExitStatus::rollback_failed);
  HostOutcome damaged = outcome("i", HostState::failed, "stage");
  damaged.checksum_refused = true;
  CHECK(exit_status(report_of({damaged, failed})) == ExitStatus::key_refused);
  // A host that went back because of another one has not failed itself.
  const HostOutcome taken_back = outcome("j", HostState::rolled_back, "rollback");
  const HostOutcome unknown = outcome("k", HostState::unknown, "rollback");
  CHECK(exit_status(report_of({taken_back, unknown})) == ExitStatus::unreachable);
  CHECK(exit_status(report_of({taken_back, back})) == ExitStatus::host_failed);
  CHECK(exit_status(report_of({taken_back})) == ExitStatus::host_failed);

  Report stopped = report_of({good, dead});
  stopped.interrupted = true;
  CHECK(exit_status(stopped) == ExitStatus::interrupted);
  stopped = report_of({taken_back});
  stopped.interrupted = true;
  CHECK(exit_status(stopped) == ExitStatus::interrupted);
  stopped.interrupted = false;
  stopped.stopped = Error("the wheel is gone");
  CHECK(exit_status(stopped) == ExitStatus::internal);
  stopped.hosts.push_back(failed);
  CHECK(exit_status(stopped) == ExitStatus::host_failed);

  Report dry = report_of({outcome("a", HostState::ready)});
  CHECK(exit_status(dry) == ExitStatus::unreachable);
  dry.dry_run = true;
  CHECK(exit_status(dry) == ExitStatus::ok);
}

TEST_CASE("report: hosts that were left out") {
  const HostOutcome good = outcome("a", HostState::confirmed);
  HostOutcome down = outcome("b", HostState::unreachable, "connect", "no route"),
              old = outcome("c", HostState::refused, "audit"), busy = good;
  down.left_out = old.left_out = true;
  down.owed = old.owed = {owed_release};
  busy.host = "d";
  busy.owed = {owed_proof};
  CHECK(exit_status(report_of({good, old})) == ExitStatus::incompatible);
  CHECK(exit_status(report_of({good, old, down})) == ExitStatus::unreachable);
  CHECK(exit_status(report_of({good, busy})) == ExitStatus::ok);
  Report report = report_of({good, old, down, busy});
  report.accept_left_out = true;
  CHECK(exit_status(report) == ExitStatus::ok);
  const std::string text = report_text(report, false);
  CHECK(text.find("owed\n  d  gpu-proof: ds-deploy verify --owed\n"
                  "  c,b (2)  release: ds-deploy resume --owed\n") != std::string::npos);
  CHECK(text.find("  b  unreachable at connect, left out: no route\n") != std::string::npos);
  CHECK(text.find("(2 left out)") != std::string::npos);
  const nlohmann::json parsed = nlohmann::json::parse(report_json(report));
  CHECK(parsed["hosts"][2]["left_out"] == true);
  CHECK(parsed["hosts"][2]["owed"] == nlohmann::json({"release"}));
  CHECK(report_junit(report).find("failures=\"0\"") != std::string::npos);
  // Where nobody is where it was to be, there is nothing to accept.
  report.hosts = {old, down};
  CHECK(exit_status(report) == ExitStatus::unreachable);
}

TEST_CASE("report: names are folded by their number") {
  CHECK(fold_hosts({"node01", "node02", "node03", "node07"}) == "node[01-03,07]");
  CHECK(fold_hosts({"a-1-ib", "a-2-ib", "b"}) == "a-[1-2]-ib,b");
  CHECK(fold_hosts({"10.0.0.1", "10.0.0.2"}) == "10.0.0.1,10.0.0.2");
  CHECK(fold_hosts({"n9", "n10"}) == "n[9-10]");
  CHECK(fold_hosts({"n09", "n10", "n9", "n010"}) == "n9,n[09-10],n010");
  CHECK(fold_hosts({}) == "");
}

TEST_CASE("report: hosts with the same end are one line, worst first") {
  const std::string text = report_text(
      report_of({outcome("node1", HostState::confirmed), outcome("node2", HostState::confirmed),
                 outcome("node3", HostState::failed, "stage", "No space left on device")}),
      false);
  const std::size_t failed = text.find("  node3  failed at stage: No space left on device\n");
  const std::size_t good = text.find("  node[1-2] (2)  confirmed\n");
  CHECK(text.starts_with("environment  /opt/venv/bin/python\n"));
  CHECK(failed != std::string::npos);
  CHECK(good != std::string::npos);
  CHECK(failed < good);
}

TEST_CASE("report: JSON holds what programs ask for") {
  Report report = report_of({outcome("node1", HostState::rolled_back, "confirm", "wrong result")});
  report.run = "r";
  report.wheels = {{"/d/w.whl", "abc", 3, {{"cpu_adam", {}}, {"fused_adam", {"80", "90a"}}}}};
  report.audit.hosts = {{"node1", Verdict::ready, {{"glibc", Severity::ok, "", "2.36", ""}}, ""}};
  const nlohmann::json parsed = nlohmann::json::parse(report_json(report));
  CHECK(parsed["schema"] == "ds-deploy.report/1");
  CHECK(parsed["exit"] == 4);
  CHECK(parsed["wheels"][0]["ops"][1]["archs"] == nlohmann::json({"80", "90a"}));
  const nlohmann::json& host = parsed["hosts"][0];
  CHECK(host["state"] == "rolled-back");
  CHECK(host["left_out"] == false);
  CHECK(host["owed"] == nlohmann::json::array());
  CHECK(host["findings"][0]["severity"] == "ok");
}

TEST_CASE("report: a dry run shows the plan, and says nothing twice") {
  Report report = report_of({outcome("node1", HostState::ready)});
  report.dry_run = true;
  report.left_out = {"fused_adam: no nvcc was found"};
  report.notes = {"the wheel is not built yet"};
  CHECK_FALSE(nlohmann::json::parse(report_json(report)).contains("plan"));
  report.plan_text = "left out     fused_adam: no nvcc was found\n1 job\n  a.o  because b\n";
  report.plan_json = R"({"schema":"ds-deploy.plan/1","jobs":[{"name":"a.o"}]})";
  const std::string text = report_text(report, false);
  CHECK(text.find(
            "plan\n  left out     fused_adam: no nvcc was found\n  1 job\n    a.o  because b\n") !=
        std::string::npos);
  CHECK(text.find("fused_adam") == text.rfind("fused_adam"));
  CHECK(text.find("note         the wheel is not built yet\n") != std::string::npos);
  CHECK(nlohmann::json::parse(report_json(report))["plan"]["jobs"][0]["name"] == "a.o");
}

TEST_CASE("report: wheels for some hosts say for which") {
  Report report =
      report_of({outcome("w1", HostState::confirmed), outcome("w2", HostState::confirmed),
                 outcome("x1", HostState::confirmed)});
  report.wheels = {{"/d/a.whl", std::string(64, 'a'), 1000, {{"utils", {}}}, {"w1", "w2"}},
                   {"/d/b.whl", std::string(64, 'b'), 1000, {}, {"x1"}}};
  report.plan_json = "{\"wheel\":\"a\"}\n{\"wheel\":\"b\"}\n";
  const std::string text = report_text(report, false);
  CHECK(text.find("ops          utils\nfor          w[1-2] (2 hosts)\n") != std::string::npos);
  CHECK(text.find("for          x1 (1 host)\n") != std::string::npos);
  const nlohmann::json json = nlohmann::json::parse(report_json(report));
  CHECK(json["wheels"][0]["hosts"] == nlohmann::json{"w1", "w2"});
  CHECK(json["hosts"][1]["wheel"] == "/d/a.whl");
  CHECK(json["hosts"][2]["wheel"] == "/d/b.whl");
  CHECK(json["plans"][1]["wheel"] == "b");
  report.plan_json = "{\"wheel\":\"a\"}\n";
  CHECK(nlohmann::json::parse(report_json(report))["plan"]["wheel"] == "a");
}
