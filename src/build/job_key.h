// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "build/programs.h"
#include "cache/cache.h"
#include "plan/plan.h"

namespace ds {

/// What is known of a job before it runs, as a key: its words, the bytes of the programs that they
/// run, the variables that compilers heed, the content of its inputs, and which files lie in the
/// project's own include folders (a new one may hide another). Where the project lies is not in it.
/// The headers that were read are held beside the result: see Cache.
class JobKeys {
 public:
  JobKeys(FileHashes& hashes, Programs& programs) : hashes_(hashes), programs_(programs) {}

  /// `folder` is the one that the job runs in. Hex.
  std::string of(const Job& job, const std::filesystem::path& folder);

 private:
  const std::string& listing(const std::filesystem::path& folder);

  FileHashes& hashes_;
  Programs& programs_;
  std::map<std::filesystem::path, std::string> listings_;
};

}  // namespace ds
