// SPDX-License-Identifier: Apache-2.0
//
// Who decides that a release stays, when the coordinator or its connections are gone.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "support/rollout_world.h"

namespace fs = std::filesystem;
using namespace ds;

namespace {

struct Trial : Upgrade {
  bool comes_to(std::size_t host, const Wheel& wheel) const {
    for (int tries = 0; tries < 200 && !at(host, wheel); ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return at(host, wheel);
  }
  std::string note(std::size_t host, const char* name) const {
    const fs::path path = hosts[host].root() / name;
    return fs::exists(path) ? read_file(path) : "";
  }
  /// The pointer moves first.
  std::string note_that_comes(std::size_t host, const char* name) const {
    for (int tries = 0; tries < 100 && note(host, name).empty(); ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return note(host, name);
  }
};

/// From phase `name` on n2 hears nothing, and gives no answer.
ShellTransport cut_off(const std::string& name) {
  auto off = std::make_shared<bool>(false);
  return ShellTransport(
      [=](const Endpoint& host, std::string& input) {
        *off = *off || (host.name == "n2" && phase_of(input) == name);
        if (*off && host.name == "n2")
          input = "\n";
      },
      [=](const Endpoint& host, const std::string&, ExecResult& result) {
        if (!*off || host.name != "n2")
          return;
        result.outcome = ExecResult::Outcome::lost;
        result.message = "the connection broke";
      });
}

}  // namespace

TEST_CASE("dead-man: what every host confirmed is told to each, and stays") {
  Trial world;
  world.options.policy.confirm_timeout = std::chrono::seconds(6);
  ShellTransport plain;
  world.outcomes = world.roll(world.two, plain);
  std::this_thread::sleep_for(std::chrono::milliseconds(6500));
  for (const std::size_t host : {0u, 1u}) {
    CHECK(world.outcomes[host].state == HostState::confirmed);
    CHECK(world.at(host, world.two));
    CHECK(world.note(host, "unconfirmed.json").empty());
    CHECK(contains(world.note(host, "confirmed.json"), world.two.sha256));
  }
}

TEST_CASE("dead-man: a host that nobody reaches after activation goes back by itself") {
  Trial world;
  world.options.policy.confirm_timeout = std::chrono::seconds(2);
  world.run(cut_off("confirm"));
  CHECK(world.outcomes[0].state == HostState::rolled_back);
  CHECK(world.outcomes[1].state == HostState::unknown);
  CHECK(world.exit() == 5);
  CHECK(world.comes_to(1, world.one));
  CHECK(world.at(0, world.one));
}

TEST_CASE("dead-man: a host that does not hear that it stays goes back, the others stay") {
  Trial world;
  world.options.policy.confirm_timeout = std::chrono::seconds(6);
  world.run(cut_off("keep"));
  CHECK(world.outcomes[0].state == HostState::confirmed);
  CHECK(world.outcomes[1].state == HostState::unknown);
  CHECK(world.outcomes[1].message ==
        "the connection broke; it goes back by itself, unless it heard that it was confirmed");
  CHECK(world.exit() == 5);
  CHECK(world.comes_to(1, world.one));
  CHECK(world.at(0, world.two));
  CHECK(contains(world.note_that_comes(1, "rolled-back.json"), "did not confirm it within 6 s"));
}

TEST_CASE("dead-man: the word that comes too late is answered") {
  Trial world;
  world.options.policy.confirm_timeout = std::chrono::seconds(6);
  world.run(ShellTransport([](const Endpoint& host, std::string& input) {
    if (host.name == "n2" && phase_of(input) == "keep")
      std::this_thread::sleep_for(std::chrono::milliseconds(7500));
  }));
  CHECK(world.outcomes[0].state == HostState::confirmed);
  CHECK(world.outcomes[1].state == HostState::rolled_back);
  CHECK(contains(world.outcomes[1].message, "it went back by itself: the coordinator did not"));
  CHECK(world.at(1, world.one));
  CHECK(world.exit() == 4);
}

TEST_CASE("dead-man: an answer that is lost is asked for again") {
  Trial world;
  int times = 0;
  world.run(
      ShellTransport({}, [&](const Endpoint& host, const std::string& input, ExecResult& result) {
        if (host.name != "n2" || phase_of(input) != "keep" || times++ > 0)
          return;
        result.outcome = ExecResult::Outcome::lost;
        result.out.clear();
        result.message = "the connection broke";
      }));
  CHECK(times == 2);
  CHECK(world.outcomes[1].state == HostState::confirmed);
  CHECK(world.at(1, world.two));
}

TEST_CASE("dead-man: an interrupt after the decision takes nobody back") {
  Trial world;
  bool thrown = false;
  world.run(ShellTransport([&](const Endpoint& host, std::string& input) {
    if (host.name == "n2" && phase_of(input) == "keep" && !std::exchange(thrown, true))
      throw Interrupted{};
  }));
  CHECK(world.report.interrupted);
  for (const std::size_t host : {0u, 1u}) {
    CHECK(world.outcomes[host].state == HostState::confirmed);
    CHECK(world.at(host, world.two));
    CHECK(world.note(host, "unconfirmed.json").empty());
  }
}

TEST_CASE("dead-man: where no process outlives its session nothing is sent") {
  const auto kills = [] {
    return ShellTransport(
        {}, [](const Endpoint& host, const std::string& input, ExecResult& result) {
          const std::size_t at = result.out.find("\"outlives\": true");
          if (host.name == "n2" && phase_of(input) == "is-outlived" && at != std::string::npos)
            result.out.replace(at, 16, "\"outlives\": false");
        });
  };
  Trial world;
  world.run(kills());
  CHECK(world.outcomes[1].state == HostState::skipped);
  CHECK(world.outcomes[1].step == "dead-man");
  CHECK(contains(world.outcomes[1].message, "no dead-man: "));
  CHECK(contains(world.outcomes[0].message, "nothing was activated, because n2"));
  CHECK(world.outcomes[0].sent_bytes == 0);
  CHECK(world.exit() == 5);
  world.options.policy.without_dead_man.what = Policy::Treatment::What::proceed;
  world.run(kills());
  CHECK(world.outcomes[1].state == HostState::confirmed);
  CHECK(world.at(1, world.two));
}

TEST_CASE("dead-man: what an earlier run left undecided is taken back first") {
  for (const bool decided : {false, true}) {
    Trial world;
    world.options.policy.confirm_timeout = std::chrono::seconds(600);
    world.run(cut_off("confirm"));
    CHECK(world.at(1, world.two));
    if (decided)
      fs::rename(world.hosts[1].root() / "unconfirmed.json",
                 world.hosts[1].root() / "overdue.json");
    world.two = make_wheel(world.folder, "3.0", good);
    ShellTransport plain;
    world.outcomes = world.roll(world.two, plain);
    CHECK(world.outcomes[1].message == "");
    CHECK(world.outcomes[1].state == HostState::confirmed);
    CHECK(world.at(1, world.two));
    // What was never confirmed is nothing to go back to.
    CHECK(contains(world.note(1, "confirmed.json"),
                   "\"before\": [[], [\"" + world.one.sha256 + "\"]]"));
  }
}

TEST_CASE("dead-man: what took too long to confirm goes back before hosts do so by themselves") {
  Trial world;
  world.options.policy.confirm_timeout = std::chrono::seconds(4);
  world.run(ShellTransport([](const Endpoint& host, std::string& input) {
    if (host.name == "n2" && phase_of(input) == "confirm")
      std::this_thread::sleep_for(std::chrono::milliseconds(4500));
  }));
  for (const std::size_t host : {0u, 1u}) {
    CHECK(world.outcomes[host].state == HostState::rolled_back);
    CHECK(world.at(host, world.one));
  }
  CHECK(contains(world.outcomes[0].message, "nearly as long as confirm_timeout, 4 s"));
}
