// SPDX-License-Identifier: Apache-2.0
//
// One op of a foreign tree as jobs, with the words of torch's BuildExtension. They run in the
// tree's root and name its files relative to it, so that nothing of the place where it lies gets
// into an object.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "plan/precompile.h"
#include "plan/source_flags.h"
#include "plan/toolchain.h"
#include "source/source.h"

namespace ds {

struct SourceJobs {
  const SourceTree& tree;
  const Toolchain& tools;
  bool debug_info = false;
  HeaderJobs headers = {};  ///< of units that read a precompiled header
};

/// Adds the op's jobs, compiles first, and returns the library that its link job makes. `archs` is
/// empty for ops without device code.
std::filesystem::path add_source_jobs(const SourceJobs& how, const SourceOp& op,
                                      const SourceFlags& flags, const std::vector<Arch>& archs,
                                      const std::string& because, std::vector<Job>& jobs);

/// True for the C++ units of the op that include torch/extension.h.
bool reads_torch(const Job& unit, const SourceOp& op);

/// "cpu_adam_op": what Python calls to start the module.
std::string last_part(const std::string& module);

/// The folder of a torch: ".../site-packages/torch"; empty if its include folders do not show it.
std::string torch_folder(const SourceTorch& torch);

}  // namespace ds
