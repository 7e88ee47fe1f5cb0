// SPDX-License-Identifier: Apache-2.0
//
// What is made of hosts' answers to the question what they lack, true or not.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "support/fake_transport.h"
#include "support/rollout_world.h"
#include "support/seeded_wheel.h"

using namespace ds;
using nlohmann::json;

namespace {

/// The request in what a command reads: a line of JSON, behind its program or alone.
json request_of(const std::string& input) {
  for (const std::string& line : lines(input)) {
    const json request = json::parse(line, nullptr, false);
    if (request.is_object() && request.contains("nonce"))
      return request;
  }
  FAIL("no request");
  return {};
}

/// Hosts that are not there: each phase has the answer that the test gives.
struct Imagined : World {
  Wheel wheel;
  std::map<std::string, json> lacks;   ///< what each says
  std::map<std::string, json> stages;  ///< the request that each got

  explicit Imagined(std::size_t number) : World(0) {
    std::map<std::string, unsigned> ops;
    for (unsigned at = 0; at < 20; ++at)
      ops["op" + std::to_string(at)] = at;
    wheel = seeded_wheel(folder, "1.0", ops, 100);
    for (std::size_t at = 0; at < number; ++at) {
      const std::string name = "n" + std::to_string(at);
      hosts.push_back({name, folder.path() / name});
    }
  }

  std::vector<HostOutcome> run() {
    const auto answer_to = [this](const Endpoint& host, const std::string& input) {
      json answer = {{"ok", true},
                     {"changed", true},
                     {"outlives", true},
                     {"state", "confirmed"},
                     {"previous", json::array()},
                     {"self_tests", json::object()},
                     {"active", json::array()},
                     {"trial", ""},
                     {"epoch", 0}};
      const json request = request_of(input);
      const std::string phase = phase_of(input);
      if (phase == "lacking")
        answer.update(lacks[host.name]);
      if (phase == "stage")
        stages[host.name] = request;
      return request["nonce"].get<std::string>() + " " + answer.dump();
    };
    FakeTransport transport(
        [&](const Endpoint& host, const Exec& exec) {
          ExecResult result;
          result.exit_status = 0;
          if (exec.input.bytes.ends_with("}\n"))  // of a command that stays: the program alone
            result.out = answer_to(host, exec.input.bytes) + "\n";
          return result;
        },
        [&](const Endpoint& host, const ExecInput& input) {
          FakeTransport::Reply reply;
          if (input.bytes.starts_with('{'))
            reply.lines.push_back(answer_to(host, input.bytes));
          return reply;
        });
    return roll(wheel, transport);
  }
};

json lack(const json& runs, const json& part = nullptr) {
  return {{"sealed", false}, {"lacking", runs}, {"zstd", false}, {"part", part}};
}

}  // namespace

TEST_CASE("rollout lack: streams are shared, and their number is bounded") {
  Imagined world(40);
  for (std::size_t at = 0; at < 40; ++at)
    world.lacks["n" + std::to_string(at)] = lack({at / 2, 1});
  for (const HostOutcome& outcome : world.run())
    CHECK(outcome.message == "");
  std::map<std::string, int> hosts_of;
  const std::size_t all = world.wheel.entries.size();
  for (const auto& [name, request] : world.stages) {
    const json& files = request["stream"]["files"];
    ++hosts_of[request["stream"]["sha256"]];
    CHECK((files == json{std::stoul(name.substr(1)) / 2, 1} || files[1] > 1));
  }
  // Sixteen, and one that is whole.
  REQUIRE(hosts_of.size() == 17);
  const std::string whole = stream_of(world.wheel, StreamPacking::none).sha256;
  CHECK(hosts_of[whole] == 8);
  CHECK(all > 20);
}

TEST_CASE("rollout lack: answers that cannot be") {
  Imagined world(1);
  const std::size_t all = world.wheel.entries.size();
  const auto ask = [&](const json& answer) {
    world.stages.clear();
    world.lacks["n0"] = answer;
    return world.run().front();
  };
  const auto files = [&]() {
    std::size_t number = 0;
    const json runs = world.stages["n0"]["stream"]["files"];
    for (std::size_t at = 1; at < runs.size(); at += 2)
      number += runs[at].get<std::size_t>();
    return number;
  };
  CHECK(ask(lack({0, 1'000'000'000'000'000'000})).message == "");
  CHECK(files() == all);
  CHECK(ask(lack({0, -1})).message == "");
  CHECK(files() == all);
  CHECK(ask(lack({-5, 3})).message == "");
  CHECK(files() == 0);
  CHECK(ask(lack({all, 1, 1})).message == "");
  CHECK(files() == 0);
  CHECK(ask(lack({1, 2, 1, 2})).message == "");
  CHECK(files() == 2);
  // What is said to be there is no beginning of the stream.
  for (const json& part : {json{{"bytes", 10}, {"sha256", "x"}},
                           json{{"bytes", 1'000'000'000'000}, {"sha256", sha256_hex("")}},
                           json{{"bytes", -1}, {"sha256", sha256_hex("")}}}) {
    CHECK(ask(lack({0, all}, part)).message == "");
    CHECK(world.stages["n0"]["kept"]["bytes"] == 0);
  }
  for (const json& answer :
       {json::object(), lack("all"), lack({"0", 1}), lack({0, all}, {{"bytes", 1}}),
        json{{"sealed", 1}}, json{{"sealed", false}, {"lacking", {0, 1}}}}) {
    const HostOutcome outcome = ask(answer);
    CHECK(outcome.state == HostState::failed);
    CHECK(outcome.step == "stage");
    CHECK(outcome.message == "the host's answer is malformed");
    CHECK(world.stages.empty());
  }
  ask({{"sealed", true}});
  CHECK(world.stages.empty());
}
