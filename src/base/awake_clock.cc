// SPDX-License-Identifier: Apache-2.0
#include "base/awake_clock.h"

#include <ctime>

namespace ds {
namespace {

Clock::duration own_work() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

}  // namespace

AwakeClock::AwakeClock() : last_(Clock::now()), worked_(own_work()) {}

Clock::time_point AwakeClock::after(std::chrono::milliseconds wait) {
  const Clock::duration worked = own_work();
  const Clock::time_point moment = Clock::now();
  const Clock::duration gap = moment - last_ - wait - (worked - worked_);
  if (gap > longest_wait)
    stopped_ += gap;
  last_ = moment;
  worked_ = worked;
  return moment - stopped_;
}

}  // namespace ds
