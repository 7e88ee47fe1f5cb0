// SPDX-License-Identifier: Apache-2.0
//
// The door to other programs. Children are started by posix_spawn in a process group of their own,
// stdin from /dev/null unless asked otherwise, and are killed as a group when we are interrupted.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
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
  double cpu_seconds = 0;  ///< user and system, with its children's
  long peak_rss_kb = 0;    ///< of its largest process, by wait4(2); a CommandRunner looks now and
                           ///< then, and tells the most that all of its processes held
  bool ok() const { return exit_status == 0 && signal == 0 && !timed_out; }
};

/// Runs several commands at once: start while can_run_more(), then wait() for one to end.
class CommandRunner {
 public:
  virtual ~CommandRunner() = default;
  virtual bool can_run_more() = 0;
  /// After can_run_more(): more slots for the next command, at most `most`, if they are free and
  /// `others` stay free. Their number.
  virtual int take_more(int most, int others) = 0;
  virtual void start(int id, const Command& command) = 0;
  /// Nothing when more can be run that could not before, and now and then, so that who waits can
  /// show the time. Throws Interrupted, after abort().
  virtual std::optional<CommandResult> wait() = 0;
  virtual void abort() = 0;  ///< kills what runs, reaps it
};

/// The tokens of GNU make's job server, by which programs share the slots of a machine: each may
/// run one job, and one more for every token that it took (make manual, "Job Slots").
class JobServer {
 public:
  virtual ~JobServer() = default;
  virtual bool take() = 0;     ///< a token; false if there is none now
  virtual void give() = 0;     ///< one that was taken; those left are given back at the end
  virtual int fd() const = 0;  ///< readable when there is a token
  /// The environment of commands that are to take part: "MAKEFLAGS=...".
  virtual std::string variable() const = 0;
};

/// The one that `makeflags` ($MAKEFLAGS) names, as a FIFO or as two descriptors; null without one
/// that can be used.
std::unique_ptr<JobServer> join_job_server(const std::string& makeflags);
/// One of our own, a FIFO with `slots` - 1 tokens.
std::unique_ptr<JobServer> make_job_server(int slots);

struct RunnerOptions {
  int slots = 1;                    ///< commands at one time
  double max_load = 0;              ///< no second one while the load average is higher; 0: any
  std::chrono::seconds limit{0};    ///< for each command; 0: none
  JobServer* job_server = nullptr;  ///< asked for every command but one, and told to each
};

std::unique_ptr<CommandRunner> make_command_runner(const RunnerOptions& options);

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
