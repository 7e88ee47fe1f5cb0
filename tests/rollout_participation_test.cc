// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "rollout/participation.h"
#include "support/rollout_world.h"
#include "support/seeded_wheel.h"

using namespace ds;

namespace {

using What = Policy::Treatment::What;

HostOutcome outcome(const std::string& host, HostState state, const std::string& step) {
  HostOutcome value;
  value.host = host;
  value.state = state;
  value.step = step;
  return value;
}

const std::vector<HostOutcome> one_of_each = {outcome("good", HostState::ready, "audit"),
                                              outcome("down", HostState::unreachable, "connect"),
                                              outcome("login", HostState::refused, "connect"),
                                              outcome("old", HostState::refused, "audit"),
                                              outcome("busy", HostState::skipped, "busy"),
                                              outcome("bare", HostState::skipped, "dead-man")};

/// Names of those that are left out, or why none are.
std::string left_out(std::vector<HostOutcome> hosts, const Policy& policy) {
  std::vector<Candidate> all;
  for (HostOutcome& host : hosts)
    all.push_back({&host, nullptr});
  const std::string because = leave_out(all, policy);
  std::vector<std::string> names;
  for (const HostOutcome& host : hosts) {
    CHECK(host.left_out == (host.owed == std::vector<std::string>{owed_release}));
    if (host.left_out)
      names.push_back(host.host);
  }
  return because.empty() ? join(names, " ") : because;
}

Policy policy_of(const std::string& key, const std::string& text) {
  Policy policy;
  for (const TreatmentKey& each : treatment_keys()) {
    if (each.name == key)
      apply_treatment(policy, each, text);
  }
  return policy;
}

}  // namespace

TEST_CASE("rollout participation: who is left out by each key") {
  CHECK(left_out(one_of_each, {}) == "");
  CHECK(left_out(one_of_each, policy_of("unreachable", "leave-out")) == "down login");
  CHECK(left_out(one_of_each, policy_of("incompatible", "leave-out")) == "old");
  CHECK(left_out(one_of_each, policy_of("busy", "leave-out")) == "busy");
  CHECK(left_out(one_of_each, policy_of("without_dead_man", "leave-out")) == "bare");
  CHECK(left_out(one_of_each, policy_of("busy", "wait=1h")) == "busy");
  CHECK(left_out(one_of_each, policy_of("without_dead_man", "proceed")) == "");
}

TEST_CASE("rollout participation: no more than the policy says") {
  CHECK(left_out(one_of_each, policy_of("unreachable", "leave-out=2")) == "down login");
  CHECK(left_out(one_of_each, policy_of("unreachable", "leave-out=34%")) == "down login");
  const std::string too_many =
      "2 hosts are unreachable (down, login), and the policy leaves out 1 at most";
  CHECK(left_out(one_of_each, policy_of("unreachable", "leave-out=1")) == too_many);
  CHECK(left_out(one_of_each, policy_of("unreachable", "leave-out=33%")) == too_many);
  // Those of another kind are not left out then, either.
  Policy both = policy_of("unreachable", "leave-out=1");
  both.incompatible.what = What::leave_out;
  CHECK(left_out(one_of_each, both) == too_many);
  CHECK(left_out({outcome("bare", HostState::skipped, "dead-man")},
                 policy_of("without_dead_man", "leave-out=50%")) ==
        "1 host is without a dead-man's switch (bare), and the policy leaves out 0 at most");
}

TEST_CASE("rollout participation: what no policy passes over") {
  std::vector<HostOutcome> hosts = {outcome("key", HostState::refused, "connect"),
                                    outcome("lock", HostState::refused, "lock"),
                                    outcome("lost", HostState::unreachable, "stage"),
                                    outcome("failed", HostState::failed, "stage")};
  hosts[0].key_refused = hosts[1].lock_held = true;
  Policy policy;
  for (const TreatmentKey& key : treatment_keys())
    (policy.*key.place).what = What::leave_out;
  CHECK(left_out(hosts, policy) == "");
  // One that is lost before anything was sent can be.
  CHECK(left_out({outcome("lost", HostState::unreachable, "lock")}, policy) == "lost");
}

TEST_CASE("rollout participation: a busy host is held back where something would change") {
  HostFacts facts;
  facts.use = UseFacts{{"Slurm job 7"}, {"python3 of eve (12)"}, {}, true};
  Gpu gpu;
  gpu.processes = {"python3 of eve (12)", "x (9)"};
  facts.gpus = {gpu, gpu};
  CHECK(users_of(facts) == "Slurm job 7, python3 of eve (12), x (9) on its GPUs");
  HostOutcome ready = outcome("n1", HostState::ready, "audit"),
              there = outcome("n2", HostState::unchanged, "audit");
  const std::vector<Candidate> hosts = {{&ready, &facts}, {&there, &facts}};
  hold_busy_back(hosts, {});
  CHECK(ready.state == HostState::ready);
  hold_busy_back(hosts, policy_of("busy", "stop"));
  CHECK(ready.state == HostState::skipped);
  CHECK(ready.step == "busy");
  CHECK(ready.message == "in use by Slurm job 7, python3 of eve (12), x (9) on its GPUs");
  CHECK(there.state == HostState::unchanged);
}

TEST_CASE("rollout participation: a host that is in use holds back those with its environment") {
  HostFacts used, unused;
  used.use = UseFacts{{"Slurm job 7"}, {}, {}, true};
  unused.use = UseFacts{{}, {}, {}, true};
  std::vector<HostOutcome> hosts;
  for (const char* name : {"n1", "n2", "n3", "n4"})
    hosts.push_back(outcome(name, HostState::ready, "audit"));
  hosts[1].writer = hosts[2].writer = "n1";
  const std::vector<Candidate> candidates = {
      {&hosts[0], &unused}, {&hosts[1], &unused}, {&hosts[2], &used}, {&hosts[3], &unused}};
  hold_busy_back(candidates, policy_of("busy", "leave-out"));
  CHECK(hosts[0].message == "it has one environment with others, and n3 is in use by Slurm job 7");
  CHECK(hosts[1].message == hosts[0].message);
  CHECK(hosts[2].message == "in use by Slurm job 7");
  CHECK(hosts[3].state == HostState::ready);
  CHECK(leave_out(candidates, policy_of("busy", "leave-out=2")) ==
        "3 hosts are busy (n1, n2, n3), and the policy leaves out 2 at most");
  CHECK(leave_out(candidates, policy_of("busy", "leave-out=3")).empty());
}

TEST_CASE("rollout participation: whether GPUs are free is theirs to tell") {
  HostFacts facts;
  CHECK(are_gpus_free(facts));  // there is none
  facts.gpus.resize(2);
  CHECK_FALSE(are_gpus_free(facts));
  facts.use = UseFacts{{}, {}, {}, true};
  CHECK_FALSE(are_gpus_free(facts));
  facts.gpus[0].processes.emplace();
  CHECK_FALSE(are_gpus_free(facts));
  facts.gpus[1].processes.emplace();
  CHECK(are_gpus_free(facts));
  facts.use->jobs = {"Slurm job 7"};
  CHECK_FALSE(are_gpus_free(facts));
  facts.use.reset();
  CHECK(are_gpus_free(facts));
  facts.gpus[1].processes->push_back("process 7");
  CHECK_FALSE(are_gpus_free(facts));
}

TEST_CASE("rollout participation: the others get it without those that are left out") {
  World world(3);
  ShellTransport transport;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  world.unreachable = {"n2"};
  CHECK(world.roll(wheel, transport)[0].state == HostState::ready);
  world.options.policy.unreachable = {.what = What::leave_out, .most = {1, false}};
  std::vector<HostOutcome> outcomes = world.roll(wheel, transport);
  CHECK(outcomes[0].state == HostState::confirmed);
  CHECK(outcomes[1].left_out);
  CHECK(outcomes[1].owed == std::vector<std::string>{owed_release});
  CHECK(outcomes[2].state == HostState::confirmed);
  CHECK(world.exit() == 5);
  world.report.accept_left_out = true;
  CHECK(exit_status(world.report) == ExitStatus::ok);

  world.unreachable = {"n1", "n2"};
  outcomes = world.roll(make_wheel(world.folder, "2.0", good), transport);
  CHECK(outcomes[2].state == HostState::ready);
  CHECK(outcomes[2].message ==
        "nothing was activated, because 2 hosts are unreachable (n1, n2), and the policy leaves "
        "out 1 at most");
  CHECK(outcomes[1].owed.empty());
}

TEST_CASE("rollout participation: a run that brought its release to nobody owes nobody") {
  World world(3);
  ShellTransport transport;
  world.unreachable = {"n3"};
  world.options.policy.unreachable.what = What::leave_out;
  std::vector<HostOutcome> outcomes = world.roll(make_wheel(world.folder, "1.0", bad), transport);
  CHECK(outcomes[0].state == HostState::rolled_back);
  CHECK(outcomes[2].left_out);
  CHECK(outcomes[2].owed.empty());
  // What an earlier run owes it stays owed.
  world.options.unserved = {"n3"};
  outcomes = world.roll(make_wheel(world.folder, "2.0", bad), transport);
  CHECK(outcomes[2].owed == std::vector<std::string>{owed_release});
}

TEST_CASE("rollout participation: hosts that the audit refuses are not away") {
  World world(4);
  ShellTransport transport;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  world.refused = {"n1", "n2"};
  world.options.policy.incompatible.what = What::leave_out;
  world.options.policy.strategy = Policy::Strategy::rolling;
  world.options.policy.max_in_flight = world.options.policy.max_unavailable = {1, false};
  const std::vector<HostOutcome> outcomes = world.roll(wheel, transport);
  CHECK(outcomes[0].left_out);
  CHECK(outcomes[2].state == HostState::confirmed);
  CHECK(outcomes[3].state == HostState::confirmed);
  CHECK(world.exit() == 3);
}

TEST_CASE("rollout participation: a job keeps its GPUs; what was not shown there is owed") {
  World world(1);
  ShellTransport transport;
  const std::string asks =
      "import os\nclass CannotRun(Exception): pass\n"
      "def self_test():\n"
      "  if os.environ.get('CUDA_VISIBLE_DEVICES') == '': raise CannotRun('no GPU')\n";
  const auto roll = [&](const Wheel& wheel) {
    std::vector<ReleaseSet> sets = {{{World::parcel_of(wheel)}, {}}};
    sets.front().parcels.front().for_gpus = true;
    return world.roll(sets, transport).front();
  };
  world.gpus = 1;
  const Wheel wheel = make_wheel(world.folder, "1.0", asks);
  HostOutcome host = roll(wheel);
  CHECK(host.state == HostState::confirmed);
  CHECK(host.self_tests == std::vector<std::string>{"demo: cannot run here: no GPU"});
  CHECK(host.owed == std::vector<std::string>{owed_proof});
  CHECK(host.message.find("were not tried") != std::string::npos);
  CHECK(world.exit() == 0);
  // Once more: it is there, and still owed where an earlier run says so.
  CHECK(roll(wheel).owed.empty());
  world.options.unproven = {"n1"};
  CHECK(roll(wheel).owed == std::vector<std::string>{owed_proof});
  world.options.goal = RolloutOptions::Goal::proven;
  host = roll(wheel);
  CHECK(host.state == HostState::skipped);
  CHECK(host.step == "busy");
  CHECK(host.owed == std::vector<std::string>{owed_proof});
  world.processes.emplace();
  host = roll(wheel);
  CHECK(host.state == HostState::unchanged);
  CHECK(host.self_tests == std::vector<std::string>{"demo: passed"});
  CHECK(host.owed.empty());
}

TEST_CASE("rollout participation: who has the GPU is not the op's fault") {
  World world(1);
  ShellTransport transport;
  world.gpus = 1;
  world.processes.emplace();
  for (const char* said : {"CUDA error: out of memory",
                           "all CUDA-capable devices are busy or unavailable (code 1046)"}) {
    const TempDir folder;
    const Wheel wheel = make_wheel(
        folder, "1.0", std::string("def self_test(): raise RuntimeError('") + said + "')\n");
    std::vector<ReleaseSet> sets = {{{World::parcel_of(wheel)}, {}}};
    sets.front().parcels.front().for_gpus = true;
    const HostOutcome host = world.roll(sets, transport).front();
    CHECK(host.state == HostState::confirmed);
    CHECK(host.owed == std::vector<std::string>{owed_proof});
    CHECK(host.self_tests.front() == "demo: not run: somebody has the GPU: " + std::string(said));
  }
}
