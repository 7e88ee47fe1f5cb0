// SPDX-License-Identifier: Apache-2.0
//
// The door to other programs. Children are started by posix_spawn in a process group of their own,
// stdin from /dev/null unless asked otherwise, and are killed as a group when we are interrupted.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"

namespace ds {

struct Command {
  std::vector<std::string> argv;         ///< argv[0] is looked up in PATH
  std::filesystem::path cwd;             ///< empty: ours
  std::vector<std::string> environment;  ///< "KEY=VALUE", added to ours
  bool operator==(const Command&) const = default;
};

struct CommandResult {
  int id = 0;
  int exit_status = 0;  ///< 127 when the program could not be started
  int signal = 0;       ///< that killed it, else 0
  bool timed_out = false;
  std::string output;  ///< stdout and stderr as they came (run_command with split: stdout)
  std::string errors;  ///< stderr, when split
  double seconds = 0;
  long peak_rss_kb = 0;  ///< wait4(2), of the child itself
  bool ok() const { return exit_status == 0 && signal == 0 && !timed_out; }
};

/// Runs several commands at once: start while can_run_more(), then wait() for one to end.
class CommandRunner {
 public:
  virtual ~CommandRunner() = default;
  virtual bool can_run_more() const = 0;
  virtual void start(int id, const Command& command) = 0;
  virtual CommandResult wait() = 0;  ///< throws Interrupted, after abort()
  virtual void abort() = 0;          ///< kills what runs, reaps it
};

std::unique_ptr<CommandRunner> make_command_runner(int jobs);

/// Runs one command to its end, stdout and stderr kept apart, within `limit`.
CommandResult run_command(const Command& command,
                          std::chrono::milliseconds limit = std::chrono::seconds(60));

/// The terminal that this process was started from, if it may read there: not in the background,
/// not without one (cron, CI).
Fd open_terminal();

/// Runs one command to its end that talks to the person at `terminal`, in our own process group,
/// because another may not read there. No time limit; throws Interrupted.
CommandResult run_on_terminal(const Command& command, const Fd& terminal);

/// A child with pipes on stdin, stdout and stderr, all non-blocking on our side.
struct Child {
  pid_t pid = -1;
  Fd in, out, err;
};

/// Error if the program cannot be started.
Child spawn_with_pipes(const Command& command);

/// A child whose stdin and stdout are one socket; `err` reads its stderr. Both ends of ours are
/// non-blocking.
struct SocketChild {
  pid_t pid = -1;
  Fd err;
};

/// Puts our end of the socket into `socket`. Error if the program cannot be started.
SocketChild spawn_with_socket(const Command& command, Fd& socket);

/// Ends a child and everything that it started: SIGTERM to the group, SIGKILL if it stays, reaped.
void end_child(pid_t pid);

}  // namespace ds
