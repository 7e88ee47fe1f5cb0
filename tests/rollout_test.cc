// SPDX-License-Identifier: Apache-2.0
#include "rollout/rollout.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "base/file.h"
#include "support/rollout_world.h"
#include "support/seeded_wheel.h"

namespace fs = std::filesystem;
using namespace ds;

TEST_CASE("rollout: a wheel is staged, verified, activated and confirmed; again it is unchanged") {
  World world;
  ShellTransport transport;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  HostOutcome first = world.roll(wheel, transport).front();
  CHECK(first.message == "");
  CHECK(first.state == HostState::confirmed);
  CHECK(first.sent_bytes == stream_of(wheel).bytes);
  CHECK(pointer(world.hosts[0]) == std::vector<std::string>{wheel.sha256});
  CHECK(first.self_tests == std::vector<std::string>{"demo: passed"});

  HostOutcome second = world.roll(wheel, transport).front();
  CHECK(second.state == HostState::unchanged);
  CHECK(second.sent_bytes == 0);
}

TEST_CASE("rollout: each host gets the wheel of its set") {
  World world(3);
  ShellTransport transport;
  const TempDir other;
  const Wheel wheel = make_wheel(world.folder, "1.0", good),
              second = make_wheel(other, "2.0", good);
  const std::vector<ReleaseSet> sets = {{{World::parcel_of(second)}, {"n2"}},
                                        {{World::parcel_of(wheel)}, {}}};
  const std::vector<HostOutcome> outcomes = world.roll(sets, transport);
  for (std::size_t at = 0; at < 3; ++at) {
    const Wheel& own = at == 1 ? second : wheel;
    CHECK(outcomes[at].message == "");
    CHECK(outcomes[at].state == HostState::confirmed);
    CHECK(outcomes[at].release == own.sha256);
    CHECK(outcomes[at].sent_bytes == stream_of(own).bytes);
    CHECK(pointer(world.hosts[at]) == std::vector<std::string>{own.sha256});
  }
  for (const HostOutcome& outcome : world.roll(sets, transport))
    CHECK(outcome.state == HostState::unchanged);
}

TEST_CASE("rollout: a wheel that fails on the hosts of its set brings the others back too") {
  World world(2);
  ShellTransport transport;
  const TempDir other;
  const Wheel wheel = make_wheel(world.folder, "1.0", good), second = make_wheel(other, "2.0", bad);
  const std::vector<HostOutcome> outcomes = world.roll(
      {{{World::parcel_of(wheel)}, {"n1"}}, {{World::parcel_of(second)}, {"n2"}}}, transport);
  CHECK(outcomes[0].state == HostState::rolled_back);
  CHECK(outcomes[0].message.find("n2 did not confirm") != std::string::npos);
  CHECK(outcomes[1].step == "confirm");
  CHECK(pointer(world.hosts[0]).empty());
  CHECK(pointer(world.hosts[1]).empty());
}

TEST_CASE("rollout: a wheel damaged on its way is never activated") {
  World world;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  ShellTransport transport([&](const Endpoint&, std::string& input) {
    if (phase_of(input) == "stage")
      input[input.size() - 100] ^= 1;
  });
  const HostOutcome outcome = world.roll(wheel, transport).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.step == "stage");
  CHECK(outcome.message.find("damaged on its way") != std::string::npos);
  CHECK(world.exit() == 8);
  CHECK(pointer(world.hosts[0]).empty());
  CHECK_FALSE(fs::exists(world.hosts[0].root() / "releases" / wheel.sha256));
}

TEST_CASE("rollout: a wheel cut on its way is never activated") {
  World world;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  ShellTransport transport([&](const Endpoint&, std::string& input) {
    if (phase_of(input) == "stage")
      input.resize(input.size() - 100);
  });
  const HostOutcome outcome = world.roll(wheel, transport).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.message.find("the wheel ended after") != std::string::npos);
  CHECK(pointer(world.hosts[0]).empty());
}

TEST_CASE("rollout: a failing self-test brings every host back") {
  World world(2);
  ShellTransport transport;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  world.roll(one, transport);
  // The second host fails, the first one is good and must go back all the same.
  const std::string fails_there =
      "import sys\ndef self_test():\n    assert '/n2/' not in "
      "sys.prefix + '/', 'wrong result'\n";
  const Wheel two = make_wheel(world.folder, "2.0", fails_there);
  const std::vector<HostOutcome> outcomes = world.roll(two, transport);
  CHECK(outcomes[0].state == HostState::rolled_back);
  CHECK(outcomes[0].message.find("because n2 did not confirm") != std::string::npos);
  CHECK(outcomes[1].state == HostState::rolled_back);
  CHECK(outcomes[1].step == "confirm");
  CHECK(outcomes[1].message.find("wrong result") != std::string::npos);
  CHECK(pointer(world.hosts[0]) == std::vector<std::string>{one.sha256});
  CHECK(pointer(world.hosts[1]) == std::vector<std::string>{one.sha256});
}

TEST_CASE("rollout: back to nothing where there was nothing") {
  World world;
  ShellTransport transport;
  const HostOutcome outcome = world.roll(make_wheel(world.folder, "1.0", bad), transport).front();
  CHECK(outcome.state == HostState::rolled_back);
  CHECK(pointer(world.hosts[0]).empty());
  CHECK(outcome.release == "");
}

TEST_CASE("rollout: one unreachable host stops activation everywhere") {
  World world(2);
  world.unreachable = {"n2"};
  ShellTransport transport;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  const std::vector<HostOutcome> outcomes = world.roll(wheel, transport);
  CHECK(outcomes[0].state == HostState::ready);
  CHECK(outcomes[0].message.find("because n2") != std::string::npos);
  CHECK(outcomes[1].state == HostState::unreachable);
  CHECK(transport.scripts.empty());
}

TEST_CASE("rollout: a host that gives no answer has failed") {
  World world;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  ShellTransport transport(
      [](const Endpoint&, std::string& input) { input = "raise SystemExit(3)\n"; });
  const HostOutcome outcome = world.roll(wheel, transport).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.message.find("gave no answer") != std::string::npos);
}
