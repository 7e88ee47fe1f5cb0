// SPDX-License-Identifier: Apache-2.0
#include "rollout/host_program.h"

#include <algorithm>
#include <utility>

namespace ds {

HostProgram::HostProgram(const Endpoint& endpoint, Exec exec, Transport& transport)
    : conversation_(transport.converse(
          endpoint, std::move(exec), [this](std::string_view line) { heard(line); },
          [this](ExecResult result) { finish(std::move(result)); })) {}

void HostProgram::ask(std::string nonce, ExecInput input, std::chrono::milliseconds limit,
                      Done done) {
  nonce_ = std::move(nonce);
  done_ = std::move(done);
  began_ = std::chrono::steady_clock::now();
  sent_ = conversation_->sent();
  unanswered_ = true;
  conversation_->send(std::move(input), limit);
}

/// A login shell's noise, and answers that nobody waits for, are passed over.
void HostProgram::heard(std::string_view line) {
  if (!line.starts_with(nonce_ + " "))
    return;
  unanswered_ = false;
  conversation_->answered();
  ExecResult result;
  result.exit_status = 0;
  result.out = line;
  result.sent_bytes = conversation_->sent();
  finish(std::move(result));
}

void HostProgram::finish(ExecResult result) {
  const Done done = std::exchange(done_, nullptr);
  if (!done)
    return;
  result.sent_bytes -= std::min(result.sent_bytes, sent_);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
  result.seconds = took.count();
  done(result);
}

}  // namespace ds
