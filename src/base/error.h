// SPDX-License-Identifier: Apache-2.0
//
// The two ways of failing. An `Error` means that this run cannot go on; it is caught in `main`
// alone. Anything that fails for one job or one host is a value of the room that saw it.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ds {

/// What the process ends with; the table in ds-deploy(1), EXIT STATUS.
enum class ExitStatus : int {
  ok = 0,
  internal = 1,
  usage = 2,
  incompatible = 3,
  host_failed = 4,
  unreachable = 5,
  rollback_failed = 6,
  lock_held = 7,
  key_refused = 8,
  build_failed = 9,
  interrupted = 130,
};

/// Ends the run. `what` says what happened, where and why; `fix` what to do next (may be empty).
/// Not derived from std::exception on purpose: a `catch (const std::exception&)` around library
/// calls can never swallow it.
class Error {
 public:
  explicit Error(std::string what, std::string fix = {}, ExitStatus status = ExitStatus::internal)
      : what_(std::move(what)), fix_(std::move(fix)), status_(status) {}

  /// Adds a line of context, innermost first: "while reading the hostfile cluster".
  void add_context(std::string while_doing) { context_.push_back(std::move(while_doing)); }

  const std::string& what() const { return what_; }
  const std::string& fix() const { return fix_; }
  const std::vector<std::string>& context() const { return context_; }
  ExitStatus status() const { return status_; }

 private:
  std::string what_;
  std::string fix_;
  std::vector<std::string> context_;
  ExitStatus status_;
};

/// A wrong command line, or options that contradict each other. Exit status 2.
class UsageError : public Error {
 public:
  explicit UsageError(std::string what, std::string fix = "try 'ds-deploy --help'")
      : Error(std::move(what), std::move(fix), ExitStatus::usage) {}
};

/// One thing that is wrong with an input file. `line` and `column` count from 1; 0 is unknown.
struct Problem {
  std::string file;
  int line = 0;
  int column = 0;
  std::string what;
  std::string fix;
  bool operator==(const Problem&) const = default;
};

/// An input file that cannot be used; carries every problem found in it. Exit status 2. Its what()
/// is one line per problem: `file:line:column: what; fix`.
class InputError : public Error {
 public:
  explicit InputError(std::vector<Problem> problems);
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

/// Ctrl-C or SIGTERM. Not an Error, so that no handler of errors can swallow it.
struct Interrupted {};

/// Calls `work`; an Error that passes gets the line "while <doing>".
template <typename Work>
decltype(auto) with_context(const std::string& doing, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (Error& error) {
    error.add_context("while " + doing);
    throw;
  }
}

/// "No such file or directory" for an errno value.
std::string errno_text(int number);

}  // namespace ds
