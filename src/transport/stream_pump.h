// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <string>
#include <vector>

#include "process/process.h"
#include "transport/input_stream.h"

namespace ds {

/// Feeds a child and takes what it says, without blocking. Kills it, if it still runs, with itself.
class StreamPump {
 public:
  StreamPump(Child child, ExecInput input, const std::string& preamble)
      : child_(std::move(child)), input_(std::move(input), preamble) {}
  ~StreamPump();
  StreamPump(const StreamPump&) = delete;
  StreamPump& operator=(const StreamPump&) = delete;

  void wants(std::vector<pollfd>& waits) const;
  void move(std::string& out, std::string& err);
  bool ended() const { return !child_.out && !child_.err; }  ///< it says no more
  int reap();                                                ///< its status, as wait(2)
  std::uint64_t sent() const { return input_.sent(); }

 private:
  void feed();

  Child child_;
  InputStream input_;
};

}  // namespace ds
