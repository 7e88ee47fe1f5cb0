// SPDX-License-Identifier: Apache-2.0
//
// The process that works for a run on a host, templates/host.py: it holds the environment's lock
// while it lives, and answers one request after the other.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "transport/transport.h"

namespace ds {

class HostProgram {
 public:
  using Done = std::function<void(const ExecResult&)>;

  /// `exec.input` is its text. It can be asked at once.
  HostProgram(const Endpoint& endpoint, Exec exec, Transport& transport);

  /// False once it has ended, or its connection has.
  bool open() const { return conversation_->open(); }
  /// Its answer is the line that begins with `nonce`: `done` gets that as `out`, or why there is
  /// none; it may destroy this. One question at a time: an earlier one is forgotten, and what is
  /// asked waits behind it. `limit` runs from the last byte of `input`.
  void ask(std::string nonce, ExecInput input, std::chrono::milliseconds limit, Done done);
  /// Nobody waits for an answer any more.
  void forget() { done_ = nullptr; }
  /// A question was forgotten and is not answered: what is asked now may wait long.
  bool busy() const { return unanswered_; }

 private:
  void heard(std::string_view line);
  void finish(ExecResult result);

  std::unique_ptr<Conversation> conversation_;
  std::string nonce_;
  Done done_;
  std::chrono::steady_clock::time_point began_;
  std::uint64_t sent_ = 0;  ///< before this question
  bool unanswered_ = false;
};

}  // namespace ds
