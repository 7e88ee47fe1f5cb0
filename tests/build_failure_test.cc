// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <map>

#include "base/error.h"
#include "base/file.h"
#include "build/build.h"
#include "support/build_workshop.h"

namespace {

using ds::Workshop;
namespace fs = std::filesystem;

ds::CommandResult fails_on(const ds::Command& command, const std::string& word) {
  if (Workshop::last_word(command) != word)
    return Workshop::compile(command);
  ds::CommandResult result;
  result.exit_status = 1;
  result.output = "adam/big.cc:1:1: error: \x1b[31m'much' does not name a type\n  1 | much\n";
  return result;
}

}  // namespace

TEST_CASE("build: a failed job is shown whole, and what needs it is not run") {
  Workshop shop;
  ds::FakeCommandRunner runner(
      1, [](const ds::Command& command) { return fails_on(command, "big.cc"); });
  const ds::BuildResult result = shop.run(runner);
  CHECK_FALSE(result.ok());
  REQUIRE(result.failed.size() == 1);
  CHECK(result.failed[0].op == "adam");
  CHECK(result.failed[0].name == "c++ adam/big.cc");
  CHECK(result.failed[0].output ==
        "adam/big.cc:1:1: error: \\x1b[31m'much' does not name a type\n  1 | much");
  CHECK(result.failed[0].command == "cd " + shop.root.string() + " && /bin/true -MF " +
                                        (shop.build / "obj/adam/big.o.d").string() + " -o " +
                                        (shop.build / "obj/adam/big.o").string() + " adam/big.cc");
  CHECK(shop.status.blocks == std::vector<std::string>{result.failed[0].output});
  CHECK(shop.status.failures == std::vector<std::string>{"c++ adam/big.cc"});
  CHECK(result.runs.size() == 1);
  CHECK(shop.leftovers() == 0);
  CHECK(shop.started() == "big.cc small.cc big.o ");
}

TEST_CASE("build: the first error is shown, and once") {
  Workshop shop;
  shop.options.keep_going = 0;
  bool& all_messages = shop.options.all_messages;
  std::string small = "x.h:1:1: error: 'much' does not name a type";
  std::size_t blocks = 1;
  SUBCASE("the same error of a shared header") {}
  SUBCASE("another error") {
    small = "small.cc:1:1: error: no such thing";
  }
  SUBCASE("the same error, all messages asked for") {
    all_messages = true;
  }
  SUBCASE("another error, all messages asked for") {
    small = "small.cc:1:1: error: no such thing";
    all_messages = true;
    blocks = 2;
  }
  ds::FakeCommandRunner runner(2, [&small](const ds::Command& command) {
    ds::CommandResult result;
    result.exit_status = 1;
    result.output = Workshop::last_word(command) == "small.cc"
                        ? small
                        : "x.h:1:1: error: 'much' does not name a type";
    return result;
  });
  const ds::BuildResult result = shop.run(runner);
  CHECK(result.failed.size() == 2);
  CHECK(result.failed[1].output == small);
  CHECK(shop.status.failures.size() == 2);
  CHECK(shop.status.blocks.size() == blocks);
  CHECK(shop.status.blocks.front() == "x.h:1:1: error: 'much' does not name a type");
}

TEST_CASE("build: keep_going") {
  Workshop shop;
  ds::FakeCommandRunner runner(
      1, [](const ds::Command& command) { return fails_on(command, "big.cc"); });
  SUBCASE("0: everything that does not need the failed job") {
    shop.options.keep_going = 0;
  }
  SUBCASE("2: until the second failure") {
    shop.options.keep_going = 2;
  }
  const ds::BuildResult result = shop.run(runner);
  CHECK(result.runs.size() == 2);
  CHECK(result.failed.size() == 1);
  CHECK(Workshop::words(runner) == "big.cc small.cc ");
  CHECK(shop.started() == "big.cc big.o ");
}

TEST_CASE("build: the ways a job can end badly") {
  const auto ends = [](int exit_status, int signal, bool timed_out) {
    ds::CommandResult result;
    result.exit_status = exit_status;
    result.signal = signal;
    result.timed_out = timed_out;
    return result;
  };
  const std::map<std::string, ds::CommandResult> endings = {
      {"failed: it ran out of time after 0.0 s", ends(0, 0, true)},
      {"failed: it was killed, as when memory runs out", ends(0, 9, false)},
      {"failed: Segmentation fault", ends(0, 11, false)},
      {"failed: /bin/true could not be run", ends(127, 0, false)},
      {"failed with status 2", ends(2, 0, false)},
      {"failed: it ended well, but wrote no output", ends(0, 0, false)},
  };
  for (const auto& [words, ending] : endings) {
    Workshop shop;
    ds::FakeCommandRunner runner(1, [&result = ending](const ds::Command&) { return result; });
    runner.writes_outputs = false;
    const ds::BuildResult result = shop.run(runner);
    REQUIRE(result.failed.size() == 1);
    CHECK(result.failed[0].output == words);
    CHECK(shop.status.events.back() == "c++ adam/big.cc: " + words);
  }
}

TEST_CASE("build: an interrupt ends the jobs, leaves nothing behind, and passes through") {
  Workshop shop;
  ds::FakeCommandRunner runner(2, [](const ds::Command& command) -> ds::CommandResult {
    ds::write_file(ds::FakeCommandRunner::after(command, "-o"), "half");
    throw ds::Interrupted{};
  });
  CHECK_THROWS_AS(shop.run(runner), ds::Interrupted);
  CHECK(runner.aborts == 1);
  CHECK(shop.leftovers() == 0);
  CHECK_FALSE(fs::exists(shop.build / "obj/adam/big.o"));
  CHECK(shop.started() == "big.cc small.cc big.o ");
}

TEST_CASE("build: a build folder that cannot be made") {
  Workshop shop;
  ds::write_file(shop.build, "a file");
  ds::FakeCommandRunner runner;
  CHECK_THROWS_AS(shop.run(runner), ds::Error);
  CHECK(runner.started.empty());
}

TEST_CASE("build: what a failed job said is kept until it succeeds") {
  Workshop shop;
  ds::FakeCommandRunner runner(
      1, [](const ds::Command& command) { return fails_on(command, "big.cc"); });
  const ds::BuildResult result = shop.run(runner);
  REQUIRE(result.failed.size() == 1);
  const fs::path log = result.failed[0].log;
  CHECK(log == shop.build / "log/adam/big.o.log");
  CHECK(ds::read_file(log) == "# c++ adam/big.cc: failed with status 1\n" +
                                  result.failed[0].command + "\n\n" + result.failed[0].output +
                                  "\n");
  CHECK(shop.started() == "big.cc small.cc big.o ");
  CHECK_FALSE(fs::exists(log));
}
