// SPDX-License-Identifier: Apache-2.0
//
// Progress, on stderr. Stages report events; how they look is decided here: a few live lines on a
// terminal, one line per finished thing in a pipe, nothing but warnings with --quiet. SIGUSR1, or
// Enter where stderr is no terminal, prints how far the run is.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace ds {

class Status {
 public:
  virtual ~Status() = default;
  virtual void stage_started(std::string_view stage, std::size_t total) = 0;
  virtual void item_started(std::string_view item) = 0;
  /// `outcome` is a few words ("reached", "unreachable: ..."); `block` is text shown whole, once
  /// (a compiler's messages), already clean.
  virtual void item_finished(std::string_view item, std::string_view outcome, bool failed,
                             std::string_view block = {}) = 0;
  virtual void stage_finished() = 0;
  /// About so many seconds until the stage ends, for the live lines.
  virtual void time_left(double seconds) = 0;
  virtual void note(std::string_view text) = 0;    ///< only with --verbose
  virtual void remark(std::string_view text) = 0;  ///< asked for; not with --quiet
  virtual void warning(std::string_view text) = 0;
};

enum class Verbosity { quiet, normal, verbose };

struct StatusOptions {
  Verbosity verbosity = Verbosity::normal;
  bool terminal = false;  ///< `stream` is a terminal that understands \r, \033[A and \033[J
  bool color = false;
  int width = 80;
  /// Bytes of files that went to hosts so far; asked by another thread.
  std::uint64_t (*sent_bytes)() = nullptr;
};

std::unique_ptr<Status> make_status(StatusOptions options, std::FILE* stream);

/// What `shown` gets goes to the file too, an event a line, as JSON. Error (usage) if it cannot be
/// written; one that cannot be written later is a warning.
std::unique_ptr<Status> with_events(std::unique_ptr<Status> shown,
                                    const std::filesystem::path& file);

/// "auto", "always" or "never"; NO_COLOR, CLICOLOR_FORCE and TERM=dumb are respected under "auto".
bool wants_color(std::string_view mode, int fd);
bool is_live_terminal(int fd);
int terminal_width(int fd);

}  // namespace ds
