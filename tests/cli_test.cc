// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/foresight.h"
#include "cli/host_ops.h"
#include "cli/options.h"
#include "cli/plan_wheel.h"
#include "cli/replay.h"
#include "cli/session.h"
#include "report/report.h"

using namespace ds;

namespace {

Options parsed(std::vector<const char*> words) {
  words.insert(words.begin(), "ds-deploy");
  return parse_options(static_cast<int>(words.size()), words.data());
}

/// "what | what to do" of the refusal, or "no error".
template <typename Work>
std::string refusal(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::usage);
    return error.what() + " | " + error.fix();
  }
  return "no error";
}

/// What a host said, framed as it must be.
HostOps answer(const std::string& json, const std::string& noise = "") {
  ExecResult result;
  result.exit_status = 0;
  result.out = noise + "\nNONCE " + json + "\n";
  return read_host_ops(result, "NONCE");
}

Fleet saved_fleet() {
  Fleet fleet;
  for (const char* name : {"n1", "n2", "[fe80::1]"}) {
    HostFacts host;
    host.host = name;
    host.gpus.resize(host.host == "n2" ? 4 : 0);
    fleet.hosts.push_back(host);
  }
  return fleet;
}

std::string names_of(const Fleet& fleet) {
  std::string names;
  for (const HostFacts& host : fleet.hosts)
    names += host.host + " ";
  return names;
}

std::string chosen(const Selection& selection) {
  const Fleet saved = saved_fleet();
  const Inventory hosts = select_hosts(inventory_of(saved, "facts.json"), selection);
  return names_of(facts_of(hosts, saved, "facts.json"));
}

}  // namespace

TEST_CASE("options: every command takes what all take") {
  for (const char* command : {"deploy", "facts", "report", "build", "ping"}) {
    CAPTURE(std::string(command));
    const Options options = parsed({command, "-H", "cluster", "-j", "3", "--json", "-v"});
    CHECK(options.command == command);
    CHECK(options.hostfiles == std::vector<std::string>{"cluster"});
    CHECK(options.jobs == 3);
  }
  CHECK(parsed({"inspect", "-H", "cluster", "-j3", "x.so"}).files ==
        std::vector<std::string>{"x.so"});
  CHECK(parsed({"audit", "--hostfile", "cluster", "--jobs", "3", "x.whl"}).jobs == 3);
}

TEST_CASE("options: --limit and --wheel take one value each time they are given") {
  const Options options = parsed({"audit", "--limit", "n1", "a.whl", "--limit", "n2", "b.whl"});
  CHECK(options.limit == std::vector<std::string>{"n1", "n2"});
  CHECK(options.wheels == std::vector<std::string>{"a.whl", "b.whl"});
  CHECK(parsed({"--wheel", "a.whl", "--wheel", "b.whl"}).wheels.size() == 2);
  CHECK(refusal([] {
          parsed({"--wheel", "a.whl", "b.whl"});
        }).find("--wheel before each wheel") != std::string::npos);
}

TEST_CASE("options: a relative --python") {
  Options options;
  options.python = "env/bin/python";
  CHECK(refusal([&] { Session session(options); }).find("from / or ~/") != std::string::npos);
  options.local_only = true;
  CHECK(Session(options).probe().python ==
        (std::filesystem::current_path() / "env/bin/python").string());
  for (const char* kept : {"python3", "/opt/env/bin/python", "~/env/bin/python"}) {
    options.python = kept;
    options.local_only = false;
    CHECK(Session(options).probe().python == kept);
  }
}

TEST_CASE("report: what a host has installed") {
  const HostOps read = answer(
      R"({"packages":[{"name":"deepspeed","version":"0.19.8","folder":"/x","record":{"torch":"2.11",)"
      R"("cuda":"13.0","accelerator":"cuda"},"ops":[{"name":"fused_adam","installed":true,)"
      R"("loads":false,"message":"libcuda.so.1: no","sass":["80","90a"],"ptx":["90"]},)"
      R"({"name":"gds","installed":false,"loads":null}]}]})",
      "Welcome\n");
  REQUIRE(read.packages.size() == 1);
  const HostPackage& package = read.packages[0];
  CHECK(package.torch == "2.11");
  REQUIRE(package.ops.size() == 2);
  CHECK(package.ops[0] ==
        HostOp{"fused_adam", true, false, "libcuda.so.1: no", "", {"80", "90a"}, {"90"}});
  CHECK(package.ops[1] == HostOp{"gds", false, std::nullopt, "", "", {}, {}});
}

TEST_CASE("report: a hostile answer of one host is that host's problem") {
  for (const char* json :
       {R"({"packages":"all"})", R"({"packages":[3,[],null]})", R"({})", "[]", "7", "{"})
    CHECK(answer(json).packages.empty());
  CHECK(answer("{").problem == "the interpreter gave no answer");
  const HostOps odd =
      answer(R"({"packages":[{"name":"x","record":[],"ops":[7,{"name":7},{"name":"\u001b[31mred",)"
             R"("installed":"yes","loads":1,"message":[],"sass":["80","; rm",9]}]}]})");
  REQUIRE(odd.packages.size() == 1);
  REQUIRE(odd.packages[0].ops.size() == 1);
  CHECK(odd.packages[0].ops[0] == HostOp{"\\x1b[31mred", false, std::nullopt, "", "", {"80"}, {}});
  const std::string deep = R"({"packages":[)" + std::string(100000, '[');
  CHECK(answer(deep + std::string(100000, ']') + "]}").packages.empty());
  ExecResult late;
  late.outcome = ExecResult::Outcome::timed_out;
  late.message = "it took longer than 120 s";
  CHECK(read_host_ops(late, "NONCE").problem == "it took longer than 120 s");
  ExecResult crashed;
  crashed.err = "Traceback\nMemoryError\n";
  CHECK(read_host_ops(crashed, "NONCE").problem == "the interpreter said: MemoryError");
}

TEST_CASE("facts: replayed hosts are chosen like those of a hostfile") {
  CHECK(chosen({}) == "n1 n2 [fe80::1] ");
  CHECK(chosen({.include = {}, .exclude = {}, .limit = {"n*"}}) == "n1 n2 ");
  CHECK(chosen({.include = "n2:0,3@[fe80::1]", .exclude = {}, .limit = {}}) == "n2 [fe80::1] ");
  CHECK(chosen({.include = {}, .exclude = "n1", .limit = {}}) == "n2 [fe80::1] ");
  CHECK(refusal([] { chosen({.include = {}, .exclude = {}, .limit = {"gpu*"}}); }) ==
        "--limit: 'gpu*' matches no host of facts.json | write names, ranges such as "
        "node[01-16,20], globs such as 'node*', or "
        "@tag");
  CHECK(refusal([] {
          refuse_tags({.include = {}, .exclude = {}, .limit = {"n1,@a100"}}, "facts.json");
        }).find("'@a100' is a tag") != std::string::npos);
  CHECK_NOTHROW(refuse_tags({.include = {}, .exclude = {}, .limit = {"n1"}}, "facts.json"));
}

TEST_CASE("facts: a hostfile beside them says which, and in which order") {
  const Inventory hosts = parse_hostfile("fe80::1 slots=1\nn1 slots=1\n", "cluster");
  CHECK(names_of(facts_of(hosts, saved_fleet(), "facts.json")) == "[fe80::1] n1 ");
  const Inventory more = parse_hostfile("n1 slots=1\nn8 slots=1\nn9 slots=1\n", "cluster");
  CHECK(refusal([&] {
          facts_of(more, saved_fleet(), "facts.json");
        }).starts_with("facts.json has no facts of n8, n9, named in cluster | "));
}

TEST_CASE("plan and report as JSON: the environment is there, and no file name breaks them") {
  BuildPlan plan;
  plan.notes = {"\xff\xfe"};
  const auto json = nlohmann::json::parse(plan_json(plan, "/opt/env/bin/python"));
  CHECK(json["environment"] == "/opt/env/bin/python");
  Report report;
  report.wheels.push_back({"/tmp/\xff.whl", "", 0, {}});
  CHECK(nlohmann::json::accept(report_json(report)));
}

TEST_CASE("a wheel that is only planned needs what its ops' manifests say") {
  PlannedWheel planned;
  PlannedOp op;
  op.name = "aio";
  op.rules.host_needs = {"libaio.so.1"};
  op.rules.minimum_compute_capability = "8.0";
  planned.plan.ops = {op};
  const Requirements requirements = predicted_requirements(planned);
  REQUIRE(requirements.libraries.size() == 1);
  CHECK(requirements.libraries[0].opens == op.rules.host_needs);
  CHECK(requirements.libraries[0].minimum_capability == "8.0");
}

TEST_CASE("until: a time of the day, or so long from now") {
  using std::chrono::system_clock;
  std::tm noon{};
  noon.tm_year = 126;
  noon.tm_mon = 10;
  noon.tm_mday = 27;
  noon.tm_hour = 12;
  noon.tm_isdst = -1;
  const std::time_t now = std::mktime(&noon);
  const auto seconds = [now](const char* text) {
    const auto until = parse_until(text, now);
    return until ? system_clock::to_time_t(*until) - now : -1;
  };
  CHECK(seconds("12:30") == 1800);
  CHECK(seconds("13:00") == 3600);
  CHECK(seconds("05:30") == 63000);  // tomorrow
  CHECK(seconds("12:00") == 86400);
  CHECK(seconds("0:05") == 43500);
  CHECK(seconds("90m") == 5400);
  CHECK(seconds("45") == 45);
  for (const char* bad : {"", "24:00", "12:60", "12:5", ":30", "12:", "-1:30", "noon", "1d", "0"})
    CHECK(seconds(bad) == -1);
}
