// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <chrono>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "support/fleet/fault.h"
#include "support/fleet/first_keys.h"

namespace fleet {

using Clock = std::chrono::steady_clock;

/// Bytes on their way in one direction, each with the time at which it may arrive.
class Lane {
 public:
  Lane(int from, int to, const Fault& fault) : from_(from), to_(to), fault_(fault) {}

  bool wants_to_read() const;
  bool wants_to_write(Clock::time_point now) const;
  Clock::time_point due() const;  ///< of the first byte that waits; max() when none does
  /// Reads `most` bytes at most; what came, valid until the next call.
  std::string_view read(Clock::time_point now, size_t most);
  void write(Clock::time_point now);
  bool empty() const { return chunks_.empty(); }
  bool over() const { return broken_ || (ended_ && chunks_.empty()); }
  bool broken() const { return broken_; }

 private:
  struct Chunk {
    Clock::time_point due;
    std::string bytes;
  };
  int from_, to_;
  Fault fault_;
  std::deque<Chunk> chunks_;
  size_t queued_ = 0;
  Clock::time_point free_at_{};  ///< when the line, at its rate, has sent what it holds
  bool ended_ = false;
  bool broken_ = false;
};

/// Stands between a client and its sshd, and does what the fault says.
class Relay {
 public:
  Relay(size_t host, ds::Fd client, ds::Fd server, const Fault& fault);

  size_t host() const { return host_; }
  void add_to(std::vector<pollfd>& polled, Clock::time_point now) const;  ///< adds two
  void step(short client, short server, Clock::time_point now);
  /// When a lane has something more to pass on; max() for never.
  Clock::time_point due_after(Clock::time_point now) const;
  bool over() const { return over_; }

 private:
  enum class State { passing, stalled, draining };
  void pass(short client, short server, Clock::time_point now);
  void read_from_client(Clock::time_point now);
  void reset_client();
  bool spent() const;  ///< the client has sent all that it may

  size_t host_;
  Fault fault_;
  ds::Fd client_, server_;
  Lane up_, down_;
  FirstKeys keys_;
  size_t counted_ = 0;  ///< bytes from the client that count for the fault
  State state_ = State::passing;
  bool over_ = false;
};

}  // namespace fleet
