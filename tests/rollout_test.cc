// SPDX-License-Identifier: Apache-2.0
#include "rollout/rollout.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"
#include "support/recording_status.h"
#include "support/shell_transport.h"

namespace fs = std::filesystem;
using namespace ds;

namespace {

/// A host whose environment is a real virtual environment in a folder of the test.
struct TestHost {
  std::string name;
  fs::path prefix;
  fs::path root() const { return prefix.parent_path() / ".ds-deploy" / prefix.filename(); }
  std::string python() const { return prefix / "bin/python"; }
};

TestHost make_host(const TempDir& folder, const std::string& name) {
  TestHost host{name, folder.path() / name / "env"};
  const std::string command = "python3 -m venv --without-pip " + host.prefix.string();
  REQUIRE(std::system(command.c_str()) == 0);
  return host;
}

std::vector<std::string> pointer(const TestHost& host) {
  if (!fs::exists(host.root() / "active"))
    return {};
  std::vector<std::string> names = lines(read_file(host.root() / "active"));
  return names == std::vector<std::string>{"none"} ? std::vector<std::string>{} : names;
}

HostFacts facts_of(const TestHost& host) {
  HostFacts facts;
  facts.host = host.name;
  facts.state = HostFacts::State::reached;
  facts.python.asked = facts.python.executable = host.python();
  facts.installed.active = pointer(host);
  if (fs::exists(host.root() / "releases")) {
    for (const auto& entry : fs::directory_iterator(host.root() / "releases")) {
      if (entry.path().extension() == ".json")
        facts.installed.sealed.push_back(entry.path().stem());
    }
  }
  facts.installed.hook = !facts.installed.active.empty();
  return facts;
}

Wheel make_wheel(const TempDir& folder, const std::string& version, const std::string& code) {
  WheelSpec spec;
  spec.name = "demo";
  spec.version = version;
  spec.tag = "py3-none-linux_x86_64";
  spec.summary = "a package for tests";
  spec.files = {{"demo/__init__.py", "VERSION = '" + version + "'\n" + code, {}, false},
                {"demo/data.txt", "data\n", {}, false}};
  return open_wheel(write_wheel(spec, folder.path()));
}

struct World {
  TempDir folder;
  std::vector<TestHost> hosts;
  RecordingStatus status;
  std::vector<std::string> unreachable;

  explicit World(int number = 1) {
    for (int i = 1; i <= number; ++i)
      hosts.push_back(make_host(folder, "n" + std::to_string(i)));
  }

  std::vector<HostOutcome> roll(const Wheel& wheel, Transport& transport) {
    Inventory inventory;
    Fleet fleet;
    AuditReport audit;
    for (const TestHost& host : hosts) {
      Host entry;
      entry.name = entry.endpoint.name = host.name;
      entry.python = host.python();
      inventory.hosts.push_back(entry);
      fleet.hosts.push_back(facts_of(host));
      audit.hosts.push_back({host.name, Verdict::ready, {}, {}});
      for (const std::string& dead : unreachable) {
        if (dead != host.name)
          continue;
        fleet.hosts.back().state = HostFacts::State::unreachable;
        fleet.hosts.back().problem = "no route";
        audit.hosts.back().verdict = Verdict::unreachable;
      }
    }
    Parcel parcel;
    parcel.wheel = &wheel;
    parcel.imports = {"demo"};
    parcel.self_tests = {{"demo", "demo:self_test"}};
    RolloutOptions options;
    options.run = "run-1";
    return roll_out(inventory, fleet, audit, {parcel}, options, transport, status).hosts;
  }
};

constexpr const char* good = "def self_test():\n    pass\n";
constexpr const char* bad = "def self_test():\n    raise AssertionError('wrong result')\n";

}  // namespace

TEST_CASE("rollout: a wheel is staged, verified, activated and confirmed; again it is unchanged") {
  World world;
  ShellTransport transport;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  HostOutcome first = world.roll(wheel, transport).front();
  CHECK(first.message == "");
  CHECK(first.state == HostState::confirmed);
  CHECK(first.sent_bytes == wheel.bytes);
  CHECK(pointer(world.hosts[0]) == std::vector<std::string>{wheel.sha256});
  CHECK(first.self_tests == std::vector<std::string>{"demo: passed"});

  HostOutcome second = world.roll(wheel, transport).front();
  CHECK(second.state == HostState::unchanged);
  CHECK(second.sent_bytes == 0);
}

TEST_CASE("rollout: a wheel damaged on its way is never activated") {
  World world;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  ShellTransport transport([&](const Endpoint&, std::string& input) {
    if (input.size() > wheel.bytes && input.find("PK\x03\x04") != std::string::npos) {
      input[input.size() - wheel.bytes / 2] ^= 1;
    }
  });
  const HostOutcome outcome = world.roll(wheel, transport).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.step == "stage");
  CHECK(outcome.message.find("damaged on its way") != std::string::npos);
  CHECK(pointer(world.hosts[0]).empty());
  CHECK_FALSE(fs::exists(world.hosts[0].root() / "releases" / wheel.sha256));
}

TEST_CASE("rollout: a wheel cut on its way is never activated") {
  World world;
  const Wheel wheel = make_wheel(world.folder, "1.0", good);
  ShellTransport transport([&](const Endpoint&, std::string& input) {
    if (input.find("PK\x03\x04") != std::string::npos)
      input.resize(input.size() - 100);
  });
  const HostOutcome outcome = world.roll(wheel, transport).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.message.find("the wheel ended after") != std::string::npos);
  CHECK(pointer(world.hosts[0]).empty());
}

TEST_CASE("rollout: a release that was changed on the host is not activated") {
  World world;
  ShellTransport transport;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  const Wheel two = make_wheel(world.folder, "2.0", good);
  world.roll(one, transport);
  world.roll(two, transport);
  const fs::path file = world.hosts[0].root() / "releases" / one.sha256 / "demo/data.txt";
  fs::permissions(file, fs::perms::owner_all);
  fs::permissions(file.parent_path(), fs::perms::owner_all);
  write_file(file, "other\n");
  const HostOutcome outcome = world.roll(one, transport).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.step == "verify");
  CHECK(outcome.message.find("demo/data.txt has other content") != std::string::npos);
  CHECK(pointer(world.hosts[0]) == std::vector<std::string>{two.sha256});
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
