// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace ds {

/// Headers that are compiled beforehand: for the jobs of one run alone, as compilers do not see
/// when one is stale. They are large and made soon, so no store has them.
class Precompiled {
 public:
  /// Removes what is there of an earlier run. Outlived by `jobs`.
  Precompiled(const std::vector<Job>& jobs, std::filesystem::path build_folder);
  ~Precompiled();
  Precompiled(const Precompiled&) = delete;
  Precompiled& operator=(const Precompiled&) = delete;

  bool is_header(std::size_t job) const { return jobs_[job].kind == Job::Kind::precompile; }
  /// True if `job`, which has to run, waits for its header from now on.
  bool holds(std::size_t job);
  /// Once every job was looked at: the headers for which enough wait.
  std::vector<std::size_t> wanted() const;
  /// What the header that was made includes: a unit's depfile does not name it.
  void made(std::size_t header, std::vector<std::string> includes);
  /// What `job` reads by way of its header; nothing if that was not made.
  const std::vector<std::string>& read_by(std::size_t job) const;
  /// The header is there, or will not be: those that waited for it.
  std::vector<std::size_t> release(std::size_t header);

 private:
  const std::vector<Job>& jobs_;
  const std::filesystem::path folder_;
  std::map<std::size_t, std::vector<std::size_t>> waiting_;   ///< by header, until it is released
  std::map<std::size_t, std::vector<std::string>> includes_;  ///< by header that was made
  const std::vector<std::string> nothing_;
};

}  // namespace ds
