// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string>

#include "base/text.h"
#include "ui/progress.h"
#include "ui/ui.h"
#include "ui/watcher.h"

namespace ds {
namespace {

/// Both looks of progress: what stays on the screen is the same in a pipe and on a terminal, but a
/// terminal shows good items only as they pass, in a few lines that are written over.
class StreamStatus : public Status {
 public:
  StreamStatus(StatusOptions options, std::FILE* stream)
      : options_(options),
        stream_(stream),
        watcher_(
            {.ticks = options.terminal && options.verbosity != Verbosity::quiet,
             .reads = !options.terminal && ::isatty(STDIN_FILENO) == 1},
            [this] { draw(); }, [this] { tell(); }) {}

  void stage_started(std::string_view stage, std::size_t total) override {
    const std::lock_guard lock(mutex_);
    look_at_bytes();
    progress_.stage_started(stage, total, Progress::Clock::now());
  }

  void item_started(std::string_view item) override {
    const std::lock_guard lock(mutex_);
    progress_.item_started(item, Progress::Clock::now());
  }

  void item_finished(std::string_view item, std::string_view outcome, bool failed,
                     std::string_view block) override {
    const std::lock_guard lock(mutex_);
    progress_.item_finished(item, outcome, failed);
    const bool quiet = options_.verbosity == Verbosity::quiet;
    const bool stays = failed || options_.verbosity == Verbosity::verbose || !options_.terminal;
    if (stays && (failed || !quiet)) {
      print(fmt::format("{} {}: {}", progress_.counter(), item,
                        failed ? paint("31", outcome) : std::string(outcome)));
    }
    if (!block.empty())
      print(block.ends_with('\n') ? block.substr(0, block.size() - 1) : block);
  }

  void stage_finished() override {
    const std::lock_guard lock(mutex_);
    erase();
    progress_.stage_finished(Progress::Clock::now());
  }

  void time_left(double seconds) override {
    const std::lock_guard lock(mutex_);
    progress_.time_left(seconds);
  }

  void note(std::string_view text) override {
    const std::lock_guard lock(mutex_);
    if (options_.verbosity == Verbosity::verbose)
      print(text);
  }

  void remark(std::string_view text) override {
    const std::lock_guard lock(mutex_);
    if (options_.verbosity != Verbosity::quiet)
      print(text);
  }

  void warning(std::string_view text) override {
    const std::lock_guard lock(mutex_);
    print(fmt::format("ds-deploy: {} {}", paint("33", "warning:"), text));
  }

 private:
  std::string paint(std::string_view code, std::string_view text) const {
    return options_.color ? fmt::format("\033[{}m{}\033[0m", code, text) : std::string(text);
  }

  void look_at_bytes() {
    if (options_.sent_bytes != nullptr)
      progress_.sent(options_.sent_bytes());
  }

  std::vector<std::string> lines() {
    look_at_bytes();
    const int width = options_.terminal ? terminal_width(::fileno(stream_)) : options_.width;
    // The last column would wrap.
    return progress_.lines(static_cast<std::size_t>(std::max(width, 20) - 1),
                           Progress::Clock::now());
  }

  void print(std::string_view text) {
    erase();
    std::fwrite(text.data(), 1, text.size(), stream_);
    std::fputc('\n', stream_);
    std::fflush(stream_);
  }

  /// The cursor stands at the end of the last line that was drawn.
  void erase() {
    if (drawn_ == 0)
      return;
    std::fputs(drawn_ > 1 ? fmt::format("\r\033[{}A\033[J", drawn_ - 1).c_str() : "\r\033[J",
               stream_);
    std::fflush(stream_);
    drawn_ = 0;
  }

  void draw() {
    const std::lock_guard lock(mutex_);
    if (!progress_.in_stage())
      return;
    const std::vector<std::string> all = lines();
    erase();
    std::fputs(join(all, "\n").c_str(), stream_);
    std::fflush(stream_);
    drawn_ = all.size();
  }

  /// Somebody asked; it stays where it is written.
  void tell() {
    const std::lock_guard lock(mutex_);
    print(join(lines(), "\n"));
  }

  StatusOptions options_;
  std::FILE* stream_;
  std::mutex mutex_;
  Progress progress_;
  std::size_t drawn_ = 0;  ///< lines
  Watcher watcher_;        ///< the last member: it ends first
};

}  // namespace

std::unique_ptr<Status> make_status(StatusOptions options, std::FILE* stream) {
  return std::make_unique<StreamStatus>(options, stream);
}

}  // namespace ds
