// SPDX-License-Identifier: Apache-2.0
//
// The files of one job on the disk. An output appears whole, by rename, or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace ds {

/// Marks the temporary files of this build: ".tmp.HOST.PID.RANDOM".
std::string temporary_suffix();

/// Removes below `folder` what builds on this machine left that were killed.
void remove_abandoned(const std::filesystem::path& folder);

class JobFiles {
 public:
  /// Error if the output's folder cannot be made. `suffix` is of this build alone.
  JobFiles(const Job& job, const std::filesystem::path& build_folder, const std::string& suffix);

  const std::filesystem::path& folder() const { return folder_; }  ///< that the job runs in
  const std::filesystem::path& output() const { return output_; }
  const std::filesystem::path& made() const { return temporary_; }  ///< until keep()
  /// Absolute and normal.
  std::string absolute(const std::filesystem::path& input) const;
  /// As it is named in the store: relative to folder() if it lies below.
  std::string portable(const std::string& absolute) const;

  /// The job's command, ready to run. Makes the folder of @KEEP@ if it is asked for; Error if it
  /// cannot be made.
  Command command(const Job& job, int threads = 1) const;
  /// The same with the names that stay, to be shown.
  Command shown_command(const Job& job) const;
  /// What a person could type to run it again.
  std::string shell_line(const Job& job) const;
  std::vector<std::string> headers() const;  ///< absolute, of the last run
  std::uint64_t kept_bytes() const;          ///< of @KEEP@, until keep()
  void keep() const;                         ///< Error if the output cannot be renamed
  void remove_temporaries() const;

 private:
  Command named(const Job& job, const std::filesystem::path& output,
                const std::filesystem::path& base, int threads) const;

  std::filesystem::path build_folder_, folder_, output_, temporary_;
};

}  // namespace ds
