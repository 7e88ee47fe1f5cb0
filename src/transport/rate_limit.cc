// SPDX-License-Identifier: Apache-2.0
#include "transport/rate_limit.h"

namespace ds {

RateLimit::Piece RateLimit::next(std::size_t wanted, Clock::time_point now) {
  const std::uint64_t bytes = std::min<std::uint64_t>(wanted, most_);
  free_ = std::max(free_, now - kCatchUp);
  const Clock::time_point from = std::max(free_, now);
  constexpr std::uint64_t second = std::chrono::nanoseconds(std::chrono::seconds(1)).count();
  free_ += std::chrono::nanoseconds((bytes * second + rate_ - 1) / rate_);
  return {bytes, from};
}

}  // namespace ds
