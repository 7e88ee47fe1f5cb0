// SPDX-License-Identifier: Apache-2.0
//
// The bytes per second that all uploads of one transport share. Pure: time is what it is told.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/awake_clock.h"

namespace ds {

/// Deals out pieces in the order in which they are asked for, so that uploads that ask for one at a
/// time take turns and each waits for a piece of every other at most. In any window of time the
/// pieces that begin come to at most its share of the rate, that of kCatchUp and one piece. A host
/// that takes its piece late has that one beyond this.
class RateLimit {
 public:
  /// What a loop that turns a little late, or a pause, may make up for.
  static constexpr std::chrono::milliseconds kCatchUp{100};

  /// `bytes_per_second` is more than 0.
  explicit RateLimit(std::uint64_t bytes_per_second)
      : rate_(bytes_per_second), most_(std::clamp(bytes_per_second / 32, kSmallest, kLargest)) {}

  struct Piece {
    std::size_t bytes = 0;
    Clock::time_point from;  ///< it may be sent then: now, or later
  };
  /// For an upload that has `wanted` bytes, more than 0. The piece is its own, also if it is never
  /// sent.
  Piece next(std::size_t wanted, Clock::time_point now);

 private:
  /// Less is not worth its packet; more would be a burst.
  static constexpr std::uint64_t kSmallest = 4 * 1024, kLargest = 256 * 1024;

  std::uint64_t rate_, most_;
  Clock::time_point free_;  ///< what was dealt out is sent then
};

}  // namespace ds
