// SPDX-License-Identifier: Apache-2.0
//
// What a journal said is on disk is there after kill -9, and after another process wrote as well.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <thread>

#include "journal/journal.h"
#include "support/journal_fixture.h"

using namespace ds;

namespace {

/// Syncs of a file whose name ends so, as the kernel was asked for them by this process.
struct Syncs {
  std::string ending;
  int count = 0;
};
Syncs& syncs() {
  static Syncs counted;
  return counted;
}

void count_sync(int fd) {
  std::error_code unreadable;
  const std::string file =
      std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), unreadable);
  if (!syncs().ending.empty() && file.ends_with(syncs().ending))
    ++syncs().count;
}

}  // namespace

// In place of the C library's, so that SQLite's calls are seen.
extern "C" int fdatasync(int fd) {
  count_sync(fd);
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}
extern "C" int fsync(int fd) {
  count_sync(fd);
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

TEST_CASE("journal crash: each call asks the kernel to sync before it returns") {
  for (const std::string network : {"", "NFS"}) {
    CAPTURE(network);
    const TempDir folder;
    Journal journal = Journal::open(folder.path(), network);
    syncs() = {network.empty() ? "journal.db-wal" : "journal.db", 0};
    const std::string id = some_run().id;
    const std::vector<std::function<void()>> calls = {
        [&] { journal.begin_run(some_run(), {}, some_hosts(10)); },
        [&] {
          journal.set_targets(id, {{sha('a'), "a", "/a", 1}}, {});
        },
        [&] { journal.set_epoch(id, 1); },
        [&] { journal.keep(id, RunText::audit, "{}"); },
        [&] { journal.announce(id, some_wave(10, "a", "b", "s")); },
        [&] {
          journal.decide(id, {"confirm", {"n0"}, "", 0, 0});
        },
        [&] { journal.finish_run(id, 0, "{}"); }};
    for (const std::function<void()>& call : calls) {
      const int before = syncs().count;
      call();
      CHECK(syncs().count > before);
    }
    syncs() = {};
  }
}

TEST_CASE("journal crash: killed at any moment, what was told to be on disk is there") {
  std::mt19937 random(3);
  for (const std::string network : {"", "NFS"}) {
    for (int round = 0; round < 8; ++round) {
      CAPTURE(network);
      CAPTURE(round);
      const TempDir folder;
      int ends[2];
      REQUIRE(::pipe(ends) == 0);
      const pid_t child = ::fork();
      if (child == 0) {
        Journal journal = Journal::open(folder.path(), network);
        journal.begin_run(some_run(), {}, some_hosts(20));
        for (int wave = 0;; ++wave) {
          // The act that the record announces.
          if (::write(ends[1], &wave, sizeof wave) != sizeof wave)
            ::_exit(1);
          journal.announce(some_run().id, some_wave(20, "", std::to_string(wave), "s"));
        }
      }
      ::close(ends[1]);
      const int acts = 1 + static_cast<int>(random() % 40);
      int wave = 0;
      int told = -1;
      for (int at = 0; at < acts && ::read(ends[0], &wave, sizeof wave) == sizeof wave; ++at)
        told = wave;
      if (network.empty()) {
        // It still writes.
        const auto reader = JournalReader::open(folder.path());
        REQUIRE(reader);
        CHECK(static_cast<int>(reader->transitions(some_run().id).size()) >= told * 20);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
      while (::read(ends[0], &wave, sizeof wave) == sizeof wave)
        told = wave;
      ::close(ends[0]);
      REQUIRE(told >= 0);

      // A wave is there whole or not at all.
      const auto check = [&](const JournalReader& journal) {
        const int found = static_cast<int>(journal.transitions(some_run().id).size());
        CHECK(found % 20 == 0);
        CHECK(found >= told * 20);
        CHECK(found <= (told + 1) * 20);
        return static_cast<std::size_t>(found);
      };
      // On a network file system a write that was cut is put right by the next that writes.
      const std::string said = refusal_of([&] { check(*JournalReader::open(folder.path())); });
      CHECK((said == "no error" ||
             (!network.empty() && said.find("was cut short") != std::string::npos)));
      Journal journal = Journal::open(folder.path(), network);
      const std::size_t found = check(journal);
      journal.announce(some_run().id, some_wave(20, "", "after", "s"));
      CHECK(journal.transitions(some_run().id).size() == found + 20);
    }
  }
}

TEST_CASE("journal crash: two runs begin and write at one time") {
  for (int round = 0; round < 3; ++round) {
    const TempDir temporary;
    const std::filesystem::path folder = temporary.path() / "new";
    std::array<pid_t, 3> writers{};
    for (std::size_t at = 0; at < writers.size(); ++at) {
      writers[at] = ::fork();
      if (writers[at] != 0)
        continue;
      const std::string said = refusal_of([&] {
        const std::string id = "run-" + std::to_string(at);
        Journal journal = Journal::open(folder);
        journal.begin_run(some_run(id), {}, some_hosts(20));
        for (int wave = 0; wave < 60; ++wave)
          journal.announce(id, some_wave(20, "a", "b", "s"));
        journal.finish_run(id, 0, "{}");
      });
      if (said != "no error")
        std::fprintf(stderr, "writer: %s\n", said.c_str());
      ::_exit(said == "no error" ? 0 : 1);
    }
    for (const pid_t writer : writers) {
      int status = 0;
      ::waitpid(writer, &status, 0);
      CHECK(status == 0);
    }
    const auto reader = JournalReader::open(folder);
    REQUIRE(reader);
    CHECK(reader->runs(10).size() == 3);
    for (const RunRecord& run : reader->runs(10)) {
      CHECK(life_of(run) == RunLife::ended);
      const std::vector<TransitionRecord> transitions = reader->transitions(run.id);
      CHECK(transitions.size() == 1200);
      CHECK(transitions.back().sequence == 1200);
    }
    // Nothing but the journal is left there.
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      CHECK(entry.path().filename().string().size() <= std::string("journal.db-wal").size());
  }
}
