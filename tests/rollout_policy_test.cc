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
  std::string order;  ///< in which they were seen on trial: "1324"

  /// `drivers`: by host, so that those with others are of another class.
  explicit Paced(const std::string& policy, const std::string& code = good,
                 std::map<std::string, std::string> its_drivers = {})
      : World(4) {
    drivers = std::move(its_drivers);
    one = make_wheel(folder, "1.0", good);
    two = make_wheel(folder, "2.0", code);
    ShellTransport plain;
    roll(one, plain);
    options.policy = read_policy(policy, "policy.yaml");
    ShellTransport transport([this](const Endpoint& host, std::string&) {
      count_trials();
      if (fs::exists(folder.path() / host.name / ".ds-deploy/env/unconfirmed.json") &&
          (order.empty() || order.back() != host.name[1]))
        order += host.name[1];
    });
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

namespace {

/// n1 and n2 are of one class, n3 and n4 of another.
const std::map<std::string, std::string> two_classes = {
    {"n1", "580.65.06"}, {"n2", "580.65.06"}, {"n3", "535.104.05"}, {"n4", "535.104.05"}};

}  // namespace

TEST_CASE("policy: a canary is one host of each class, then come waves") {
  const Paced world("strategy: canary\nwaves: [1]\nmax_in_flight: 1\n", good, two_classes);
  CHECK(world.states() == "confirmed confirmed confirmed confirmed");
  CHECK(world.at() == "2222");
  CHECK(world.order == "1324");
  CHECK(world.most_on_trial == 1);
}

TEST_CASE("policy: the class of a canary that fails stops, the other one goes on") {
  const Paced world("strategy: canary\n",
                    "import sys\ndef self_test():\n"
                    "    assert '/n3/' not in sys.prefix + '/', 'wrong result'\n",
                    two_classes);
  CHECK(world.states() == "confirmed confirmed rolled-back staged");
  CHECK(world.at() == "2211");
  CHECK(world.outcomes[3].message ==
        "not activated, because n3 did not confirm, of the same class: driver 535.104.05");
  CHECK(world.exit() == 4);
}

TEST_CASE("policy: where canaries of two classes fail nobody goes on") {
  const Paced world(
      "strategy: canary\n",
      "import sys\ndef self_test():\n    assert '1.0' in sys.prefix, 'wrong result'\n",
      two_classes);
  CHECK(world.states() == "rolled-back staged rolled-back staged");
  CHECK(world.at() == "1111");
  CHECK(contains(world.outcomes[1].message, "not activated, because n"));
}

TEST_CASE("policy: a canary goes forward, back and forward") {
  const Paced world("strategy: canary\nprove_rollback: true\nmax_in_flight: 1\n", good,
                    two_classes);
  CHECK(world.states() == "confirmed confirmed confirmed confirmed");
  CHECK(world.at() == "2222");
  CHECK(world.outcomes[0].message == "went back and forward again, as a trial");
  CHECK(world.outcomes[1].message == "");
  const std::string history = read_file(world.hosts[0].root() / "history.jsonl");
  std::string events;
  for (const std::string& line : lines(history))
    events += nlohmann::json::parse(line).at("event").get<std::string>() + " ";
  CHECK(events == "activated confirmed activated rolled-back activated confirmed ");
  CHECK(contains(history, "the way back was tried"));
}

TEST_CASE("policy: a canary that fails while it is watched is brought back, and nobody follows") {
  // The first two times it is well: once for each of the classes.
  const std::string code =
      "import os, sys\ndef self_test():\n"
      "    path = sys.prefix + '/asked'\n"
      "    asked = os.path.exists(path)\n    open(path, 'w').close()\n"
      "    assert not asked or '/n3/' not in path, 'wrong result'\n";
  const Paced world("strategy: canary\nbake: 1\n", code, two_classes);
  CHECK(world.states() == "confirmed confirmed rolled-back staged");
  CHECK(world.at() == "2211");
  CHECK(world.outcomes[2].step == "confirm");
  CHECK(contains(world.outcomes[2].message, "wrong result"));
}

TEST_CASE("policy: what a run would do, in waves, and how long it takes") {
  const std::vector<std::map<std::string, double>> took = {
      {{"stage", 7}, {"verify", 1}, {"activate", 1}, {"confirm", 3}, {"keep", 0}},
      {{"stage", 2}, {"activate", 1}, {"confirm", 5}, {"health", 2}},
      {{"activate", 1}, {"confirm", 4}},
      {{"stage", 100}}};  // it was not activated
  RolloutOptions options;
  options.times = times_of(took);
  CHECK(options.times.longest == 8);
  CHECK(options.times.typical == 5);
  CHECK(options.times.staging == 8);
  World world;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  Fleet fleet;
  std::vector<HostOutcome> predicted;
  for (int at = 1; at <= 40; ++at) {
    HostFacts& host = fleet.hosts.emplace_back();
    host.host = "n" + std::to_string(at);
    host.driver = at % 20 == 0 ? "535" : "580";
    if (at == 3)
      host.installed.active = {std::string(64, 'a')};
    predicted.emplace_back();
    predicted.back().host = host.host;
    predicted.back().state = at == 7 ? HostState::unchanged : HostState::ready;
  }
  fleet.hosts[4].installed.sealed = {wheel.sha256};
  const std::vector<ReleaseSet> sets = {{{World::parcel_of(wheel)}, {}}};
  options.policy =
      read_policy("strategy: canary\nwaves: [1, 25%]\nbake: 2m\nmax_in_flight: 4\n", "p.yaml");
  const RolloutPlan plan = plan_rollout(fleet, predicted, sets, options);
  std::vector<std::size_t> sizes;
  std::vector<double> seconds;
  for (const RolloutPlan::Wave& wave : plan.waves) {
    sizes.push_back(wave.hosts.size());
    seconds.push_back(wave.seconds);
  }
  CHECK(sizes == std::vector<std::size_t>{2, 1, 10, 10, 10, 6});
  // Four at a time: the longest once, then the usual.
  CHECK(seconds == std::vector<double>{128, 8, 18, 18, 18, 13});
  CHECK(plan.waves[0].name == "canary");
  CHECK(plan.waves[0].hosts == std::vector<std::string>{"n1", "n20"});
  CHECK(plan.waves[5].name == "wave 5");
  CHECK(plan.seconds == 211);
  CHECK(plan.bytes == 38 * wheel.bytes);
  CHECK(plan.changes.size() == 2);
  CHECK(plan.changes[1].hosts == std::vector<std::string>{"n3"});
  CHECK(plan.hosts() == 39);
  options.policy = Policy{};
  CHECK(plan_rollout(fleet, predicted, sets, options).waves[0].name == "all at once");
  options.policy = read_policy("strategy: rolling\nmax_in_flight: 10%\n", "p.yaml");
  CHECK(plan_rollout(fleet, predicted, sets, options).waves[0].name == "4 at a time");
  options.goal = RolloutOptions::Goal::staged;
  CHECK(plan_rollout(fleet, predicted, sets, options).waves.empty());
}

TEST_CASE("policy: hooks, in their order, and what they say of a host") {
  World world(4);
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  const std::string notes = (world.folder.path() / "notes").string();
  const std::string say =
      "echo $DS_DEPLOY_PHASE $DS_DEPLOY_HOST $DS_DEPLOY_STATE "
      "$DS_DEPLOY_FOUND >> " +
      notes;
  std::string policy = "strategy: rolling\nmax_in_flight: 1\nmax_failures: 1\nhooks:\n";
  for (const char* name : {"run_start", "before_host", "after_host", "run_end"}) {
    const bool fails = std::string(name) == "before_host";
    policy += std::string("  ") + name + ":\n    command: |\n      " + say + "\n" +
              (fails ? "      test $DS_DEPLOY_HOST != n2 || { echo no room; exit 3; }\n" : "");
  }
  policy += "  drain:\n    command: |\n      " + say + "\n" +
            "      test $DS_DEPLOY_HOST != n3 || { echo by hand >&2; exit 75; }\n"
            "      echo idle since monday\n"
            "  undrain:\n    command: |\n      " +
            say + "\n      test $DS_DEPLOY_HOST != n4\n";
  world.options.policy = read_policy(policy, "policy.yaml");
  world.options.user = "ada";
  ShellTransport transport;
  const std::vector<HostOutcome> outcomes = world.roll(wheel, transport);
  CHECK(read_file(notes) ==
        "run_start\n"
        "drain n1 ready\nbefore_host n1 ready idle since monday\n"
        "after_host n1 confirmed idle since monday\nundrain n1 confirmed idle since monday\n"
        "drain n2 ready\nbefore_host n2 ready idle since monday\n"
        "after_host n2 failed idle since monday\nundrain n2 failed idle since monday\n"
        "drain n3 ready\n"
        "drain n4 ready\nbefore_host n4 ready idle since monday\n"
        "after_host n4 confirmed idle since monday\nundrain n4 confirmed idle since monday\n"
        "run_end\n");
  CHECK(to_string(outcomes[0].state) == "confirmed");
  CHECK(outcomes[1].message == "the before_host hook ended with status 3: no room");
  CHECK(outcomes[1].step == "before_host");
  CHECK(pointer(world.hosts[1]).empty());
  CHECK(to_string(outcomes[2].state) == "skipped");
  CHECK(outcomes[2].left_out);
  CHECK(outcomes[2].message ==
        "somebody else drained it: the drain hook ended with status 75: by hand");
  CHECK(outcomes[3].message == "it stays drained: the undrain hook ended with status 1");
  CHECK(outcomes[3].owed == std::vector<std::string>{"undrain"});
  CHECK(world.exit() == 4);
}

TEST_CASE("policy: hosts that an earlier run drained are brought back, whatever becomes of them") {
  World world(2);
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  const std::string notes = (world.folder.path() / "notes").string();
  world.options.policy = read_policy(
      "hooks:\n  drain: {command: exit 1}\n"
      "  undrain: {command: 'echo $DS_DEPLOY_RUN $DS_DEPLOY_HOST "
      "$DS_DEPLOY_FOUND >> " +
          notes + "'}\n",
      "policy.yaml");
  world.options.drained = {{"n1", "run-0", "mixed: none"}, {"elsewhere", "run-0", ""}};
  world.unreachable = {"n2"};
  ShellTransport transport;
  CHECK(to_string(world.roll(wheel, transport)[0].state) == "ready");
  CHECK(read_file(notes) == "run-0 n1 mixed: none\n");
}
