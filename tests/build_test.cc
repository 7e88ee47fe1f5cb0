// SPDX-License-Identifier: Apache-2.0
#include "build/build.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "build/depfile.h"
#include "build/job_files.h"
#include "support/fake_command_runner.h"
#include "support/recording_status.h"

namespace {

namespace fs = std::filesystem;

/// A plan of two compiles and their link, in folders of its own.
struct Workshop {
  ds::TempDir folder;
  fs::path root = folder.path() / "ops";
  fs::path build = folder.path() / "build";
  ds::BuildPlan plan;
  ds::RecordingStatus status;
  ds::BuildOptions options;

  Workshop() {
    options.folder = build;
    options.cache = folder.path() / "cache";
    options.memory = 8'000'000'000;
    fs::create_directories(root / "adam");
    ds::write_file(root / "adam/small.cc", "small");
    ds::write_file(root / "adam/big.cc", "much bigger than the other");
    ds::write_file(root / "adam/x y.h", "header");
    ds::Job link;
    for (const std::string name : {"small", "big"}) {
      ds::Job job;
      job.op = "adam";
      job.name = "c++ adam/" + name + ".cc";
      job.command.argv = {"/bin/true", "-MF", "@DEP@", "-o", "@OUT@", "adam/" + name + ".cc"};
      job.command.cwd = root;
      job.inputs = {"adam/" + name + ".cc"};
      job.output = "obj/adam/" + name + ".o";
      link.needs.push_back(plan.jobs.size());
      link.inputs.push_back(job.output);
      plan.jobs.push_back(job);
    }
    link.kind = ds::Job::Kind::link;
    link.op = "adam";
    link.name = "link libadam.so";
    link.command.argv = {"/bin/true", "-o", "@OUT@", "obj/adam/small.o", "obj/adam/big.o"};
    link.output = "lib/adam/libadam.so";
    plan.jobs.push_back(link);
    age(root / "adam/small.cc");
    age(root / "adam/big.cc");
    age(root / "adam/x y.h");
  }

  /// A file that was written just now would look as if it was edited while the job ran.
  static void age(const fs::path& file) {
    fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  void edit(const std::string& name, const std::string& content) const {
    ds::write_file(root / name, content);
    age(root / name);
  }

  ds::BuildResult run(ds::FakeCommandRunner& runner) {
    return ds::build(plan, runner, status, options);
  }
  /// Jobs that a run with an ordinary compiler starts, in order.
  std::string started() {
    ds::FakeCommandRunner runner(2, compile);
    const ds::BuildResult result = run(runner);
    CHECK(result.ok());
    CHECK(result.runs.size() + result.up_to_date + result.from_cache == plan.jobs.size());
    return words(runner);
  }
  static std::string words(const ds::FakeCommandRunner& runner) {
    std::string text;
    for (const ds::Command& command : runner.started)
      text += last_word(command) + " ";
    return text;
  }
  static std::string last_word(const ds::Command& command) {
    return fs::path(command.argv.back()).filename().string();
  }
  /// A compiler that names a header.
  static ds::CommandResult compile(const ds::Command& command) {
    const std::string depfile = ds::FakeCommandRunner::after(command, "-MF");
    if (!depfile.empty()) {
      ds::write_file(depfile, "x.o: " + command.argv.back() + " \\\n  adam/x\\ y.h\n");
    }
    ds::CommandResult result;
    result.seconds = last_word(command) == "big.cc" ? 2 : 1;
    return result;
  }
  std::size_t leftovers() const {
    std::size_t found = 0;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(build)) {
      found += entry.path().filename().string().find(".tmp.") != std::string::npos;
    }
    return found;
  }
};

ds::CommandResult fails_on(const ds::Command& command, const std::string& word) {
  if (Workshop::last_word(command) != word)
    return Workshop::compile(command);
  ds::CommandResult result;
  result.exit_status = 1;
  result.output = "adam/big.cc:1:1: error: \x1b[31m'much' does not name a type\n  1 | much\n";
  return result;
}

}  // namespace

TEST_CASE("build: bigger sources first, the link last, then nothing to do") {
  Workshop shop;
  CHECK(shop.started() == "big.cc small.cc big.o ");
  CHECK(ds::read_file(shop.build / "lib/adam/libadam.so") == "made");
  CHECK(shop.leftovers() == 0);
  CHECK(shop.status.events.front() == "build");
  shop.status.events.clear();
  CHECK(shop.started() == "");
  CHECK(shop.status.events.empty());
}

TEST_CASE("build: as many at once as the runner takes") {
  Workshop shop;
  ds::FakeCommandRunner one(1, Workshop::compile);
  shop.run(one);
  CHECK(one.most_at_once == 1);
  fs::remove_all(shop.options.cache);
  ds::FakeCommandRunner many(8, Workshop::compile);
  shop.run(many);
  CHECK(many.most_at_once == 2);
}

TEST_CASE("build: what makes a job run again") {
  Workshop shop;
  REQUIRE(shop.started() == "big.cc small.cc big.o ");
  SUBCASE("a source with other content; its object is the same, so no link") {
    shop.edit("adam/small.cc", "other");
    CHECK(shop.started() == "small.cc ");
    CHECK(shop.status.events.back() == "link libadam.so: up to date");
  }
  SUBCASE("a source with other content and another object") {
    shop.edit("adam/small.cc", "other");
    ds::FakeCommandRunner runner(2, Workshop::compile);
    runner.content = [](const ds::Command&) { return "made otherwise"; };
    shop.run(runner);
    CHECK(Workshop::words(runner) == "small.cc big.o ");
    CHECK(ds::read_file(shop.build / "lib/adam/libadam.so") == "made otherwise");
  }
  SUBCASE("a source that was only touched: nothing") {
    fs::last_write_time(shop.root / "adam/small.cc", fs::file_time_type::clock::now());
    CHECK(shop.started() == "");
  }
  SUBCASE("a header from the depfile") {
    shop.edit("adam/x y.h", "changed");
    CHECK(shop.started() == "big.cc small.cc ");
  }
  SUBCASE("a header that is gone") {
    fs::remove(shop.root / "adam/x y.h");
    CHECK(shop.started() == "big.cc small.cc ");
    CHECK(shop.started() == "big.cc small.cc ");
  }
  SUBCASE("another command") {
    shop.plan.jobs[0].command.argv.insert(shop.plan.jobs[0].command.argv.begin() + 1, "-O3");
    CHECK(shop.started() == "small.cc ");
  }
  SUBCASE("an output that is gone, or damaged: it comes from the store") {
    fs::remove(shop.build / "obj/adam/small.o");
    ds::write_file(shop.build / "obj/adam/big.o", "mad");
    CHECK(shop.started() == "");
    CHECK(ds::read_file(shop.build / "obj/adam/big.o") == "made");
  }
  SUBCASE("an output that is gone from the store too") {
    fs::remove(shop.build / "obj/adam/small.o");
    fs::remove_all(shop.options.cache / "outputs");
    CHECK(shop.started() == "small.cc ");
  }
  SUBCASE("another build folder: nothing") {
    shop.options.folder = shop.folder.path() / "elsewhere";
    CHECK(shop.started() == "");
    CHECK(ds::read_file(shop.options.folder / "lib/adam/libadam.so") == "made");
  }
  SUBCASE("another place for the sources: nothing") {
    fs::rename(shop.root, shop.folder.path() / "moved");
    for (ds::Job& job : shop.plan.jobs)
      if (!job.command.cwd.empty())
        job.command.cwd = shop.folder.path() / "moved";
    CHECK(shop.started() == "");
  }
  SUBCASE("a source that is what it was before the last change: nothing") {
    shop.edit("adam/small.cc", "other");
    CHECK(shop.started() == "small.cc ");
    shop.edit("adam/small.cc", "small");
    CHECK(shop.started() == "");
  }
  SUBCASE("a new file beside the source, which may be an #include from now on") {
    shop.edit("adam/vector.h", "");
    CHECK(shop.started() == "big.cc small.cc ");
  }
  SUBCASE("a variable that compilers heed") {
    ::setenv("CPATH", "/opt/include", 1);
    CHECK(shop.started() == "big.cc small.cc big.o ");
    ::unsetenv("CPATH");
    CHECK(shop.started() == "");
  }
  SUBCASE("results that cannot be read") {
    for (const fs::directory_entry& entry :
         fs::recursive_directory_iterator(shop.options.cache / "results"))
      if (entry.is_regular_file())
        ds::write_file(entry.path(), "ds-deploy.result/1\n{");
    CHECK(shop.started() == "big.cc small.cc big.o ");
  }
}

TEST_CASE("build: a compiler with the same name but another content") {
  Workshop shop;
  const fs::path compiler = shop.folder.path() / "g++";
  ds::write_file(compiler, "one");
  for (ds::Job& job : shop.plan.jobs)
    job.command.argv.front() = compiler.string();
  CHECK(shop.started() == "big.cc small.cc big.o ");
  CHECK(shop.started() == "");
  ds::write_file(compiler, "two");
  CHECK(shop.started() == "big.cc small.cc big.o ");
  // The same size and time of change.
  const fs::file_time_type time = fs::last_write_time(compiler);
  ds::write_file(compiler, "tow");
  fs::last_write_time(compiler, time);
  CHECK(shop.started() == "big.cc small.cc big.o ");
}

TEST_CASE("build: a job that was killed for memory runs again, alone") {
  ds::CommandResult by_the_kernel, behind_the_driver;
  by_the_kernel.signal = 9;
  behind_the_driver.exit_status = 1;
  behind_the_driver.output = "g++: fatal error: Killed signal terminated program cc1plus\n";
  for (const ds::CommandResult& killed : {by_the_kernel, behind_the_driver}) {
    Workshop shop;
    std::vector<std::size_t> beside;  // jobs that ran at the same time as each try
    ds::FakeCommandRunner runner(2, [&](const ds::Command& command) {
      if (Workshop::last_word(command) != "big.cc")
        return Workshop::compile(command);
      beside.push_back(runner.waiting());
      return beside.size() == 1 ? killed : Workshop::compile(command);
    });
    CHECK(shop.run(runner).ok());
    CHECK(beside == std::vector<std::size_t>{1, 0});
    CHECK(shop.status.warnings ==
          std::vector<std::string>{
              "c++ adam/big.cc: killed, as when memory runs out; it is run again, alone"});
  }
}

TEST_CASE("build: memory for one at a time") {
  Workshop shop;
  shop.options.memory = 400'000'000;
  ds::FakeCommandRunner runner(8, Workshop::compile);
  CHECK(shop.run(runner).ok());
  CHECK(runner.most_at_once == 1);
}

TEST_CASE("build: why a job runs") {
  Workshop shop;
  shop.options.explain = true;
  shop.started();
  CHECK(shop.status.remarks.front() ==
        "c++ adam/big.cc: nothing was made yet by this command from these files");
  shop.status.remarks.clear();
  shop.edit("adam/x y.h", "other");
  shop.started();
  CHECK(shop.status.remarks.front() ==
        "c++ adam/big.cc: " + (shop.root / "adam/x y.h").string() + " changed");
}

TEST_CASE("build: a header that is edited while the job runs is not taken for compiled") {
  Workshop shop;
  ds::FakeCommandRunner runner(2, [&](const ds::Command& command) {
    const ds::CommandResult result = Workshop::compile(command);
    if (Workshop::last_word(command) == "big.cc") {
      ds::write_file(shop.root / "adam/x y.h", "edited meanwhile");
    }
    return result;
  });
  shop.run(runner);
  Workshop::age(shop.root / "adam/x y.h");
  CHECK(shop.started() == "big.cc small.cc ");
  CHECK(shop.started() == "");
}

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
  const ds::BuildResult result = ds::build(shop.plan, runner, shop.status, shop.options);
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

TEST_CASE("build: a folder for what nvcc keeps that cannot be made") {
  const ds::TempDir folder;
  ds::Job job;
  job.command.argv = {"nvcc", "-keep-dir", "@KEEP@"};
  job.output = "obj/a.o";
  const ds::JobFiles files(job, folder.path(), ".tmp");
  const fs::path kept = files.made().string() + ".keep";
  ds::write_file(kept, "a file");
  try {
    files.command(job);
    FAIL("a folder was made where a file is");
  } catch (const ds::Error& error) {
    CHECK(error.what().starts_with("cannot make the folder " + kept.string() + ": "));
    CHECK(error.fix() == "make it, let this user write there, or name another folder");
  }
}

TEST_CASE("depfile: make's syntax") {
  const auto parsed = [](std::string_view text) { return ds::join(ds::parse_depfile(text), "|"); };
  CHECK(parsed("a.o: b.cc c.h\n") == "b.cc|c.h");
  CHECK(parsed("a.o : b.cc \\\n    c.h \\\r\n d.h b.cc\n") == "b.cc|c.h|d.h");
  CHECK(parsed("a.o: x\\ y.h z\\#1.h d$$.h w\\n.h\n") == "x y.h|z#1.h|d$.h|w\\n.h");
  CHECK(parsed("a.o: back\\\\ next\n") == "back\\|next");
  CHECK(parsed("a.o: b.cc c.h\nc.h:\n") == "b.cc|c.h");
  CHECK(parsed("a.o: b.cc\\\n c.h") == "b.cc|c.h");
  CHECK(parsed("") == "");
  CHECK(parsed("a.o:") == "");
  CHECK(parsed("\\") == "");
}
