// SPDX-License-Identifier: Apache-2.0
//
// How a wheel comes to a host: which bytes travel, how they go on after a cut, and what is refused.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "base/fd.h"
#include "base/sha256.h"
#include "support/rollout_world.h"
#include "support/seeded_wheel.h"
#include "support/shell.h"

namespace fs = std::filesystem;
using namespace ds;

namespace {

constexpr std::size_t op_bytes = 200'000;
const std::map<std::string, unsigned> three_ops = {{"a", 1}, {"b", 2}, {"c", 3}};
const std::vector<std::string> own_files = {"METADATA", "RECORD", "demo/b.so"};

/// One host, and two wheels of which the second has another op b.
struct OneOp : World {
  Wheel one = seeded_wheel(folder, "1.0", three_ops, op_bytes);
  Wheel two = seeded_wheel(folder, "2.0", {{"a", 1}, {"b", 20}, {"c", 3}}, op_bytes);
  ShellTransport plain;

  fs::path releases() const { return hosts[0].root() / "releases"; }
  fs::path place(const Wheel& wheel, const std::string& path) const {
    return releases() / wheel.sha256 / path;
  }
  fs::path part(const Wheel& wheel) const { return releases() / (wheel.sha256 + ".part"); }
  bool holds(const Wheel& wheel) const {
    bool same = true;
    read_wheel(wheel, [&](const WheelEntry& entry, std::string_view content) {
      same &= read_file(place(wheel, entry.path)) == content;
    });
    return same;
  }
  nlink_t links(const fs::path& file) const {
    struct stat status {};
    REQUIRE(::stat(file.c_str(), &status) == 0);
    return status.st_nlink;
  }
  HostOutcome roll_one(const Wheel& wheel, Transport& transport) {
    return roll(wheel, transport).front();
  }
  HostOutcome roll_one(const Wheel& wheel) { return roll_one(wheel, plain); }
  /// What the host's interpreter does before all else.
  void at_start(const std::string& code) {
    for (const auto& entry : fs::recursive_directory_iterator(hosts[0].prefix)) {
      if (entry.path().filename() != "site-packages")
        continue;
      // No sitecustomize: some systems have one, which comes first.
      write_file(entry.path() / "at_start.py", code);
      return write_file(entry.path() / "at_start.pth", "import at_start\n");
    }
    FAIL("no site-packages");
  }
  std::vector<std::string> half_made() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(releases())) {
      const std::string name = entry.path().filename();
      if (name.starts_with(".") || name.ends_with(".new") || name.ends_with(".part"))
        names.push_back(name);
    }
    return names;
  }
};

/// The request line and the stream that follows it.
struct StageInput {
  std::string program;
  nlohmann::json request;
  std::string stream;

  explicit StageInput(const std::string& input) {
    const std::size_t begin = input.find("\n{\"again\":") + 1;
    const std::size_t end = input.find('\n', begin);
    program = input.substr(0, begin);
    request = nlohmann::json::parse(input.substr(begin, end - begin));
    stream = input.substr(end + 1);
    if (!request.contains("more"))
      return;
    const std::size_t more = request["more"].get<std::size_t>();
    request.update(nlohmann::json::parse(stream.substr(0, more)));
    request.erase("more");
    stream.erase(0, more);
  }
  void send(const std::string& bytes) {
    stream = bytes;
    request["stream"]["bytes"] = bytes.size();
    request["stream"]["sha256"] = sha256_hex(bytes);
  }
  std::string text() const { return program + request.dump() + "\n" + stream; }
};

/// Changes what the stage command reads.
ShellTransport changing(const std::function<void(StageInput&)>& change) {
  return ShellTransport([change](const Endpoint&, std::string& input) {
    if (phase_of(input) != "stage")
      return;
    StageInput changed(input);
    change(changed);
    input = changed.text();
  });
}

std::string output_of(const std::string& command) {
  const TempDir folder;
  const std::string file = folder.path() / "out";
  REQUIRE(shell(command + " > " + file).status == 0);
  return read_file(file);
}

bool have_zstd(const std::string& test) {
  return needs("command -v zstd", test, "no zstd");
}

}  // namespace

TEST_CASE("rollout stream: a first wheel travels whole, packed") {
  OneOp world;
  const HostOutcome outcome = world.roll_one(world.one);
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::confirmed);
  CHECK(outcome.sent_bytes == stream_of(world.one).bytes);
  if (packing_here() == StreamPacking::zstd)
    CHECK(outcome.sent_bytes < 3 * op_bytes * 6 / 10);
  CHECK(world.holds(world.one));
  CHECK(world.half_made().empty());
  CHECK(world.roll_one(world.one).sent_bytes == 0);
}

TEST_CASE("rollout stream: of a wheel with one changed op that op travels") {
  OneOp world;
  world.roll_one(world.one);
  const HostOutcome outcome = world.roll_one(world.two);
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::confirmed);
  CHECK(outcome.sent_bytes == stream_with(world.two, own_files).bytes);
  CHECK(outcome.sent_bytes <= stream_with(world.two, {"demo/b.so"}).bytes + 65536);
  CHECK(world.holds(world.two));
  for (const char* shared : {"demo/a.so", "demo/c.so", "demo/__init__.py"}) {
    CHECK(fs::equivalent(world.place(world.one, shared), world.place(world.two, shared)));
    CHECK(world.links(world.place(world.two, shared)) == 2);
  }
  CHECK(world.links(world.place(world.two, "demo/b.so")) == 1);
  // Each goes its own way.
  CHECK(world.roll_one(world.one).message == "");
  CHECK(world.holds(world.one));
}

TEST_CASE("rollout stream: each host gets what it lacks") {
  World world(2);
  ShellTransport plain;
  const Wheel one = seeded_wheel(world.folder, "1.0", three_ops, op_bytes);
  const Wheel two = seeded_wheel(world.folder, "2.0", {{"a", 1}, {"b", 20}, {"c", 3}}, op_bytes);
  world.hosts.pop_back();
  world.roll(one, plain);
  world.hosts.push_back(make_host(world.folder, "n3"));
  const std::vector<HostOutcome> outcomes = world.roll(two, plain);
  CHECK(outcomes[0].sent_bytes == stream_with(two, own_files).bytes);
  CHECK(outcomes[1].sent_bytes == stream_of(two).bytes);
  CHECK(outcomes[1].state == HostState::confirmed);
}

TEST_CASE("rollout stream: a wheel whose files are all there needs no byte") {
  OneOp world;
  world.roll_one(world.one);
  const TempDir other;
  const fs::path packed = other.path() / world.one.file.filename();
  const std::string repack =
      "python3 -c 'import sys, zipfile\n"
      "with zipfile.ZipFile(sys.argv[1]) as old, zipfile.ZipFile(sys.argv[2], \"w\") as new:\n"
      "    for info in old.infolist(): new.writestr(info.filename, old.read(info))' ";
  REQUIRE(shell(repack + world.one.file.string() + " " + packed.string()).status == 0);
  const Wheel same = open_wheel(packed);
  REQUIRE(same.sha256 != world.one.sha256);
  const HostOutcome outcome = world.roll_one(same);
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::confirmed);
  CHECK(outcome.sent_bytes == 0);
  CHECK(world.holds(same));
}

TEST_CASE("rollout stream: a packed stream goes on after a cut, anywhere") {
  OneOp world;
  world.roll_one(world.one);
  const std::uint64_t all = stream_with(world.two, own_files).bytes;
  std::uint64_t sent = 0;
  for (const std::uint64_t upto : {std::uint64_t{1}, all / 2, all - 1}) {
    ShellTransport cut = changing([&](StageInput& input) { input.stream.resize(upto - sent); });
    const HostOutcome outcome = world.roll_one(world.two, cut);
    CHECK(outcome.state == HostState::failed);
    CHECK(outcome.message == fmt::format("the wheel ended after {} of {} bytes", upto, all));
    CHECK(fs::file_size(world.part(world.two)) == upto);
    CHECK(world.half_made().size() == 1);
    sent = upto;
  }
  const HostOutcome outcome = world.roll_one(world.two);
  CHECK(outcome.message == "");
  CHECK(outcome.sent_bytes == 1);
  CHECK(world.holds(world.two));
  CHECK(world.half_made().empty());
}

TEST_CASE("rollout stream: what came of another stream is sent anew") {
  OneOp world;
  ShellTransport cut = changing([](StageInput& input) { input.stream.resize(1000); });
  world.roll_one(world.two, cut);
  CHECK(fs::file_size(world.part(world.two)) == 1000);
  // Now the host has the other ops, so that it lacks less.
  world.roll_one(world.one);
  const HostOutcome outcome = world.roll_one(world.two);
  CHECK(outcome.message == "");
  CHECK(outcome.sent_bytes == stream_with(world.two, own_files).bytes);
  CHECK(world.holds(world.two));
}

TEST_CASE("rollout stream: a bit that flips is found, and nothing of it is kept") {
  OneOp world;
  ShellTransport flipping = changing([](StageInput& input) { input.stream[100'000] ^= 1; });
  const HostOutcome outcome = world.roll_one(world.one, flipping);
  CHECK(outcome.step == "stage");
  CHECK(contains(outcome.message, "the wheel was damaged on its way"));
  CHECK(world.exit() == 8);
  CHECK(world.half_made().empty());
  CHECK_FALSE(fs::exists(world.releases() / world.one.sha256));
}

TEST_CASE("rollout stream: streams that do not fit the manifest are refused") {
  if (!have_zstd("streams that do not fit"))
    return;
  OneOp world;
  const TempDir scratch;
  std::string says;
  std::function<void(StageInput&)> change;
  const std::string raw = read_file(stream_of(world.one, StreamPacking::none).file);
  const std::string file = scratch.path() / "raw";
  SUBCASE("too short") {
    write_file(file, raw.substr(0, raw.size() - 1));
    says = "the stream ends in ";
    change = [&](StageInput& input) { input.send(output_of("zstd -q -c " + file)); };
  }
  SUBCASE("too long") {
    write_file(file, raw + "x");
    says = "the stream goes on behind its last file";
    change = [&](StageInput& input) { input.send(output_of("zstd -q -c " + file)); };
  }
  SUBCASE("not packed, and too long") {
    says = "the stream goes on behind its last file";
    change = [&](StageInput& input) {
      input.request["stream"]["packing"] = "none";
      input.send(raw + "x");
    };
  }
  SUBCASE("no zstd") {
    says = "zstd cannot unpack the wheel: ";
    change = [](StageInput& input) { input.send(std::string(5000, 'x')); };
  }
  SUBCASE("the frame is cut") {
    says = "zstd cannot unpack the wheel: ";
    change = [](StageInput& input) { input.send(input.stream.substr(0, 100'000)); };
  }
  SUBCASE("something behind the frame") {
    says = "zstd cannot unpack the wheel: ";
    change = [](StageInput& input) { input.send(input.stream + "something"); };
  }
  SUBCASE("a bomb") {
    says = " was damaged on its way";
    change = [](StageInput& input) { input.send(output_of("head -c 2G /dev/zero | zstd -q -c")); };
  }
  SUBCASE("a bomb behind the files") {
    write_file(file, raw);
    says = "the stream goes on behind its last file";
    change = [&](StageInput& input) {
      input.send(output_of("{ cat " + file + "; head -c 2G /dev/zero; } | zstd -q -c"));
    };
  }
  SUBCASE("a window of 1 GB") {
    says = "zstd cannot unpack the wheel: ";
    change = [](StageInput& input) {
      input.send(std::string("(\xb5/\xfd\x00\xa0\x09\x00\x00z", 10));
    };
  }
  SUBCASE("a file twice") {
    says = "the stream's list of files names one twice";
    change = [](StageInput& input) { input.request["stream"]["files"] = {0, 1, 0, 1}; };
  }
  SUBCASE("a file that the manifest has not") {
    says = "the stream's list of files is not the manifest's";
    change = [](StageInput& input) { input.request["stream"]["files"] = {0, 100}; };
  }
  ShellTransport lying = changing(change);
  const HostOutcome outcome = world.roll_one(world.one, lying);
  CHECK(outcome.step == "stage");
  CHECK(contains(outcome.message, says));
  CAPTURE(outcome.message);
  CHECK(world.half_made().empty());
  CHECK_FALSE(fs::exists(world.releases() / world.one.sha256));
  CHECK(world.roll_one(world.one).state == HostState::confirmed);
}

TEST_CASE("rollout stream: a host that cannot unpack zstd gets the files as they are") {
  OneOp world;
  const fs::path bin = world.folder.path() / "bin";
  std::string path = "/nowhere";
  SUBCASE("there is no such program") {}
  SUBCASE("what bears the name does something else") {
    fs::create_directories(bin);
    write_file(bin / "zstd", "#!/bin/sh\necho hello\n", 0755);
    path = bin;
  }
  SUBCASE("what bears the name cannot run") {
    fs::create_directories(bin);
    write_file(bin / "zstd",
               "\x7f"
               "ELF",
               0755);
    path = bin;
  }
  world.at_start("import os\nos.environ['PATH'] = '" + path + "'\n");
  const HostOutcome outcome = world.roll_one(world.one);
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::confirmed);
  CHECK(outcome.sent_bytes == stream_of(world.one, StreamPacking::none).bytes);
  CHECK(world.holds(world.one));
}

TEST_CASE("rollout stream: a module of Python unpacks where there is no program") {
  if (!have_zstd("a module unpacks"))
    return;
  OneOp world;
  // In place of the package zstandard, with its interface.
  world.at_start(
      "import io, os, subprocess, sys, types\n"
      "zstd = '" +
      std::string(trim(shell("command -v zstd").output)) +
      "'\n"
      "os.environ['PATH'] = '/nowhere'\n"
      "class ZstdDecompressor:\n"
      "    def __init__(self, max_window_size): pass\n"
      "    def stream_reader(self, source):\n"
      "        self.source, self.content = source, None\n"
      "        return self\n"
      "    def read(self, size):\n"
      "        if self.content is None:\n"
      "            self.content = io.BytesIO(subprocess.run(\n"
      "                [zstd, '-dqc'], stdin=self.source, check=True,\n"
      "                stdout=subprocess.PIPE).stdout)\n"
      "        return self.content.read(size)\n"
      "sys.modules['zstandard'] = types.ModuleType('zstandard')\n"
      "sys.modules['zstandard'].ZstdDecompressor = ZstdDecompressor\n");
  CHECK(world.roll_one(world.one).sent_bytes == stream_of(world.one).bytes);
  CHECK(world.holds(world.one));
  ShellTransport lying = changing([](StageInput& input) { input.send(std::string(5000, 'x')); });
  const HostOutcome outcome = world.roll_one(world.two, lying);
  CHECK(contains(outcome.message, "zstd cannot unpack the wheel: "));
}

TEST_CASE("rollout stream: a damaged earlier release gives nothing") {
  OneOp world;
  world.roll_one(world.one);
  const fs::path a = world.place(world.one, "demo/a.so");
  fs::permissions(a.parent_path(), fs::perms::owner_all);
  SUBCASE("other bytes") {
    fs::permissions(a, fs::perms::owner_all);
    REQUIRE(shell("printf x | dd conv=notrunc bs=1 seek=1000 of=" + a.string()).status == 0);
    fs::permissions(a, fs::perms{0555});
  }
  SUBCASE("gone") {
    fs::remove(a);
  }
  SUBCASE("a link to the same bytes") {
    fs::copy_file(a, world.folder.path() / "a.so");
    fs::remove(a);
    fs::create_symlink(world.folder.path() / "a.so", a);
  }
  SUBCASE("a pipe") {
    fs::remove(a);
    REQUIRE(::mkfifo(a.c_str(), 0600) == 0);
  }
  const std::vector<std::string> sent = {"METADATA", "RECORD", "demo/b.so", "demo/a.so"};
  const HostOutcome outcome = world.roll_one(world.two);
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::confirmed);
  CHECK(outcome.sent_bytes == stream_with(world.two, sent).bytes);
  CHECK(world.holds(world.two));
}

TEST_CASE("rollout stream: a release whose folder is a link gives nothing") {
  OneOp world;
  world.roll_one(world.one);
  const fs::path demo = world.place(world.one, "demo"), elsewhere = world.folder.path() / "demo";
  fs::permissions(demo.parent_path(), fs::perms::owner_all);
  REQUIRE(shell("cp -R " + demo.string() + " " + elsewhere.string()).status == 0);
  REQUIRE(shell("chmod -R u+w " + demo.string() + " && rm -r " + demo.string()).status == 0);
  fs::create_symlink(elsewhere, demo);
  CHECK(world.roll_one(world.two).message == "");
  CHECK(world.holds(world.two));
  CHECK(world.links(world.place(world.two, "demo/a.so")) == 1);
}

TEST_CASE("rollout stream: what changes between question and delivery is refused") {
  OneOp world;
  world.roll_one(world.one);
  const fs::path a = world.place(world.one, "demo/a.so");
  ShellTransport late = changing([&](StageInput&) {
    fs::permissions(a.parent_path(), fs::perms::owner_all);
    fs::remove(a);
  });
  const HostOutcome outcome = world.roll_one(world.two, late);
  CHECK(contains(outcome.message, "what this host held of the wheel has changed"));
  CHECK(world.half_made().empty());
  CHECK(world.roll_one(world.two).state == HostState::confirmed);
}

TEST_CASE("rollout stream: a seal that others wrote gives nothing") {
  OneOp world;
  world.roll_one(world.one);
  const fs::path seal = world.releases() / (std::string(64, 'a') + ".json");
  const std::string secret = world.folder.path() / "secret";
  write_file(secret, seeded_bytes(20, op_bytes));
  const std::string sha256 = sha256_hex(read_file(secret));
  for (const std::string& text :
       {std::string("[]"), std::string("{}"), std::string(R"({"manifest": {"files": [1]}})"),
        std::string(R"({"manifest": {"files": [{"path": 1, "sha256": "x"}]}})"),
        fmt::format(R"({{"manifest": {{"files": [{{"path": "{}", "sha256": "{}"}}]}}}})", secret,
                    sha256),
        fmt::format(R"({{"manifest": {{"files": [{{"path": "../../../../../secret",
                    "sha256": "{}"}}, {{"path": "a\u0000", "sha256": "{}"}}]}}}})",
                    sha256, sha256)}) {
    write_file(seal, text);
    const fs::path folder = world.releases() / std::string(64, 'a');
    fs::create_directories(folder);
    const HostOutcome outcome = world.roll_one(world.two);
    CHECK(outcome.message == "");
    CHECK(world.links(world.place(world.two, "demo/b.so")) == 1);
    fs::remove(world.hosts[0].root() / "active");
    fs::remove(world.releases() / (world.two.sha256 + ".json"));
  }
  CHECK(world.links(secret) == 1);
}

TEST_CASE("rollout stream: where linking fails files are copied") {
  for (const char* error : {"EXDEV", "EMLINK", "EPERM"}) {
    OneOp world;
    world.at_start(std::string("import errno, os\ndef link(*words, **more):\n    raise OSError("
                               "errno.") +
                   error + ", 'no')\nos.link = link\n");
    world.roll_one(world.one);
    const HostOutcome outcome = world.roll_one(world.two);
    CHECK(outcome.message == "");
    CHECK(outcome.sent_bytes == stream_with(world.two, own_files).bytes);
    CHECK(world.holds(world.two));
    CHECK(world.links(world.place(world.two, "demo/a.so")) == 1);
  }
}

TEST_CASE("rollout stream: a file whose mode is another is copied") {
  OneOp world;
  world.roll_one(world.one);
  const fs::path a = world.place(world.one, "demo/a.so");
  fs::permissions(a, fs::perms{0755});
  const HostOutcome outcome = world.roll_one(world.two);
  CHECK(outcome.message == "");
  CHECK(world.links(world.place(world.two, "demo/a.so")) == 1);
  CHECK(world.links(world.place(world.two, "demo/c.so")) == 2);
}

TEST_CASE("rollout stream: damage of what two releases share is mended in the one that comes") {
  OneOp world;
  world.roll_one(world.one);
  world.roll_one(world.two);
  const fs::path a = world.place(world.one, "demo/a.so");
  fs::permissions(a, fs::perms::owner_all);
  REQUIRE(shell("printf x | dd conv=notrunc bs=1 seek=1000 of=" + a.string()).status == 0);
  fs::permissions(a, fs::perms{0555});
  CHECK_FALSE(world.holds(world.one));
  CHECK_FALSE(world.holds(world.two));
  // The second is active, so it is not touched; the first is staged anew, with bytes of its own.
  const HostOutcome outcome = world.roll_one(world.one);
  CHECK(outcome.message == "");
  CHECK(outcome.state == HostState::confirmed);
  CHECK(world.holds(world.one));
  CHECK_FALSE(world.holds(world.two));
  // Now that one mends the other.
  CHECK(world.roll_one(world.two).message == "");
  CHECK(world.holds(world.one));
  CHECK(world.holds(world.two));
  CHECK(world.links(a) == 2);
}

TEST_CASE("rollout stream: paths that leave the release are refused") {
  const std::pair<std::string, const char*> cases[] = {
      {"../evil.so", "leaves the release folder"},
      {"demo/../../evil.so", "leaves the release folder"},
      {"/tmp/evil.so", "leaves the release folder"},
      {"demo//evil.so", "leaves the release folder"},
      {"x.data/purelib/../evil.so", "leaves the release folder"},
      {"x.data/purelib//evil.so", "leaves the release folder"},
      {"demo/./evil.so", "leaves the release folder"},
      {std::string("demo/evil\0.so", 13), "leaves the release folder"},
      {"demo/a.so", "is there twice"},
      {"x.data/platlib/demo/a.so", "is there twice"},
      {"demo", "is both a file and a folder"},
      {"demo/a.so/evil.so", "is both a file and a folder"}};
  OneOp world;
  for (const std::string phase : {"lacking", "stage"}) {
    for (const auto& one : cases) {
      const std::string& path = one.first;
      ShellTransport lying([&](const Endpoint&, std::string& input) {
        if (phase_of(input) != phase)
          return;
        StageInput changed(input);
        for (nlohmann::json& entry : changed.request["manifest"]["files"]) {
          if (entry["path"] == "demo/b.so")
            entry["path"] = path;
        }
        input = changed.text();
      });
      const HostOutcome outcome = world.roll_one(world.one, lying);
      CAPTURE(path);
      CAPTURE(phase);
      CHECK(outcome.step == "stage");
      CHECK(contains(outcome.message, one.second));
      CHECK(world.exit() == 4);
      CHECK((!fs::exists(world.releases()) || world.half_made().empty()));
    }
  }
  CHECK_FALSE(fs::exists("/tmp/evil.so"));
  CHECK_FALSE(fs::exists(world.releases() / "evil.so"));
}

TEST_CASE("rollout stream: links in the way are not followed") {
  OneOp world;
  const fs::path elsewhere = world.folder.path() / "elsewhere";
  fs::create_directories(elsewhere);
  fs::create_directories(world.releases());
  SUBCASE("at the folder that is filled") {
    fs::create_symlink(elsewhere, world.releases() / (".stage-" + world.one.sha256));
    CHECK(world.roll_one(world.one).state == HostState::confirmed);
    CHECK(world.half_made().empty());
  }
  SUBCASE("at the release") {
    fs::create_symlink(elsewhere, world.releases() / world.one.sha256);
    CHECK(world.roll_one(world.one).state == HostState::confirmed);
    CHECK_FALSE(fs::is_symlink(world.releases() / world.one.sha256));
  }
  SUBCASE("at what arrives") {
    fs::create_symlink(elsewhere / "part", world.part(world.one));
    const HostOutcome outcome = world.roll_one(world.one);
    CHECK(outcome.state == HostState::failed);
    CHECK(contains(outcome.message, world.part(world.one).string()));
  }
  CHECK(fs::is_empty(elsewhere));
}

TEST_CASE("rollout stream: what a killed run left is cleared by the next one") {
  bool some = false;
  // At every write to the disk that is waited for.
  for (int number = 1; number < 60; number += 3) {
    OneOp world;
    world.at_start(
        fmt::format("import os, signal\ncount = 0\nsync = os.fsync\n"
                    "def fsync(file):\n    global count\n    count += 1\n"
                    "    if count == {}:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
                    "    sync(file)\nos.fsync = fsync\n",
                    number));
    const HostOutcome killed = world.roll_one(world.one);
    if (killed.state == HostState::confirmed) {
      CHECK(number > 8);
      CHECK(some);
      return;
    }
    world.at_start("");
    if (killed.step != "stage")
      continue;
    const bool same = number % 2 == 0;
    CAPTURE(number);
    some |= !world.half_made().empty();
    CHECK(world.roll_one(same ? world.one : world.two).message == "");
    std::vector<std::string> left = world.half_made();
    // What arrived whole is kept for its wheel.
    std::erase(left, world.one.sha256 + ".part");
    CHECK(left == std::vector<std::string>{});
    CHECK(world.roll_one(world.one).message == "");
    CHECK(world.holds(world.one));
    CHECK(world.half_made().empty());
  }
  FAIL("it writes without end");
}

TEST_CASE("rollout stream: no child outlives a stage that is killed") {
  if (!have_zstd("a killed stage"))
    return;
  OneOp world;
  const fs::path bin = world.folder.path() / "bin", armed = bin / "armed", ran = bin / "ran";
  fs::create_directories(bin);
  write_file(bin / "zstd",
             fmt::format("#!/bin/sh\nPATH=/usr/bin:/bin\n[ -e {0} ] || exec zstd \"$@\"\n"
                         "rm {0}\nkill -9 $PPID\nzstd \"$@\"\necho $? > {1}\n",
                         armed.string(), ran.string()),
             0755);
  world.at_start("import os\nos.environ['PATH'] = '" + bin.string() + "'\n");
  ShellTransport plain([&](const Endpoint&, std::string& input) {
    if (phase_of(input) == "stage")
      write_file(armed, "");
  });
  CHECK(world.roll_one(world.one, plain).step == "stage");
  CHECK_FALSE(world.half_made().empty());
  CHECK(world.roll_one(world.one).message == "");
  CHECK(world.half_made().empty());
}

TEST_CASE("rollout stream: what another run makes at the same time is left alone") {
  OneOp world;
  const std::string other(64, 'b');
  const fs::path filled = world.releases() / (".stage-" + other);
  const fs::path part = world.releases() / (other + ".part");
  fs::create_directories(filled);
  {
    const Fd lock(::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(::flock(lock.get(), LOCK_EX) == 0);
    CHECK(world.roll_one(world.one).message == "");
    CHECK(fs::exists(filled));
    CHECK(fs::exists(part));
  }
  // Its run ended.
  CHECK(world.roll_one(world.two).message == "");
  CHECK(world.half_made().empty());
}
