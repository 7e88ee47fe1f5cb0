// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "transport/transport.h"

namespace ds {

/// A Transport that runs every script here and now, after `tamper` had its way with the input (it
/// may throw) and before `spoil` has its way with the answer.
class ShellTransport : public Transport {
 public:
  using Tamper = std::function<void(const Endpoint&, std::string& input)>;
  using Spoil = std::function<void(const Endpoint&, const std::string& input, ExecResult&)>;
  explicit ShellTransport(Tamper tamper = {}, Spoil spoil = {})
      : tamper_(std::move(tamper)), spoil_(std::move(spoil)) {}

  void start(const Endpoint& endpoint, Exec exec, Done done) override {
    queue_.push_back({endpoint, std::move(exec), std::move(done)});
  }

  void run() override {
    while (!queue_.empty()) {
      Queued next = std::move(queue_.front());
      queue_.pop_front();
      try {
        next.done(execute(next.endpoint, next.exec));
      } catch (...) {
        queue_.clear();
        throw;
      }
    }
  }

  std::vector<std::string> scripts;

 private:
  struct Queued {
    Endpoint endpoint;
    Exec exec;
    Done done;
  };

  ExecResult execute(const Endpoint& endpoint, const Exec& exec) {
    scripts.push_back(exec.script);
    std::string input = exec.input.bytes;
    if (!exec.input.file.empty())
      input += read_file(exec.input.file).substr(exec.input.offset);
    if (tamper_)
      tamper_(endpoint, input);
    const std::string base = folder_.path().string();
    write_file(base + "/script", exec.script);
    write_file(base + "/in", input);
    const std::string command =
        "/bin/sh " + base + "/script < " + base + "/in > " + base + "/out 2> " + base + "/err";
    const int status = std::system(command.c_str());
    ExecResult result;
    result.exit_status = WEXITSTATUS(status);
    result.out = read_file(base + "/out");
    result.err = read_file(base + "/err");
    result.sent_bytes = input.size();
    if (spoil_)
      spoil_(endpoint, input, result);
    return result;
  }

  Tamper tamper_;
  Spoil spoil_;
  std::deque<Queued> queue_;
  TempDir folder_;
};

}  // namespace ds
