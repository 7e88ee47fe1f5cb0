// SPDX-License-Identifier: Apache-2.0
//
// What a build knows of its jobs while it runs.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "build/job_files.h"
#include "build/schedule.h"

namespace ds {

struct JobRecord {
  explicit JobRecord(JobFiles its_files) : files(std::move(its_files)) {}

  JobFiles files;
  bool running = false;
  bool done = false;
  std::size_t needed = 0;  ///< jobs that have to be done before
  std::vector<std::size_t> needed_by;
  std::string key;
  std::string because;  ///< it runs
  std::size_t slot = 0;
  double began = 0;
  bool tried_alone = false;
};

/// Seconds to the end of the build: as long as the longest way, or as all the work in these slots,
/// whichever is more. Nothing while most of the work is guessed.
std::optional<double> time_left(const std::vector<JobRecord>& records, const Schedule& schedule,
                                std::size_t slots, double now);

}  // namespace ds
