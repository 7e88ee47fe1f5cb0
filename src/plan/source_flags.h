// SPDX-License-Identifier: Apache-2.0
//
// The words of a foreign tree's op as they are used here. What its builder said of the machine that
// it ran on, its CPU, its GPU, its cores and its folders, becomes what the hosts share.
#pragma once

#include <string>
#include <vector>

#include "plan/cpu_level.h"
#include "plan/job_words.h"
#include "source/source.h"

namespace ds {

/// A word of the tree that is not used as it is. `from` empty: added; `to` empty: left out.
struct FlagChange {
  std::string from, to, because;
  bool operator==(const FlagChange&) const = default;
};

struct SourceFlags {
  Words cxx, nvcc, link;                    ///< without -std, -gencode and --threads
  int cxx_standard = 0, nvcc_standard = 0;  ///< 17, 20
  std::vector<FlagChange> cxx_changes, nvcc_changes, link_changes;
  bool standard_raised = false;  ///< above what the tree says
  bool bf16_kept = false;        ///< for GPUs for which the tree would leave it out
  bool bf16_lost = false;        ///< for all GPUs, as the toolkit cannot do it for one
};

/// What the words become.
struct FlagTargets {
  int cpu_level = 1;
  Words cpu_flags;
  bool x86 = true;
  std::string torch;         ///< version
  std::string nvcc_version;  ///< "13.0", or empty
  bool debug_info = false;
  std::vector<Arch> archs = {};  ///< of the op
  std::string cuda_home = {};    ///< the toolkit that the tree's torch found, and
  std::string cuda_root = {};    ///< the one that compiles
};

SourceFlags source_flags(const SourceOp& op, const FlagTargets& targets);

/// `path` below the toolkit `home`, as the same below `root`.
std::string in_toolkit(const std::string& path, const std::string& home, const std::string& root);

}  // namespace ds
