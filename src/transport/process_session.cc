// SPDX-License-Identifier: Apache-2.0
#include "transport/process_session.h"

#include <algorithm>

namespace ds {

void ProcessSession::begin(CommandIo& io) {
  result_ = {};
  began_ = loop_.now();
  pump_ = std::make_unique<StreamPump>(spawn_with_pipes(command_for(io)), io);
  io_ = &io;
  io.start(began_);
  look_whether_begun();
}

void ProcessSession::wants(std::vector<pollfd>& waits) const {
  if (pump_)
    pump_->wants(waits);
}

void ProcessSession::look_whether_begun() {
  if (io_->stays() && !io_->begun() && has_begun(io_->err))
    io_->begin(loop_.now());
}

std::optional<ExecResult> ProcessSession::step() {
  if (!pump_)
    return std::nullopt;
  pump_->move(loop_.now());
  look_whether_begun();
  io_->took();
  if (const std::string problem = io_->too_much(); !problem.empty())
    return settled(ExecResult::Outcome::flooded, problem);
  if (pump_->ended()) {
    result_.out = io_->take_out();
    result_.err = std::move(io_->err);
    judge(pump_->reap(), io_->begun(), result_);
    return settled();
  }
  if (const std::string late = io_->too_late(loop_.now() - time_beyond()); !late.empty())
    return settled(ExecResult::Outcome::timed_out, late);
  return std::nullopt;
}

std::chrono::milliseconds ProcessSession::time_beyond() const {
  return io_->begun() ? std::chrono::milliseconds(0) : grace();
}

Clock::time_point ProcessSession::deadline() const {
  return pump_ ? std::min(io_->deadline() + time_beyond(), io_->resumes())
               : Clock::time_point::max();
}

ExecResult ProcessSession::settled(ExecResult::Outcome outcome, std::string message) {
  result_.out = io_->take_out();
  result_.err = std::move(io_->err);
  result_.outcome = outcome;
  result_.message = std::move(message);
  return settled();
}

ExecResult ProcessSession::settled() {
  result_.sent_bytes = io_->sent();
  result_.seconds = std::chrono::duration<double>(loop_.now() - began_).count();
  pump_.reset();
  io_ = nullptr;
  return std::move(result_);
}

}  // namespace ds
