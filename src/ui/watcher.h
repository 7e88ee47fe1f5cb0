// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>

#include "base/fd.h"

namespace ds {

/// A thread that calls `tick` five times a second, where it `ticks`, and `asked` when somebody
/// wants to know how far the run is: SIGUSR1, or an empty line on stdin where that is a terminal
/// and it `reads`. One at a time in a process.
class Watcher {
 public:
  struct Wants {
    bool ticks = false, reads = false;
  };
  Watcher(Wants wants, std::function<void()> tick, std::function<void()> asked);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

 private:
  void run();

  Wants wants_;
  std::function<void()> tick_, asked_;
  Fd woken_, wakes_;  ///< a pipe; the signal's handler writes to it, and its end ends the thread
  std::thread thread_;
};

}  // namespace ds
