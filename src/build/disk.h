// SPDX-License-Identifier: Apache-2.0
//
// Room on the disks that a build writes to, held against what it needs before its first job.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "build/costs.h"
#include "ui/ui.h"

namespace ds {

struct DiskNeed {
  std::string what;              ///< "the build folder"
  std::filesystem::path folder;  ///< need not be there yet
  std::uint64_t learned = 0;     ///< bytes that its jobs took when they ran last
  std::uint64_t guessed = 0;     ///< bytes of jobs that never ran
};

/// What jobs need that have to run, `slots` at one time: their outputs lie in the build folder and
/// in the cache; meanwhile they keep files of their own, and compilers write assembler text into
/// TMPDIR, some times larger than the object.
std::vector<DiskNeed> disk_needs(const std::vector<JobCost>& jobs,
                                 const std::filesystem::path& build_folder,
                                 const std::filesystem::path& cache, int slots);

/// Error (build_failed) if a disk, or this user's quota there, has less room than is known to be
/// needed; a warning if it has less than may be needed.
void check_disks(const std::vector<DiskNeed>& needs, Status& status);

/// Bytes that quotas leave for `folder`, from what quota(1) says with -w -p, mount points in place
/// of devices; nothing if none holds there.
std::optional<std::uint64_t> quota_left(std::string_view said, const std::filesystem::path& folder);

}  // namespace ds
