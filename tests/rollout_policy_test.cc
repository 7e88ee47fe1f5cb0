// SPDX-License-Identifier: Apache-2.0
//
// A policy on real environments: who is activated, who stays, who goes back.
#include <doctest/doctest.h>

#include <set>

#include "support/rollout_world.h"

namespace fs = std::filesystem;
using namespace ds;

namespace {

constexpr const char* fails_on_n2 =
    "import sys\ndef self_test():\n    assert '/n2/' not in sys.prefix + '/', 'wrong result'\n";

/// Four hosts at `one`; `two` comes, by a policy.
struct Paced : World {
  Wheel one, two;
  std::vector<HostOutcome> outcomes;
  std::size_t most_on_trial = 0;

  explicit Paced(const std::string& policy, const std::string& code = good) : World(4) {
    one = make_wheel(folder, "1.0", good);
    two = make_wheel(folder, "2.0", code);
    ShellTransport plain;
    roll(one, plain);
    options.policy = read_policy(policy, "policy.yaml");
    ShellTransport transport([this](const Endpoint&, std::string&) { count_trials(); });
    outcomes = roll(two, transport);
  }
  void count_trials() {
    std::size_t now = 0;
    for (const TestHost& host : hosts)
      now += fs::exists(host.root() / "unconfirmed.json");
    most_on_trial = std::max(most_on_trial, now);
  }
  /// "2" at the new release, "1" at the old one, for each host
  std::string at() const {
    std::string text;
    for (const TestHost& host : hosts) {
      const std::vector<std::string> names = pointer(host);
      text += names == std::vector<std::string>{two.sha256}   ? '2'
              : names == std::vector<std::string>{one.sha256} ? '1'
                                                              : '?';
    }
    return text;
  }
  std::string states() const {
    std::string text;
    for (const HostOutcome& outcome : outcomes)
      text += (text.empty() ? "" : " ") + to_string(outcome.state);
    return text;
  }
};

}  // namespace

TEST_CASE("policy: rolling, one at a time") {
  const Paced world("strategy: rolling\nmax_in_flight: 1\n");
  CHECK(world.states() == "confirmed confirmed confirmed confirmed");
  CHECK(world.at() == "2222");
  CHECK(world.most_on_trial == 1);
}

TEST_CASE("policy: rolling, never more out than the budget") {
  const Paced world("strategy: rolling\nmax_in_flight: 4\nmax_unavailable: 50%\n");
  CHECK(world.at() == "2222");
  CHECK(world.most_on_trial == 2);
}

TEST_CASE("policy: rolling stops at a failure, and who is confirmed stays") {
  const Paced world("strategy: rolling\nmax_in_flight: 1\n", fails_on_n2);
  CHECK(world.states() == "confirmed rolled-back staged staged");
  CHECK(world.at() == "2111");
  CHECK(world.outcomes[2].message == "not activated, because n2 did not confirm");
  CHECK(world.exit() == 4);
}

TEST_CASE("policy: a failure that is allowed costs its own host alone") {
  const Paced world("strategy: rolling\nmax_in_flight: 2\nmax_failures: 1\n", fails_on_n2);
  CHECK(world.states() == "confirmed rolled-back confirmed confirmed");
  CHECK(world.at() == "2122");
  CHECK(world.exit() == 4);
}

TEST_CASE("policy: rolling, and all go back") {
  const Paced world("strategy: rolling\nmax_in_flight: 1\non_failure: roll-back-all\n",
                    fails_on_n2);
  CHECK(world.states() == "rolled-back rolled-back staged staged");
  CHECK(world.at() == "1111");
  CHECK(contains(world.outcomes[0].message, "n2 did not confirm"));
}

TEST_CASE("policy: all at once, with a failure that is allowed") {
  const Paced world("max_failures: 1\n", fails_on_n2);
  CHECK(world.states() == "confirmed rolled-back confirmed confirmed");
  CHECK(world.at() == "2122");
  CHECK(world.most_on_trial == 4);
}

TEST_CASE("policy: the health command is asked on each host and knows what for") {
  const std::string ask =
      "health:\n  command: test \"$DS_DEPLOY_PHASE $DS_DEPLOY_HOST\" != "
      "\"confirm n3\" && test ${#DS_DEPLOY_RELEASE} = 64 || { echo ill; "
      "exit 3; }\n";
  const Paced world(ask);
  CHECK(world.at() == "1111");
  CHECK(world.outcomes[2].step == "health");
  CHECK(world.outcomes[2].message == "the health command ended with status 3: ill");
  CHECK(contains(world.outcomes[0].message, "n3 is not healthy"));
  CHECK(world.exit() == 4);
}

TEST_CASE("policy: a host that cannot stage is one of those that may fail") {
  World world(2);
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  world.options.policy = read_policy("max_failures: 1\n", "policy.yaml");
  ShellTransport transport([](const Endpoint& host, std::string& input) {
    if (host.name == "n2" && phase_of(input) == "stage")
      input.resize(input.size() - 1);
  });
  const std::vector<HostOutcome> outcomes = world.roll(wheel, transport);
  CHECK(outcomes[0].state == HostState::confirmed);
  CHECK(outcomes[1].state == HostState::failed);
  CHECK(pointer(world.hosts[1]).empty());
  CHECK(world.exit() == 4);
}

TEST_CASE("policy: a step that was cut is tried again, as often as the policy says") {
  for (const std::string phase : {"stage", "verify", "confirm"}) {
    for (const int retries : {0, 1}) {
      World world(2);
      const Wheel wheel = make_wheel(world.folder, "1.0", good);
      world.options.policy =
          read_policy("retries: " + std::to_string(retries) + "\n", "policy.yaml");
      int times = 0;
      ShellTransport transport(
          {}, [&](const Endpoint& host, const std::string& input, ExecResult& result) {
            if (host.name != "n2" || phase_of(input) != phase || times++ > 0)
              return;
            result.outcome = ExecResult::Outcome::lost;
            result.out.clear();
            result.message = "the connection broke";
          });
      const std::vector<HostOutcome> outcomes = world.roll(wheel, transport);
      CAPTURE(phase);
      // Only the answer was lost: what is staged is not sent again.
      CHECK(times == (retries == 0 || phase == "stage" ? 1 : 2));
      CHECK((outcomes[1].state == HostState::confirmed) == (retries == 1));
      CHECK((outcomes[0].state == HostState::confirmed) == (retries == 1));
      CHECK((outcomes[1].message == "the connection broke") == (retries == 0));
    }
  }
}
