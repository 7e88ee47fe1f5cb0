// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/text.h"
#include "ui/ui.h"

namespace ds {
namespace {

/// Both looks of progress: what stays on the screen is the same in a pipe and on a terminal, but a
/// terminal shows good items only as they pass, on one line that is written over.
class StreamStatus : public Status {
 public:
  StreamStatus(StatusOptions options, std::FILE* stream) : options_(options), stream_(stream) {}

  void stage_started(std::string_view stage, std::size_t total) override {
    stage_ = stage;
    total_ = total;
    finished_ = 0;
    running_.clear();
    time_left_.clear();
    redraw();
  }

  void item_started(std::string_view item) override {
    running_.emplace_back(item);
    redraw();
  }

  void item_finished(std::string_view item, std::string_view outcome, bool failed,
                     std::string_view block) override {
    ++finished_;
    const auto running = std::find(running_.begin(), running_.end(), item);
    if (running != running_.end())
      running_.erase(running);
    const bool quiet = options_.verbosity == Verbosity::quiet;
    const bool stays = failed || options_.verbosity == Verbosity::verbose || !options_.terminal;
    if (stays && (failed || !quiet)) {
      print(fmt::format("{} {}: {}", counter(), item,
                        failed ? paint("31", outcome) : std::string(outcome)));
    }
    if (!block.empty())
      print(block.ends_with('\n') ? block.substr(0, block.size() - 1) : block);
    redraw();
  }

  void stage_finished() override {
    erase();
    stage_.clear();
  }

  void time_left(double seconds) override {
    time_left_ = seconds < 60 ? fmt::format(", {:.0f} s left", seconds)
                              : ", " + human_seconds(seconds) + " left";
    redraw();
  }

  void note(std::string_view text) override {
    if (options_.verbosity == Verbosity::verbose)
      print(text);
    redraw();
  }

  void remark(std::string_view text) override {
    if (options_.verbosity != Verbosity::quiet)
      print(text);
    redraw();
  }

  void warning(std::string_view text) override {
    print(fmt::format("ds-deploy: {} {}", paint("33", "warning:"), text));
    redraw();
  }

 private:
  std::string paint(std::string_view code, std::string_view text) const {
    return options_.color ? fmt::format("\033[{}m{}\033[0m", code, text) : std::string(text);
  }

  std::string counter() const { return fmt::format("[{} {}/{}]", stage_, finished_, total_); }

  void print(std::string_view text) {
    erase();
    std::fwrite(text.data(), 1, text.size(), stream_);
    std::fputc('\n', stream_);
    std::fflush(stream_);
  }

  void erase() {
    if (!drawn_)
      return;
    std::fputs("\r\033[K", stream_);
    std::fflush(stream_);
    drawn_ = false;
  }

  /// The live line: counter and what runs now, cut in the width.
  void redraw() {
    if (!options_.terminal || options_.verbosity == Verbosity::quiet || stage_.empty())
      return;
    std::string line = fmt::format("[{} {}/{}{}]", stage_, finished_, total_, time_left_);
    for (const std::string& item : running_)
      line += " " + item;
    const auto width = static_cast<std::size_t>(std::max(options_.width, 20));
    if (line.size() >= width)
      line = line.substr(0, width - 4) + "...";
    std::fputs(("\r" + line + "\033[K").c_str(), stream_);
    std::fflush(stream_);
    drawn_ = true;
  }

  StatusOptions options_;
  std::FILE* stream_;
  std::string stage_;
  std::size_t total_ = 0;
  std::size_t finished_ = 0;
  std::vector<std::string> running_;
  std::string time_left_;
  bool drawn_ = false;
};

}  // namespace

std::unique_ptr<Status> make_status(StatusOptions options, std::FILE* stream) {
  return std::make_unique<StreamStatus>(options, stream);
}

}  // namespace ds
