// SPDX-License-Identifier: Apache-2.0
//
// What the engine sees of a connection to one host: a small state machine that says what it waits
// for and moves on when it comes. Nothing in it blocks.
#pragma once

#include <poll.h>

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "transport/transport.h"

namespace ds {

using Clock = std::chrono::steady_clock;

class HostSession {
 public:
  virtual ~HostSession() = default;

  /// Begins a command; only while none is under way.
  virtual void begin(Exec exec) = 0;

  /// The descriptors it waits for now.
  virtual void wants(std::vector<pollfd>& waits) const = 0;

  /// Moves as far as it can. The result once the command has ended.
  virtual std::optional<ExecResult> step() = 0;

  /// When it must be told expire(); the far future if never.
  virtual Clock::time_point deadline() const = 0;

  /// Ends the command because its time is over.
  virtual ExecResult expire() = 0;
};

/// What a session says of a command that it had to end.
std::string took_too_long(const Exec& exec);
std::string printed_too_much(const Exec& exec);
/// "15", "0.3": the number of seconds.
std::string in_seconds(std::chrono::milliseconds time);

std::unique_ptr<HostSession> make_local_session();
std::unique_ptr<HostSession> make_ssh_session(const Endpoint& endpoint,
                                              const TransportOptions& options);

}  // namespace ds
