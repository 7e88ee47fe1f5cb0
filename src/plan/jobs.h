// SPDX-License-Identifier: Apache-2.0
//
// One op as jobs: a compile for each source, a link for the library. Sources are named relative to
// the op library's root, so that nothing of the place where it lies gets into an object.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plan/arch_list.h"
#include "plan/plan.h"
#include "plan/toolchain.h"

namespace ds {

/// Adds the op's jobs, compiles first, and returns the library that its link job makes. `archs` is
/// empty for cpu ops.
std::filesystem::path add_jobs(const Op& op, const std::filesystem::path& root,
                               const Toolchain& tools, const std::vector<Arch>& archs,
                               const std::string& because, std::vector<Job>& jobs);

}  // namespace ds
