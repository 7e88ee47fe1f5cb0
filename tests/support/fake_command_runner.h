// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "process/process.h"

namespace ds {

/// A CommandRunner without processes. It remembers what was started; a command "runs" when it is
/// waited for: `behave` decides its result, and for a good one the file after -o is written.
class FakeCommandRunner : public CommandRunner {
 public:
  using Behave = std::function<CommandResult(const Command&)>;
  explicit FakeCommandRunner(int jobs = 2, Behave behave = {})
      : jobs_(jobs), behave_(std::move(behave)) {}

  bool can_run_more() override { return running_.size() < static_cast<std::size_t>(jobs_); }
  int take_more(int most, int others) override {
    return std::clamp(jobs_ - static_cast<int>(running_.size()) - 1 - others, 0, most);
  }
  void start(int id, const Command& command) override {
    started.push_back(command);
    running_.emplace_back(id, command);
    most_at_once = std::max(most_at_once, running_.size());
  }
  std::optional<CommandResult> wait() override {
    const auto [id, command] = running_.front();
    running_.pop_front();
    CommandResult result = behave_ ? behave_(command) : CommandResult{};
    result.id = id;
    const std::string output = after(command, "-o");
    if (result.ok() && writes_outputs && !output.empty())
      write_file(output, content(command));
    return result;
  }
  std::size_t waiting() const { return running_.size(); }
  void abort() override {
    ++aborts;
    running_.clear();
  }

  /// The word that follows `option`, or "".
  static std::string after(const Command& command, const std::string& option) {
    const auto found = std::find(command.argv.begin(), command.argv.end(), option);
    return found == command.argv.end() || found + 1 == command.argv.end() ? "" : *(found + 1);
  }

  std::function<std::string(const Command&)> content = [](const Command&) { return "made"; };
  bool writes_outputs = true;
  std::vector<Command> started;
  std::size_t most_at_once = 0;
  int aborts = 0;

 private:
  int jobs_;
  Behave behave_;
  std::deque<std::pair<int, Command>> running_;
};

}  // namespace ds
