// SPDX-License-Identifier: Apache-2.0
//
// What the engine sees of a connection to one host: a small state machine that says what it waits
// for and moves on when it comes. Nothing in it blocks.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "transport/command_io.h"
#include "transport/loop.h"
#include "transport/ssh_config.h"
#include "transport/transport.h"

namespace ds {

class HostSession {
 public:
  virtual ~HostSession() = default;

  /// Begins a command; only while none is under way. `io` must live until it has ended or this
  /// session has.
  virtual void begin(CommandIo& io) = 0;

  /// The descriptors it waits for now.
  virtual void wants(std::vector<pollfd>& waits) const = 0;

  /// Moves as far as it can, and minds the time. The result once the command has ended.
  virtual std::optional<ExecResult> step() = 0;

  /// When step() has something to do without a descriptor being ready; the far future if never.
  virtual Clock::time_point deadline() const = 0;

  /// True while it costs this machine something: connecting, logging in, uploading. The fan-out
  /// bounds how many do at one time.
  virtual bool weighs() const = 0;

  /// How many descriptors it holds now, or will hold soon.
  virtual std::size_t descriptors() const = 0;

  /// True between two commands on an open connection, which close_idle() gives up.
  virtual bool idle() const { return false; }
  virtual void close_idle() {}

  /// Why this session cannot serve the host and the ssh program should; empty: no such reason.
  virtual std::string better_by_openssh() const { return {}; }
};

/// "15", "0.3": the number of seconds.
std::string in_seconds(std::chrono::milliseconds time);

struct SshServices;
struct SudoAccess;

std::unique_ptr<HostSession> make_local_session(const SudoAccess& sudo, const Loop& loop);
/// libssh2. `owner` is the member of the loop whose turns become this session's steps.
std::unique_ptr<HostSession> make_ssh_session(const SshSettings& settings, SshServices& services,
                                              Loop::Member& owner);
/// One process of the system's ssh for each command, in batch mode.
std::unique_ptr<HostSession> make_openssh_session(const SshSettings& settings,
                                                  const TransportOptions& options,
                                                  const SudoAccess& sudo, const Loop& loop);

}  // namespace ds
