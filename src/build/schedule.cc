// SPDX-License-Identifier: Apache-2.0
#include "build/schedule.h"

#include <algorithm>

namespace ds {

Schedule::Schedule(const std::vector<Job>& jobs, std::vector<JobCost> costs, std::uint64_t memory)
    : costs_(std::move(costs)), ways_(jobs.size()), alone_(jobs.size()), memory_(memory) {
  // What a job needs stands before it in the plan.
  for (std::size_t job = jobs.size(); job-- > 0;) {
    ways_[job] += costs_[job].seconds;
    for (const std::size_t need : jobs[job].needs)
      ways_[need] = std::max(ways_[need], ways_[job]);
  }
}

void Schedule::ready(std::size_t job) {
  ready_.emplace(-ways_[job], job);
}

bool Schedule::runs_alone(std::size_t job) const {
  return alone_[job] || costs_[job].memory > memory_;
}

bool Schedule::fits(std::size_t job) const {
  return running_ == 0 ||
         (!runs_alone(job) && !one_runs_alone_ && used_ <= memory_ - costs_[job].memory);
}

std::optional<std::size_t> Schedule::start() {
  // Smaller ones that slip past would make it wait until the end of the build.
  if (running_ > 0 && !ready_.empty() && runs_alone(ready_.begin()->second))
    return std::nullopt;
  const auto next = std::find_if(ready_.begin(), ready_.end(),
                                 [this](const auto& entry) { return fits(entry.second); });
  if (next == ready_.end())
    return std::nullopt;
  const std::size_t job = next->second;
  ready_.erase(next);
  ++running_;
  used_ += costs_[job].memory;
  one_runs_alone_ = runs_alone(job);
  return job;
}

void Schedule::ended(std::size_t job) {
  --running_;
  used_ -= costs_[job].memory;
  one_runs_alone_ = false;
}

void Schedule::run_alone(std::size_t job) {
  alone_[job] = true;
  costs_[job].memory *= 2;
}

}  // namespace ds
