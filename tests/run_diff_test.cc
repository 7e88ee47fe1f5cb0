// SPDX-License-Identifier: Apache-2.0
#include "cli/run_diff.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace ds;

namespace {

HostFacts host(const std::string& name, const std::string& driver) {
  HostFacts facts;
  facts.host = name;
  facts.state = HostFacts::State::reached;
  facts.driver = driver;
  facts.kernel = "6.1.0-18";
  facts.glibc = "2.36";
  Gpu gpu;
  gpu.name = "NVIDIA H100";
  gpu.compute_capability = "9.0";
  facts.gpus = {gpu, gpu};
  facts.distributions.emplace();
  facts.distributions->add("nvidia-nccl-cu12", "2.27.5");
  return facts;
}

RunFacts facts_of(const std::vector<HostFacts>& hosts) {
  RunFacts facts;
  for (const HostFacts& each : hosts)
    facts.hosts[each.host] = digest_of(each);
  return facts;
}

HostSide side(const std::string& release, const std::string& driver) {
  return {"", {{{"wheel", "release"}, release}, {{"facts", "driver"}, driver}}};
}

RunSide run(const std::string& id, std::map<std::string, HostSide> hosts) {
  RunSide made;
  made.run = id;
  made.hosts = std::move(hosts);
  return made;
}

const std::string old_release(64, 'a'), new_release(64, 'b');

}  // namespace

TEST_CASE("run facts: a digest says what ops run on, and what is not known is not in it") {
  const HostDigest digest = digest_of(host("n1", "580.65.06"));
  CHECK(digest.problem.empty());
  CHECK(digest.facts.at("driver") == "580.65.06");
  CHECK(digest.facts.at("GPUs") == "2 x NVIDIA H100 9.0");
  CHECK(digest.facts.at("NCCL") == "2.27.5");
  CHECK(digest.facts.at("torch").empty());
  HostFacts unlisted = host("n2", "580.65.06");
  unlisted.distributions.reset();
  CHECK_FALSE(digest_of(unlisted).facts.contains("NCCL"));
  HostFacts down;
  down.state = HostFacts::State::unreachable;
  down.problem = "no route";
  CHECK(digest_of(down) == HostDigest{"no route", {}});
}

TEST_CASE("run facts: hosts that are alike are kept once, so that thousands stay small") {
  std::vector<HostFacts> hosts;
  for (int number = 0; number < 4000; ++number)
    hosts.push_back(host("node" + std::to_string(10000 + number), number == 7 ? "550" : "580"));
  RunFacts facts = facts_of(hosts);
  facts.wheels[old_release] = {{"compiler", "g++ 12.2.0"}};
  facts.environment = {"CXXFLAGS=-O2"};
  const std::string text = run_facts_json(facts);
  CHECK(text.size() < 80 * 1000);
  const auto json = nlohmann::json::parse(text);
  CHECK(json["schema"] == "ds-deploy.run-facts/1");
  REQUIRE(json["classes"].size() == 2);
  CHECK(json["classes"][0]["hosts"] == nlohmann::json{"node10007"});
  CHECK(read_run_facts(text) == facts);
}

TEST_CASE("run facts: what is no such text is none, and foreign text in it is cleaned") {
  for (const char* text : {"", "[]", "{", R"({"schema":"ds-deploy.report/1"})"})
    CHECK_FALSE(read_run_facts(text));
  const auto facts =
      read_run_facts(R"({"schema":"ds-deploy.run-facts/1","classes":[7,{"hosts":["n\u001b[2J",5],)"
                     R"("facts":{"driver":"5\n8","GPUs":[]}}],"wheels":"x","environment":{}})");
  REQUIRE(facts);
  REQUIRE(facts->hosts.size() == 1);
  CHECK(facts->hosts.begin()->first == "n\\x1b[2J");
  CHECK(facts->hosts.begin()->second.facts == Properties{{"driver", "5 8"}});
}

TEST_CASE("run facts: how a wheel was built comes from its record") {
  const Properties build = build_of(
      R"({"compiler":"g++ 12.2.0","nvcc":"13.0","cuda":"13.0","ops":[)"
      R"({"name":"b","archs":["100","90"],"torch":"2.9.0"},{"name":"a","archs":["90"]},3]})");
  CHECK(build == Properties{{"compiler", "g++ 12.2.0"},
                            {"nvcc", "13.0"},
                            {"CUDA", "13.0"},
                            {"ops", "a, b"},
                            {"architectures", "90, 100"},
                            {"torch", "2.9.0"}});
  CHECK(build_of("").empty());
  CHECK_FALSE(build_of(R"({"ops":[]})").contains("nvcc"));
}

TEST_CASE("run diff: hosts that changed alike are one difference") {
  const RunSide before = run("1", {{"n01", side(old_release, "550")},
                                   {"n02", side(old_release, "550")},
                                   {"n03", side(old_release, "580")},
                                   {"n04", side(old_release, "550")}});
  const RunSide after = run("2", {{"n01", side(new_release, "580")},
                                  {"n02", side(new_release, "580")},
                                  {"n03", side(new_release, "580")},
                                  {"n05", side(new_release, "580")}});
  const RunDiff diff = compare(before, after);
  CHECK(diff.differences ==
        std::vector<Difference>{
            {{"wheel", "release"}, old_release, new_release, {"n01", "n02", "n03"}},
            {{"facts", "driver"}, "550", "580", {"n01", "n02"}}});
  CHECK(run_diff_text(before, after, diff, false) ==
        "run 1\nrun 2\n"
        "wheel\n  release       n[01-03]  aaaaaaaaaaaa -> bbbbbbbbbbbb\n"
        "facts\n  driver        n[01-02]  550 -> 580\n"
        "hosts\n  n04  run 1 alone has it\n  n05  run 2 alone has it\n");
  const auto json = nlohmann::json::parse(run_diff_json(before, after, diff, 0));
  CHECK(json["schema"] == "ds-deploy.run-diff/1");
  CHECK(json["differs"] == true);
  CHECK(json["differences"][1]["hosts"] == nlohmann::json{"n01", "n02"});
  CHECK(json["before_alone"] == nlohmann::json{"n04"});
}

TEST_CASE("run diff: without a difference one line says so") {
  const RunSide before = run("1", {{"n1", side(old_release, "550")}});
  RunSide now = before;
  now.run.clear();
  const RunDiff diff = compare(before, now);
  CHECK_FALSE(diff.differs());
  CHECK(run_diff_text(before, now, diff, false) ==
        "nothing differs between run 1 and now, on 1 host\n");
}

TEST_CASE("run diff: what one side does not know is not compared, and told") {
  RunSide before = run("1", {{"n1", side(old_release, "550")}, {"n2", side(old_release, "550")}});
  for (auto& [name, host] : before.hosts)
    host.values.erase({"facts", "driver"});
  before.facts_kept = false;
  RunSide now = run("", {{"n1", side(old_release, "580")}, {"n2", {"no route", {}}}});
  const RunDiff diff = compare(before, now);
  CHECK_FALSE(diff.differs());
  CHECK(run_diff_text(before, now, diff, false) ==
        "nothing differs between run 1 and now, on 1 host\n"
        "hosts\n  n2  gave no answer now: no route\n"
        "note  no facts were kept of run 1, which an earlier ds-deploy made\n");
}

TEST_CASE("run diff: of lists what one side alone has") {
  RunSide before = run("1", {}), after = run("2", {});
  before.lists[{"flags", "options"}] =
      options_in({"ds-deploy", "deploy", "--keep", "3", "--json", "-H", "a", "-H", "b"}, "deploy");
  after.lists[{"flags", "options"}] =
      options_in({"ds-deploy", "--keep", "5", "-H", "a", "-v"}, "deploy");
  before.lists[{"flags", "environment"}] = {"CC=gcc"};
  const RunDiff diff = compare(before, after);
  CHECK(diff.differences ==
        std::vector<Difference>{{{"flags", "options"}, "--keep 3, -H b", "--keep 5", {}}});
  CHECK(options_in({"ds-deploy", "remove", "0123", "4567", "--limit", "n1", "n2"}, "remove") ==
        std::vector<std::string>{"0123", "4567", "--limit n1 n2"});
}
