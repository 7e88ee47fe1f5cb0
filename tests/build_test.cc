// SPDX-License-Identifier: Apache-2.0
#include "build/build.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "build/depfile.h"
#include "build/job_files.h"
#include "support/build_workshop.h"

using ds::Workshop;
namespace fs = std::filesystem;

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

TEST_CASE("build: how each source is compiled, for editors") {
  Workshop shop;
  shop.started();
  const std::string text = ds::read_file(shop.build / "compile_commands.json");
  CHECK(text.find("\"file\": \"" + (shop.root / "adam/big.cc").string() + "\"") !=
        std::string::npos);
  CHECK(text.find("\"output\": \"" + (shop.build / "obj/adam/small.o").string() + "\"") !=
        std::string::npos);
  CHECK(text.find("@OUT@") == std::string::npos);
  CHECK(text.find("libadam") == std::string::npos);
}

TEST_CASE("build: the time left is told when most of it was learned") {
  Workshop shop;
  shop.started();
  CHECK(shop.status.times_left.empty());
  fs::remove_all(shop.options.cache / "results");
  ds::FakeCommandRunner slow(1, [](const ds::Command& command) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return Workshop::compile(command);
  });
  shop.run(slow);
  // small.cc took a second, the link too: both are left when big.cc is done.
  REQUIRE(shop.status.times_left.size() == 2);
  CHECK(shop.status.times_left[0] > 1.9);
  CHECK(shop.status.times_left[0] < 2.1);
  CHECK(shop.status.times_left[1] < 1.1);
}

TEST_CASE("build: a compiler that can do more at one time gets the slots that nobody needs") {
  Workshop shop;
  for (ds::Job& job : shop.plan.jobs) {
    job.threads = 3;
    job.command.argv.insert(job.command.argv.begin() + 1, {"--threads", "@THREADS@"});
  }
  ds::FakeCommandRunner runner(2, Workshop::compile);
  shop.run(runner);
  std::vector<std::string> threads;
  for (const ds::Command& command : runner.started)
    threads.push_back(ds::FakeCommandRunner::after(command, "--threads"));
  // Two compiles share two slots, the link has both to itself. Their number makes nothing new.
  CHECK(threads == std::vector<std::string>{"1", "1", "2"});
  CHECK(shop.started() == "");
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

namespace {

/// A precompiled header for both sources.
void add_header(ds::Workshop& shop) {
  ds::Job header;
  header.kind = ds::Job::Kind::precompile;
  header.op = "torch";
  header.name = "c++ x.h, precompiled";
  header.command.argv = {"/bin/true", "-MF", "@DEP@", "-o", "@OUT@", "x.h"};
  header.command.cwd = shop.root;
  header.output = "pch/1/x.h.gch";
  for (ds::Job& job : shop.plan.jobs) {
    for (std::size_t& need : job.needs)
      ++need;
    if (job.kind == ds::Job::Kind::compile) {
      job.needs = {0};
      job.command.argv.insert(job.command.argv.begin() + 1, "-I@BUILD@/pch/1");
    }
  }
  shop.plan.jobs.insert(shop.plan.jobs.begin(), header);
  shop.edit("behind.h", "behind");
}

}  // namespace

TEST_CASE("build: a precompiled header is made for several, and for this run alone") {
  ds::Workshop shop;
  add_header(shop);
  const auto run = [&shop](std::size_t failing = 0) {
    ds::FakeCommandRunner runner(2, [failing](const ds::Command& command) {
      ds::CommandResult result = ds::Workshop::compile(command);
      if (command.argv.back() == "x.h")
        ds::write_file(ds::FakeCommandRunner::after(command, "-MF"), "x: /dev/null behind.h\n");
      result.exit_status = failing > 0 && command.argv.back() == "x.h" ? 1 : 0;
      return result;
    });
    CHECK(shop.run(runner).ok());
    return ds::Workshop::words(runner);
  };
  const fs::path header = shop.build / "pch/1/x.h.gch";
  CHECK(run() == "x.h big.cc small.cc big.o ");
  CHECK_FALSE(fs::exists(header));
  CHECK(run() == "");
  shop.edit("adam/small.cc", "one alone");
  CHECK(run() == "small.cc ");
  shop.edit("adam/small.cc", "again");
  shop.edit("adam/big.cc", "the other too");
  ds::write_file(header, "of a killed build");
  CHECK(run() == "x.h big.cc small.cc ");
  // What the header includes is read by those that use it.
  shop.edit("behind.h", "changed");
  CHECK(run() == "x.h big.cc small.cc ");
  // Without a store and objects everything is made again; with the store, nothing.
  fs::remove_all(shop.build);
  CHECK(run() == "");
  fs::remove_all(shop.build);
  fs::remove_all(shop.options.cache);
  CHECK(run(1) == "x.h big.cc small.cc big.o ");
}
