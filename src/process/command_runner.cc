// SPDX-License-Identifier: Apache-2.0
#include <poll.h>

#include <chrono>
#include <deque>
#include <vector>

#include "base/error.h"
#include "base/interrupt.h"
#include "process/subprocess.h"

namespace ds {
namespace {

using Clock = std::chrono::steady_clock;

class PollingRunner : public CommandRunner {
 public:
  explicit PollingRunner(int jobs) : jobs_(static_cast<std::size_t>(jobs)) {}
  ~PollingRunner() override { kill_all(); }
  PollingRunner(const PollingRunner&) = delete;
  PollingRunner& operator=(const PollingRunner&) = delete;

  bool can_run_more() const override { return running_.size() + finished_.size() < jobs_; }

  void start(int id, const Command& command) override {
    Pipe output = make_pipe();
    Running child;
    child.result.id = id;
    child.began = Clock::now();
    const int failure = spawn(command, -1, output.write.get(), output.write.get(), child.pid);
    if (failure != 0) {
      finished_.push_back(not_started(command, failure));
      finished_.back().id = id;
      return;
    }
    set_nonblocking(output.read.get());
    child.output = std::move(output.read);
    running_.push_back(std::move(child));
  }

  CommandResult wait() override {
    while (finished_.empty()) {
      if (running_.empty())
        throw Error("nothing runs that could be waited for");
      poll_once();
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
    CommandResult result;
  };

  void poll_once() {
    std::vector<pollfd> waits{{interrupt_fd(), POLLIN, 0}};
    for (const Running& child : running_)
      waits.push_back({child.output.get(), POLLIN, 0});
    ::poll(waits.data(), waits.size(), -1);
    if (waits[0].revents != 0) {
      kill_all();
      throw Interrupted{};
    }
    for (std::size_t i = running_.size(); i-- > 0;) {
      if (waits[i + 1].revents == 0)
        continue;
      if (read_available(running_[i].output, running_[i].result.output))
        continue;
      finish(running_[i]);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  void finish(Running& child) {
    reap(child.pid, child.result);
    child.result.seconds = std::chrono::duration<double>(Clock::now() - child.began).count();
    finished_.push_back(std::move(child.result));
  }

  void kill_all() {
    for (Running& child : running_) {
      kill_group(child.pid);
      reap(child.pid, child.result);
    }
    running_.clear();
  }

  std::size_t jobs_;
  std::vector<Running> running_;
  std::deque<CommandResult> finished_;
};

}  // namespace

std::unique_ptr<CommandRunner> make_command_runner(int jobs) {
  return std::make_unique<PollingRunner>(jobs);
}

}  // namespace ds
