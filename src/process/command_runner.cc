// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "base/awake_clock.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "process/process_tree.h"
#include "process/subprocess.h"

namespace ds {
namespace {

constexpr std::chrono::milliseconds between_looks{250};  // at the memory of what runs

class PollingRunner : public CommandRunner {
 public:
  explicit PollingRunner(const RunnerOptions& options) : options_(options) {}
  ~PollingRunner() override { kill_all(); }
  PollingRunner(const PollingRunner&) = delete;
  PollingRunner& operator=(const PollingRunner&) = delete;

  bool can_run_more() override {
    held_back_ = false;
    if (free_slots() <= 0)
      return false;
    const bool loaded = !running_.empty() && is_loaded();
    if (loaded)
      return_spare_token();
    held_back_ = loaded || !has_token();
    return !held_back_;
  }

  int take_more(int most, int others) override {
    const int wanted = std::min(most, free_slots() - 1 - others);
    for (more_ = 0; more_ < wanted; ++more_) {
      if (options_.job_server != nullptr && !options_.job_server->take())
        break;
    }
    return more_;
  }

  void start(int id, const Command& command) override {
    Pipe output = make_pipe();
    Running child;
    child.result.id = id;
    child.began = clock_.now();
    child.paid = std::exchange(spare_token_, false);
    child.more = std::exchange(more_, 0);
    Command shares = command;
    if (options_.job_server != nullptr)
      shares.environment.push_back(options_.job_server->variable());
    const int failure = spawn(shares, -1, output.write.get(), output.write.get(), child.pid);
    if (failure != 0) {
      give_back(child);
      finished_.push_back(not_started(command, failure));
      finished_.back().id = id;
      return;
    }
    set_nonblocking(output.read.get());
    child.output = std::move(output.read);
    running_.push_back(std::move(child));
  }

  std::optional<CommandResult> wait() override {
    return_spare_token();
    const bool held_back = std::exchange(held_back_, false);
    while (finished_.empty()) {
      if (running_.empty() && !held_back)
        throw Error("nothing runs that could be waited for");
      if (poll_once(held_back))
        return std::nullopt;
    }
    CommandResult result = std::move(finished_.front());
    finished_.pop_front();
    return result;
  }

  void abort() override { kill_all(); }

 private:
  struct Running {
    pid_t pid = -1;
    Fd output;
    Clock::time_point began;
    bool paid = false;       ///< with a token
    int more = 0;            ///< slots beside its own, each with a token
    std::uint64_t held = 0;  ///< bytes, the most that was seen
    CommandResult result;
  };

  int free_slots() const {
    int used = static_cast<int>(finished_.size());
    for (const Running& one : running_)
      used += 1 + one.more;
    return options_.slots - used;
  }

  bool is_loaded() const {
    double load = 0;
    return options_.max_load > 0 && ::getloadavg(&load, 1) == 1 && load > options_.max_load;
  }

  /// One command runs without a token, every other one with its own.
  bool has_token() {
    const bool one_is_free =
        std::all_of(running_.begin(), running_.end(), [](const Running& one) { return one.paid; });
    if (options_.job_server != nullptr && !one_is_free && !spare_token_)
      spare_token_ = options_.job_server->take();
    return options_.job_server == nullptr || one_is_free || spare_token_;
  }

  void return_spare_token() {
    if (std::exchange(spare_token_, false))
      options_.job_server->give();
  }

  void give_back(Running& child) {
    int tokens = std::exchange(child.paid, false) ? 1 : 0;
    tokens += std::exchange(child.more, 0);
    for (; tokens > 0 && options_.job_server != nullptr; --tokens)
      options_.job_server->give();
  }

  /// True if what was held back may be tried again, or nothing happened for a while.
  bool poll_once(bool held_back) {
    const bool for_token = held_back && options_.job_server != nullptr;
    std::vector<pollfd> waits{{interrupt_fd(), POLLIN, 0},
                              {for_token ? options_.job_server->fd() : -1, POLLIN, 0}};
    for (const Running& child : running_)
      waits.push_back({child.output.get(), POLLIN, 0});
    const auto wait = std::min(between_looks, AwakeClock::longest_wait);
    look_at_memory(clock_.now());
    const int ready = ::poll(waits.data(), waits.size(), static_cast<int>(wait.count()));
    const Clock::time_point now = clock_.after(wait);
    if (waits[0].revents != 0) {
      kill_all();
      throw Interrupted{};
    }
    for (std::size_t i = running_.size(); i-- > 0;) {
      const bool late = options_.limit.count() > 0 && now >= running_[i].began + options_.limit;
      if (late)
        kill_group(running_[i].pid);
      else if (waits[i + 2].revents == 0 ||
               read_available(running_[i].output, running_[i].result.output))
        continue;
      running_[i].result.timed_out = late;
      finish(running_[i], now);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return finished_.empty() && (ready == 0 || waits[1].revents != 0);
  }

  void look_at_memory(Clock::time_point now) {
    if (now < looked_ + between_looks)
      return;
    looked_ = now;
    for (Running& child : running_)
      child.held = std::max(child.held, resident_bytes_of_tree(child.pid));
  }

  void finish(Running& child, Clock::time_point now) {
    reap(child.pid, child.result);
    // For the next command, before a compiler that waits for tokens takes it.
    if (!spare_token_ && running_.size() > 1)
      spare_token_ = std::exchange(child.paid, false);
    child.result.peak_rss_kb =
        std::max(child.result.peak_rss_kb, static_cast<long>(child.held / 1024));
    give_back(child);
    child.result.seconds = std::chrono::duration<double>(now - child.began).count();
    finished_.push_back(std::move(child.result));
  }

  void kill_all() {
    for (Running& child : running_) {
      kill_group(child.pid);
      reap(child.pid, child.result);
      give_back(child);
    }
    running_.clear();
    return_spare_token();
  }

  RunnerOptions options_;
  AwakeClock clock_;
  Clock::time_point looked_{};
  std::vector<Running> running_;
  std::deque<CommandResult> finished_;
  bool held_back_ = false;    ///< slots are free, but the machine is busy with others' work
  bool spare_token_ = false;  ///< taken for the command that is to be started next
  int more_ = 0;              ///< slots beside its own, taken for it too
};

}  // namespace

std::unique_ptr<CommandRunner> make_command_runner(const RunnerOptions& options) {
  return std::make_unique<PollingRunner>(options);
}

}  // namespace ds
