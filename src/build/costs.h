// SPDX-License-Identifier: Apache-2.0
//
// What jobs took when they ran last: seconds for the order in which they start, memory for how many
// fit beside each other, bytes on the disk to know beforehand whether it is large enough.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "plan/plan.h"

namespace ds {

struct JobCost {
  double seconds = 0;
  std::uint64_t memory = 0;  ///< bytes, the most at one time
  std::uint64_t output = 0;  ///< bytes on the disk
  std::uint64_t kept = 0;    ///< bytes of what it keeps beside its output while it runs
  bool learned = false;      ///< else a guess by kind, size of the source and architectures
};

class JobCosts {
 public:
  /// `memory`: the file that keeps them between runs.
  explicit JobCosts(std::filesystem::path memory);
  /// `source_bytes`: size of what is compiled.
  JobCost expected(const Job& job, std::uint64_t source_bytes) const;
  /// `last`: what it took now.
  void learn(const Job& job, const JobCost& last);
  void save() const;

 private:
  std::filesystem::path memory_;
  std::map<std::string, JobCost> known_;
};

/// Bytes that the jobs of a build may use together: what the machine has available, or what its
/// control group leaves (memory.max of cgroup v2, memory.limit_in_bytes of v1, of the group and all
/// above it) if that is less; a tenth stays free.
std::uint64_t memory_to_use();

/// The same with other roots of /proc and /sys/fs/cgroup, for tests.
std::uint64_t memory_to_use(const std::filesystem::path& proc, const std::filesystem::path& cgroup);

}  // namespace ds
