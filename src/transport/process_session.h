// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "transport/remote_command.h"
#include "transport/session.h"
#include "transport/stream_pump.h"

namespace ds {

/// A host whose commands are processes of this machine, one for each: what local hosts and those
/// served by the ssh program share.
class ProcessSession : public HostSession {
 public:
  ProcessSession(const SudoAccess& sudo, const Loop& loop) : sudo_(sudo), loop_(loop) {}

  void begin(CommandIo& io) override;
  void wants(std::vector<pollfd>& waits) const override;
  std::optional<ExecResult> step() override;
  Clock::time_point deadline() const override;
  bool weighs() const override { return pump_ && (io_->uploads() || !io_->begun()); }
  std::size_t descriptors() const override { return pump_ ? 3 : 0; }

 protected:
  virtual Command command_for(const CommandIo& io) = 0;
  /// Of a command that stays: it has begun; `err` may tell.
  virtual bool has_begun(std::string& err) const = 0;
  /// Fills in how the command ended; `status` is that of its process, as wait(2). `begun`: it
  /// stays, and has_begun() was true.
  virtual void judge(int status, bool begun, ExecResult& result) const = 0;
  /// Time that the process may take to reach the host, beyond the command's own.
  virtual std::chrono::milliseconds grace() const { return {}; }

  const SudoAccess& sudo_;

 private:
  ExecResult settled(ExecResult::Outcome outcome, std::string message);
  ExecResult settled();
  void look_whether_begun();
  std::chrono::milliseconds time_beyond() const;

  const Loop& loop_;
  CommandIo* io_ = nullptr;  ///< of the command that runs
  ExecResult result_;
  Clock::time_point began_;
  std::unique_ptr<StreamPump> pump_;
};

}  // namespace ds
