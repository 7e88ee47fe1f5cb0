// SPDX-License-Identifier: Apache-2.0
//
// A sealed release: what damages it, what does not, and how it is mended.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include "base/fd.h"
#include "support/rollout_world.h"
#include "support/seeded_wheel.h"
#include "support/shell.h"

namespace fs = std::filesystem;
using namespace ds;

namespace {

fs::path release_of(const TestHost& host, const Wheel& wheel) {
  return host.root() / "releases" / wheel.sha256;
}

void damage(const fs::path& file) {
  fs::permissions(file, fs::perms::owner_all);
  fs::permissions(file.parent_path(), fs::perms::owner_all);
  write_file(file, "other\n");
}

}  // namespace

TEST_CASE("rollout: a damaged release that is not in use is staged again") {
  World world;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  const Wheel two = make_wheel(world.folder, "2.0", good);
  ShellTransport plain;
  world.roll(one, plain);
  world.roll(two, plain);
  damage(release_of(world.hosts[0], one) / "demo/data.txt");
  std::vector<std::string> phases;
  ShellTransport transport(
      [&](const Endpoint&, std::string& input) { phases.push_back(phase_of(input)); });
  const HostOutcome outcome = world.roll(one, transport).front();
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::confirmed);
  // The rest is in the other release.
  CHECK(outcome.sent_bytes == stream_with(one, {"__init__.py", "METADATA", "RECORD"}).bytes);
  CHECK(world.exit() == 0);
  CHECK(pointer(world.hosts[0]) == std::vector<std::string>{one.sha256});
  CHECK(join(phases, " ") ==
        "lock show-outliving lock is-outlived verify lacking stage verify activate confirm keep "
        "clean unlock");
  CHECK(read_file(release_of(world.hosts[0], one) / "demo/data.txt") == "data\n");
}

TEST_CASE("rollout: a release that stays damaged is staged again once") {
  World world;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  const Wheel two = make_wheel(world.folder, "2.0", good);
  int stages = 0;
  ShellTransport transport([&](const Endpoint&, std::string& input) {
    stages += phase_of(input) == "stage";
    const fs::path file = release_of(world.hosts[0], one) / "demo/data.txt";
    if (phase_of(input) == "verify" && fs::exists(file))
      damage(file);
  });
  ShellTransport plain;
  world.roll(one, plain);
  world.roll(two, plain);
  const HostOutcome outcome = world.roll(one, transport).front();
  CHECK(stages == 1);
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.step == "verify");
  CHECK(outcome.message.find("demo/data.txt has other content") != std::string::npos);
  CHECK(world.exit() == 8);
  CHECK(pointer(world.hosts[0]) == std::vector<std::string>{two.sha256});
}

TEST_CASE("rollout: a damaged release in use is not touched, and the way out is named") {
  World world;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  ShellTransport transport;
  world.roll(one, transport);
  damage(release_of(world.hosts[0], one) / "demo/data.txt");
  const HostOutcome outcome = world.roll(one, transport).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.step == "verify");
  CHECK(outcome.message.find("it is active and jobs may use it") != std::string::npos);
  CHECK(outcome.message.find("delete " + (world.hosts[0].root() / "active").string()) !=
        std::string::npos);
  CHECK(world.exit() == 8);
  // The way out works.
  fs::remove(world.hosts[0].root() / "active");
  CHECK(world.roll(one, transport).front().state == HostState::confirmed);
}

TEST_CASE("rollout: verify sees modes, links to folders and strangers") {
  World world;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  ShellTransport transport;
  world.roll(one, transport);
  const fs::path release = release_of(world.hosts[0], one);
  const auto message = [&] { return world.roll(one, transport).front().message; };
  const auto contains = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  fs::permissions(release / "demo/data.txt", fs::perms{0664});
  CHECK(contains(message(), "demo/data.txt has mode 664, not 444"));
  fs::permissions(release / "demo/data.txt", fs::perms{0444});
  CHECK(message() == "");
  fs::permissions(release, fs::perms::owner_all);
  fs::create_directory_symlink("/tmp", release / "elsewhere");
  CHECK(contains(message(), "elsewhere does not belong there"));
}

TEST_CASE("rollout: no import damages a release, whatever its level of optimization") {
  World world;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  ShellTransport transport;
  world.roll(one, transport);
  for (const char* level : {"", " -O", " -OO"})
    CHECK(shell(world.hosts[0].python() + level + " -c 'import demo'").status == 0);
  const HostOutcome outcome = world.roll(one, transport).front();
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::unchanged);
}

TEST_CASE("rollout: a wheel that was cut goes on where it ended") {
  World world;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  const WheelStream stream = stream_of(one);
  const auto size = static_cast<std::int64_t>(stream.bytes);
  const fs::path part = release_of(world.hosts[0], one).string() + ".part";
  const auto cut = [size](std::int64_t kept) {
    return ShellTransport([=](const Endpoint&, std::string& input) {
      if (phase_of(input) == "stage")
        input.resize(input.size() - static_cast<std::size_t>(size - kept));
    });
  };
  ShellTransport first = cut(100);
  HostOutcome outcome = world.roll(one, first).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.message == fmt::format("the wheel ended after 100 of {} bytes", size));
  CHECK(fs::file_size(part) == 100);

  ShellTransport plain;
  std::int64_t sent = size;
  SUBCASE("after what is there") {
    sent = size - 100;
  }
  SUBCASE("after all of it, which a killed run left") {
    write_file(part, read_file(stream.file));
    sent = 0;
  }
  SUBCASE("not after other bytes") {
    write_file(part, std::string(100, 'x'));
  }
  SUBCASE("not after more than it has") {
    write_file(part, read_file(stream.file) + "x");
  }
  SUBCASE("not after bytes that changed since the host was asked") {
    ShellTransport changing([&](const Endpoint&, std::string& input) {
      if (phase_of(input) == "stage")
        write_file(part, std::string(100, 'x'));
    });
    outcome = world.roll(one, changing).front();
    CHECK(outcome.state == HostState::failed);
    CHECK(outcome.message.find("has changed since the host was asked") != std::string::npos);
    CHECK_FALSE(fs::exists(part));
  }
  outcome = world.roll(one, plain).front();
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::confirmed);
  CHECK(outcome.sent_bytes == static_cast<std::uint64_t>(sent));
  CHECK_FALSE(fs::exists(part));
}

TEST_CASE("rollout: two runs never write one wheel on one host") {
  World world;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  const fs::path part = release_of(world.hosts[0], one).string() + ".part";
  fs::create_directories(part.parent_path());
  const Fd other(::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(::flock(other.get(), LOCK_EX) == 0);
  ShellTransport transport;
  const HostOutcome outcome = world.roll(one, transport).front();
  CHECK(outcome.state == HostState::failed);
  CHECK(outcome.message == "another run is sending the same wheel to this host");
  CHECK(fs::exists(part));
}

TEST_CASE("rollout: a wheel that was renamed is the same release") {
  World world;
  const Wheel one = make_wheel(world.folder, "1.0", good);
  ShellTransport transport;
  world.roll(one, transport);
  const fs::path renamed = world.folder.path() / "demo-1.0-1-py3-none-linux_x86_64.whl";
  fs::rename(one.file, renamed);
  CHECK(world.roll(open_wheel(renamed), transport).front().state == HostState::unchanged);
}
