// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include "base/file.h"
#include "build/build.h"
#include "support/fake_command_runner.h"
#include "support/recording_status.h"

namespace ds {

namespace fs = std::filesystem;

/// A plan of two compiles and their link, in folders of its own.
struct Workshop {
  TempDir folder;
  fs::path root = folder.path() / "ops";
  fs::path build = folder.path() / "build";
  BuildPlan plan;
  RecordingStatus status;
  BuildOptions options;

  Workshop() {
    options.folder = build;
    options.cache = folder.path() / "cache";
    options.memory = 8'000'000'000;
    fs::create_directories(root / "adam");
    write_file(root / "adam/small.cc", "small");
    write_file(root / "adam/big.cc", "much bigger than the other");
    write_file(root / "adam/x y.h", "header");
    Job link;
    for (const std::string name : {"small", "big"}) {
      Job job;
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
    link.kind = Job::Kind::link;
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
    write_file(root / name, content);
    age(root / name);
  }

  BuildResult run(FakeCommandRunner& runner) {
    FileHashes hashes(FileHashes::memory_in(options.cache));
    return ds::build(plan, runner, status, options, hashes);
  }
  /// Jobs that a run with an ordinary compiler starts, in order.
  std::string started() {
    FakeCommandRunner runner(2, compile);
    const BuildResult result = run(runner);
    CHECK(result.ok());
    CHECK(result.runs.size() + result.up_to_date + result.from_cache == plan.jobs.size());
    return words(runner);
  }
  static std::string words(const FakeCommandRunner& runner) {
    std::string text;
    for (const Command& command : runner.started)
      text += last_word(command) + " ";
    return text;
  }
  static std::string last_word(const Command& command) {
    return fs::path(command.argv.back()).filename().string();
  }
  /// A compiler that names a header.
  static CommandResult compile(const Command& command) {
    const std::string depfile = FakeCommandRunner::after(command, "-MF");
    if (!depfile.empty()) {
      write_file(depfile, "x.o: " + command.argv.back() + " \\\n  adam/x\\ y.h\n");
    }
    CommandResult result;
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

}  // namespace ds
