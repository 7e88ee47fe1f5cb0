// SPDX-License-Identifier: Apache-2.0
//
// This machine as a host: /bin/sh in "/", no network.
#include <fmt/format.h>
#include <sys/wait.h>

#include <cstring>

#include "transport/remote_command.h"
#include "transport/session.h"
#include "transport/stream_pump.h"

namespace ds {
namespace {

using Outcome = ExecResult::Outcome;

class LocalSession : public HostSession {
 public:
  LocalSession(const SudoAccess& sudo, const Loop& loop) : sudo_(sudo), loop_(loop) {}

  void begin(Exec exec) override {
    exec_ = std::move(exec);
    result_ = {};
    began_ = loop_.now();
    pump_ = std::make_unique<StreamPump>(
        spawn_with_pipes(Command{{"/bin/sh", "-c", sudo_.script(exec_.script)}, "/", {}}),
        exec_.input, sudo_.preamble());
  }

  void wants(std::vector<pollfd>& waits) const override {
    if (pump_)
      pump_->wants(waits);
  }

  std::optional<ExecResult> step() override {
    if (!pump_)
      return std::nullopt;
    pump_->move(result_.out, result_.err);
    if (result_.out.size() + result_.err.size() > exec_.output_limit)
      return settled(Outcome::flooded, printed_too_much(exec_));
    if (pump_->ended())
      return finished();
    if (loop_.now() >= deadline())
      return settled(Outcome::timed_out, took_too_long(exec_));
    return std::nullopt;
  }

  Clock::time_point deadline() const override {
    return pump_ ? began_ + exec_.time_limit : Clock::time_point::max();
  }
  bool weighs() const override { return pump_ != nullptr; }
  std::size_t descriptors() const override { return pump_ ? 3 : 0; }

 private:
  ExecResult finished() {
    const int status = pump_->reap();
    if (WIFSIGNALED(status)) {
      return settled(Outcome::signalled,
                     fmt::format("the command was killed by signal {} ({})", WTERMSIG(status),
                                 ::strsignal(WTERMSIG(status))));
    }
    result_.exit_status = WEXITSTATUS(status);
    return settled(Outcome::exited, {});
  }

  ExecResult settled(Outcome outcome, std::string message) {
    result_.outcome = outcome;
    result_.message = std::move(message);
    result_.sent_bytes = pump_->sent();
    result_.seconds = std::chrono::duration<double>(loop_.now() - began_).count();
    pump_.reset();
    return std::move(result_);
  }

  const SudoAccess& sudo_;
  const Loop& loop_;
  Exec exec_;
  ExecResult result_;
  Clock::time_point began_;
  std::unique_ptr<StreamPump> pump_;
};

}  // namespace

std::unique_ptr<HostSession> make_local_session(const SudoAccess& sudo, const Loop& loop) {
  return std::make_unique<LocalSession>(sudo, loop);
}

}  // namespace ds
