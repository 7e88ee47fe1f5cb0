// SPDX-License-Identifier: Apache-2.0
//
// What is said of a host, and where it ends, when something breaks in the middle of a rollout.
#include <doctest/doctest.h>

#include <functional>

#include "support/rollout_world.h"

namespace fs = std::filesystem;
using namespace ds;

namespace {

using Outcome = ExecResult::Outcome;

/// The commands of n2 in these phases end with `outcome`, after they did their work.
ShellTransport losing(std::vector<std::string> phases, Outcome outcome = Outcome::lost) {
  return ShellTransport(
      {}, [=](const Endpoint& host, const std::string& input, ExecResult& result) {
        if (host.name != "n2" ||
            std::find(phases.begin(), phases.end(), phase_of(input)) == phases.end())
          return;
        result.outcome = outcome;
        result.out.clear();
        result.message = "the connection broke";
      });
}

/// n2 throws when it comes to this phase.
ShellTransport throwing(const std::string& phase, const std::function<void()>& thrower) {
  return ShellTransport([=](const Endpoint& host, std::string& input) {
    if (host.name == "n2" && phase_of(input) == phase)
      thrower();
  });
}

/// What is said of its hosts.
struct Told : Upgrade {
  std::string said(std::size_t host) const {
    return to_string(outcomes[host].state) + " at " + outcomes[host].step + ": " +
           outcomes[host].message;
  }
};

}  // namespace

TEST_CASE("rollout: a connection that is lost before activation leaves the host unreachable") {
  const std::pair<std::string, Outcome> cases[] = {{"stage", Outcome::lost},
                                                   {"stage", Outcome::unreachable},
                                                   {"verify", Outcome::lost},
                                                   {"verify", Outcome::timed_out}};
  for (const auto& [phase, outcome] : cases) {
    Told world;
    // What was staged before its answer was lost is found when the host is asked again.
    world.run(losing({phase, phase == "stage" ? "lacking" : phase}, outcome));
    CHECK(world.said(1) == "unreachable at " + phase + ": the connection broke");
    CHECK(world.said(0) == "staged at audit: nothing was activated, because n2 could not stage it");
    CHECK(world.at(0, world.one));
    CHECK(world.at(1, world.one));
    CHECK(world.exit() == 5);
  }
}

TEST_CASE("rollout: an answer that is lost from activation on brings the host back") {
  for (const std::string phase : {"activate", "confirm"}) {
    Told world;
    world.run(losing({phase}));
    CHECK(world.said(1) == "rolled-back at " + phase + ": the connection broke");
    CHECK(contains(world.said(0), "rolled-back at rollback: went back, because n2"));
    CHECK(world.at(0, world.one));
    CHECK(world.at(1, world.one));
    CHECK(world.exit() == 4);
  }
}

TEST_CASE("rollout: a host that cannot be reached to go back is unknown") {
  const std::pair<std::string, Outcome> cases[] = {{"activate", Outcome::lost},
                                                   {"confirm", Outcome::unreachable},
                                                   {"confirm", Outcome::login_refused}};
  for (const auto& [phase, outcome] : cases) {
    Told world;
    world.run(losing({phase, "rollback"}, outcome));
    CHECK(world.said(1) ==
          "unknown at rollback: the connection broke; going back failed: the connection broke");
    CHECK(world.outcomes[0].state == HostState::rolled_back);
    CHECK(world.at(0, world.one));
    CHECK(world.exit() == 5);
  }
}

TEST_CASE("rollout: a good host that cannot be reached to go back says why it had to") {
  Told world;
  world.two =
      make_wheel(world.folder, "3.0",
                 "import sys\ndef self_test():\n    assert '/n1/' not in sys.prefix + '/'\n");
  world.run(losing({"rollback"}));
  CHECK(world.said(1) ==
        "unknown at rollback: it had to go back, because n1 did not confirm; "
        "going back failed: the connection broke");
  CHECK(contains(world.said(0), "rolled-back at confirm: self-test of demo failed"));
}

TEST_CASE("rollout: where nothing has to go back, a lost answer is unknown") {
  Told world;
  world.two = world.one;
  world.run(losing({"confirm"}));
  CHECK(world.said(1) == "unknown at confirm: the connection broke");
  CHECK(world.outcomes[0].state == HostState::unchanged);
  CHECK(world.exit() == 5);
}

TEST_CASE("rollout: a login or a host key that is refused in the middle") {
  Told world;
  world.run(losing({"verify"}, Outcome::login_refused));
  CHECK(world.said(1) == "refused at connect: the connection broke");
  CHECK(world.exit() == 5);
  world.run(losing({"verify"}, Outcome::host_key_refused));
  CHECK(world.said(1) == "refused at connect: the connection broke");
  CHECK(world.outcomes[1].key_refused);
  CHECK(world.exit() == 8);
}

TEST_CASE("rollout: a command that was killed on the host has failed") {
  Told world;
  world.run(losing({"stage"}, Outcome::signalled));
  CHECK(world.said(1) == "failed at stage: the connection broke");
  CHECK(world.exit() == 4);
}

TEST_CASE("rollout: a rollback that the host refuses") {
  Told world;
  world.two = make_wheel(world.folder, "3.0", bad);
  world.run(ShellTransport([&](const Endpoint& host, std::string& input) {
    const fs::path releases = world.hosts[1].root() / "releases";
    if (host.name == "n2" && phase_of(input) == "rollback")
      fs::rename(releases / world.one.sha256, releases / "elsewhere");
  }));
  CHECK(contains(world.said(1), "failed at rollback: self-test of demo failed"));
  CHECK(contains(world.said(1), "; going back failed: the previous release"));
  CHECK(world.at(0, world.one));
  CHECK(world.at(1, world.two));
  CHECK(world.exit() == 6);
}

TEST_CASE("rollout: a host that fails to activate takes the others back") {
  Told world;
  world.run(ShellTransport([&](const Endpoint& host, std::string& input) {
    if (host.name == "n2" && phase_of(input) == "activate")
      fs::remove(world.hosts[1].root() / "releases" / (world.two.sha256 + ".json"));
  }));
  CHECK(contains(world.said(1), "rolled-back at activate: release "));
  CHECK(contains(world.said(1), "is not sealed"));
  CHECK(world.said(0) == "rolled-back at rollback: went back, because n2 could not activate it");
  CHECK(world.at(0, world.one));
  CHECK(world.at(1, world.one));
  CHECK(world.exit() == 4);
}

TEST_CASE("rollout: hosts that are there already confirm before another one moves") {
  Told world;
  fs::remove(world.hosts[1].root() / "active");
  world.two = world.one;
  world.run(ShellTransport([&](const Endpoint& host, std::string& input) {
    if (host.name == "n2" && phase_of(input) == "activate")
      fs::remove(world.hosts[1].root() / "releases" / (world.one.sha256 + ".json"));
  }));
  CHECK(world.outcomes[1].state == HostState::rolled_back);
  CHECK(world.said(0) == "unchanged at confirm: ");
  CHECK(world.at(0, world.one));
  CHECK(pointer(world.hosts[1]).empty());
  CHECK(world.exit() == 4);
}

TEST_CASE("rollout: an interrupt before activation leaves hosts as they are") {
  for (const std::string phase : {"stage", "verify"}) {
    Told world;
    world.run(throwing(phase, [] { throw Interrupted{}; }));
    CHECK(world.report.interrupted);
    CHECK(world.said(0) ==
          "staged at audit: nothing was activated, because the run was interrupted");
    CHECK(world.outcomes[1].state == (phase == "stage" ? HostState::ready : HostState::staged));
    CHECK(world.at(0, world.one));
    CHECK(world.exit() == 130);
  }
}

TEST_CASE("rollout: an interrupt after activation began brings every host back") {
  for (const std::string phase : {"activate", "confirm"}) {
    Told world;
    world.run(throwing(phase, [] { throw Interrupted{}; }));
    CHECK(world.report.interrupted);
    for (const std::size_t host : {0u, 1u}) {
      CHECK(world.said(host) ==
            "rolled-back at rollback: went back, because the run was interrupted");
      CHECK(world.at(host, world.one));
    }
    CHECK(world.exit() == 130);
  }
}

TEST_CASE("rollout: a second interrupt, while hosts go back") {
  Told world;
  int times = 0;
  world.run(ShellTransport([&](const Endpoint& host, std::string& input) {
    const std::string phase = phase_of(input);
    if (host.name == "n2" && (phase == "confirm" || phase == "rollback")) {
      ++times;
      throw Interrupted{};
    }
  }));
  CHECK(times == 2);
  CHECK(world.outcomes[0].state == HostState::rolled_back);
  CHECK(world.said(1) ==
        "unknown at rollback: it had to go back, because the run was interrupted; "
        "going back failed: it was interrupted");
  CHECK(world.exit() == 130);
}

TEST_CASE("rollout: an error in the middle still gives a report") {
  for (const std::string phase : {"stage", "verify", "activate", "confirm"}) {
    Told world;
    world.run(throwing(phase, [] { throw Error("cannot read the wheel"); }));
    REQUIRE(world.report.stopped.has_value());
    CHECK(world.report.stopped->what() == "cannot read the wheel");
    const std::string because = "because the run was stopped: cannot read the wheel";
    const bool early = phase == "stage" || phase == "verify";
    CHECK(world.said(0) == (early ? "staged at audit: nothing was activated, " + because
                                  : "rolled-back at rollback: went back, " + because));
    CHECK(world.at(0, world.one));
    CHECK(world.at(1, world.one));
    CHECK(world.exit() == 1);
  }
}
