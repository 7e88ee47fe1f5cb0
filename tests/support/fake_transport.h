// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "transport/transport.h"

namespace ds {

/// A Transport without a network: `answer` decides what each command gives; what was sent is kept.
class FakeTransport : public Transport {
 public:
  struct Sent {
    std::string host;
    Exec exec;
  };
  using Answer = std::function<ExecResult(const Endpoint&, const Exec&)>;
  explicit FakeTransport(Answer answer) : answer_(std::move(answer)) {}

  void start(const Endpoint& endpoint, Exec exec, Done done) override {
    queue_.push_back({endpoint, std::move(exec), std::move(done)});
  }
  void run() override {
    while (!queue_.empty()) {
      Queued next = std::move(queue_.front());
      queue_.pop_front();
      sent.push_back({next.endpoint.name, next.exec});
      next.done(answer_(next.endpoint, next.exec));
    }
  }

  std::vector<Sent> sent;

 private:
  struct Queued {
    Endpoint endpoint;
    Exec exec;
    Done done;
  };
  Answer answer_;
  std::deque<Queued> queue_;
};

}  // namespace ds
