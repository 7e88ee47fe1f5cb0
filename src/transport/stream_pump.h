// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <string>
#include <vector>

#include "process/process.h"
#include "transport/command_io.h"

namespace ds {

/// Feeds a child and takes what it says, without blocking. Kills it, if it still runs, with itself.
class StreamPump {
 public:
  /// `io` must live as long.
  StreamPump(Child child, CommandIo& io) : child_(std::move(child)), io_(io) {}
  ~StreamPump();
  StreamPump(const StreamPump&) = delete;
  StreamPump& operator=(const StreamPump&) = delete;

  void wants(std::vector<pollfd>& waits) const;
  void move(Clock::time_point now);
  bool ended() const { return !child_.out && !child_.err; }  ///< it says no more
  int reap();                                                ///< its status, as wait(2)

 private:
  void feed(Clock::time_point now);

  Child child_;
  CommandIo& io_;
};

}  // namespace ds
