// SPDX-License-Identifier: Apache-2.0
//
// The same progress as JSON lines, for programs that follow a run.
#include <fcntl.h>

#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "ui/ui.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::int64_t now_ms() {
  using std::chrono::system_clock;
  const auto since = system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
}

/// One that nobody reads must hold up no run: what cannot be written at once is an error.
std::FILE* open_events(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  return fd < 0 ? nullptr : ::fdopen(fd, "a");
}

class EventStatus : public Status {
 public:
  EventStatus(std::unique_ptr<Status> shown, const std::filesystem::path& file)
      : shown_(std::move(shown)), name_(file), file_(open_events(file)) {
    if (file_ == nullptr) {
      throw Error("cannot write events to " + name_.string() + ": " + errno_text(errno),
                  "name another file with --events", ExitStatus::usage);
    }
  }

  void stage_started(std::string_view stage, std::size_t total) override {
    stage_ = stage;
    write({{"event", "stage-started"}, {"stage", stage_}, {"total", total}});
    shown_->stage_started(stage, total);
  }

  void item_started(std::string_view item) override {
    write({{"event", "item-started"}, {"stage", stage_}, {"item", item}});
    shown_->item_started(item);
  }

  void item_finished(std::string_view item, std::string_view outcome, bool failed,
                     std::string_view block) override {
    write({{"event", "item-finished"},
           {"stage", stage_},
           {"item", item},
           {"outcome", outcome},
           {"failed", failed}});
    shown_->item_finished(item, outcome, failed, block);
  }

  void stage_finished() override {
    write({{"event", "stage-finished"}, {"stage", stage_}});
    shown_->stage_finished();
  }

  void time_left(double seconds) override {
    write({{"event", "time-left"}, {"stage", stage_}, {"seconds", seconds}});
    shown_->time_left(seconds);
  }

  void note(std::string_view text) override {
    write({{"event", "note"}, {"text", text}});
    shown_->note(text);
  }

  void remark(std::string_view text) override {
    write({{"event", "remark"}, {"text", text}});
    shown_->remark(text);
  }

  void warning(std::string_view text) override {
    write({{"event", "warning"}, {"text", text}});
    shown_->warning(text);
  }

 private:
  /// A disk that is full ends the events, not the run.
  void write(ordered_json event) {
    if (file_ == nullptr)
      return;
    ordered_json line = {{"at_ms", now_ms()}};
    line.update(event);
    const std::string text =
        line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size() &&
        std::fflush(file_.get()) == 0)
      return;
    const std::string why = errno_text(errno);
    file_.reset();
    shown_->warning("no more events are written to " + name_.string() + ": " + why);
  }

  std::unique_ptr<Status> shown_;
  std::filesystem::path name_;
  std::unique_ptr<std::FILE, Close> file_;
  std::string stage_;
};

}  // namespace

std::unique_ptr<Status> with_events(std::unique_ptr<Status> shown,
                                    const std::filesystem::path& file) {
  return std::make_unique<EventStatus>(std::move(shown), file);
}

}  // namespace ds
