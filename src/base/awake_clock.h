// SPDX-License-Identifier: Apache-2.0
//
// A clock that stands still while this process is stopped (Ctrl-Z, a laptop that sleeps), so that
// waking up makes nobody late.
#pragma once

#include <chrono>

namespace ds {

using Clock = std::chrono::steady_clock;

class AwakeClock {
 public:
  /// A wait that may have to notice a stop asks for no more than this at one time.
  static constexpr std::chrono::milliseconds longest_wait{500};

  AwakeClock();

  /// Steady time less the time that this process was stopped. Any gap of over half a second since
  /// the last call in which this process did not work was a stop.
  Clock::time_point now() { return after({}); }
  /// The same at the end of a wait that was to take `wait` at most. Call now() right before it.
  Clock::time_point after(std::chrono::milliseconds wait);

 private:
  Clock::time_point last_;
  Clock::duration worked_;  ///< CPU time of this process at last_
  Clock::duration stopped_{};
};

}  // namespace ds
