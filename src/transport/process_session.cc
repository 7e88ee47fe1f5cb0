// SPDX-License-Identifier: Apache-2.0
#include "transport/process_session.h"

namespace ds {

void ProcessSession::begin(Exec exec) {
  exec_ = std::move(exec);
  result_ = {};
  began_ = loop_.now();
  pump_ = std::make_unique<StreamPump>(spawn_with_pipes(command_for(exec_)), exec_.input,
                                       sudo_.preamble());
}

void ProcessSession::wants(std::vector<pollfd>& waits) const {
  if (pump_)
    pump_->wants(waits);
}

std::optional<ExecResult> ProcessSession::step() {
  if (!pump_)
    return std::nullopt;
  pump_->move(result_.out, result_.err);
  if (result_.out.size() + result_.err.size() > exec_.output_limit)
    return settled(ExecResult::Outcome::flooded, printed_too_much(exec_));
  if (pump_->ended()) {
    judge(pump_->reap(), result_);
    return settled();
  }
  if (loop_.now() >= deadline())
    return settled(ExecResult::Outcome::timed_out, took_too_long(exec_));
  return std::nullopt;
}

Clock::time_point ProcessSession::deadline() const {
  return pump_ ? began_ + exec_.time_limit + grace() : Clock::time_point::max();
}

ExecResult ProcessSession::settled(ExecResult::Outcome outcome, std::string message) {
  result_.outcome = outcome;
  result_.message = std::move(message);
  return settled();
}

ExecResult ProcessSession::settled() {
  result_.sent_bytes = pump_->sent();
  result_.seconds = std::chrono::duration<double>(loop_.now() - began_).count();
  pump_.reset();
  return std::move(result_);
}

}  // namespace ds
