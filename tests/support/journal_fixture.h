// SPDX-License-Identifier: Apache-2.0
//
// A run to journal, and SQL for what the journal itself would never do.
#pragma once

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "journal/journal.h"

namespace ds {

inline std::string sha(char digit) {
  return std::string(64, digit);
}

inline RunRecord some_run(const std::string& id = "20261124-031500-4711") {
  RunRecord run;
  run.id = id;
  run.command = "deploy";
  run.words = {"deploy", "--hostfile", "my cluster", "", "-v"};
  run.folder = "/home/eve/train";
  run.user = "eve";
  run.machine = host_name();
  run.process = this_process();
  run.version = "0.1.0";
  run.began = 1795489200;
  return run;
}

inline std::vector<HostRecord> some_hosts(int number) {
  std::vector<HostRecord> hosts;
  for (int at = 0; at < number; ++at)
    hosts.push_back({"n" + std::to_string(at), {sha('a'), sha('b')}, {sha('0')}, {}, {}, {}, 0});
  return hosts;
}

inline std::vector<TransitionRecord> some_wave(int number, const std::string& from,
                                               const std::string& to, const std::string& step) {
  std::vector<TransitionRecord> wave;
  for (int at = 0; at < number; ++at)
    wave.push_back({"n" + std::to_string(at), from, to, step, "", 0, 0});
  return wave;
}

/// Runs SQL by SQLite itself; first column of every row, one a line.
inline std::string by_hand(const std::filesystem::path& file, const std::string& sql) {
  sqlite3* database = nullptr;
  std::string rows;
  char* message = nullptr;
  const auto add = [](void* into, int, char** values, char**) {
    *static_cast<std::string*>(into) += std::string(values[0] != nullptr ? values[0] : "") + "\n";
    return 0;
  };
  const bool done =
      sqlite3_open(file.c_str(), &database) == SQLITE_OK &&
      sqlite3_exec(database, "PRAGMA synchronous = OFF", nullptr, nullptr, nullptr) == SQLITE_OK &&
      sqlite3_exec(database, sql.c_str(), add, &rows, &message) == SQLITE_OK;
  if (!done)
    rows = std::string("refused: ") + (message != nullptr ? message : sqlite3_errmsg(database));
  sqlite3_free(message);
  sqlite3_close(database);
  return rows;
}

/// What an Error says: "status: what; fix"; "no error" without one.
inline std::string refusal_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return std::to_string(static_cast<int>(error.status())) + ": " + error.what() + "; " +
           error.fix();
  }
  return "no error";
}

/// A process that has the journal open for writing until the object ends. Not this one: SQLite
/// joins what one process opens twice.
class OtherWriter {
 public:
  explicit OtherWriter(const std::filesystem::path& folder, const std::string& network = {},
                       const std::function<void(Journal&)>& first = {}) {
    int ends[2];
    if (::pipe(ends) != 0)
      return;
    std::fflush(nullptr);
    child_ = ::fork();
    if (child_ == 0) {
      const std::string said = refusal_of([&] {
        Journal journal = Journal::open(folder, network);
        if (first)
          first(journal);
        if (::write(ends[1], "", 1) == 1)
          ::pause();
      });
      std::fprintf(stderr, "other writer: %s\n", said.c_str());
      ::_exit(1);
    }
    ::close(ends[1]);
    char byte = 0;
    ready = ::read(ends[0], &byte, 1) == 1;
    ::close(ends[0]);
  }
  ~OtherWriter() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  OtherWriter(const OtherWriter&) = delete;
  OtherWriter& operator=(const OtherWriter&) = delete;
  bool ready = false;

 private:
  pid_t child_ = -1;
};

/// Does the work in a child and returns its exit status, or 128 and the signal.
inline int in_child(const std::function<int()>& work) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 99;
    try {
      status = work();
    } catch (const Error& error) {
      std::fprintf(stderr, "child: %s\n", error.what().c_str());
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace ds
