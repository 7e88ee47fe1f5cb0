// SPDX-License-Identifier: Apache-2.0
//
// Which job is to start next: of those that can, the one with the longest way to the end of the
// build behind it (list scheduling by critical path), if the memory holds it.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "build/costs.h"
#include "plan/plan.h"

namespace ds {

class Schedule {
 public:
  /// `costs`: one for each job of `jobs`; `memory`: bytes that they may use together.
  Schedule(const std::vector<Job>& jobs, std::vector<JobCost> costs, std::uint64_t memory);

  void ready(std::size_t job);
  bool none_ready() const { return ready_.empty(); }
  std::size_t ready_jobs() const { return ready_.size(); }
  bool any_running() const { return running_ > 0; }
  /// Takes the next job out, or nothing while those that run have to end first. One that needs more
  /// than there is runs alone.
  std::optional<std::size_t> start();
  void ended(std::size_t job);

  /// From now on this job runs alone, and is thought to need twice as much.
  void run_alone(std::size_t job);
  /// Seconds from its start to the end of the build, by what was expected.
  double way_to_the_end(std::size_t job) const { return ways_[job]; }
  const JobCost& cost(std::size_t job) const { return costs_[job]; }

 private:
  bool runs_alone(std::size_t job) const;
  bool fits(std::size_t job) const;

  std::vector<JobCost> costs_;
  std::vector<double> ways_;
  std::vector<bool> alone_;
  std::set<std::pair<double, std::size_t>> ready_;  ///< by the way, negative, so longest first
  std::uint64_t memory_, used_ = 0;
  std::size_t running_ = 0;
  bool one_runs_alone_ = false;
};

}  // namespace ds
