// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "plan/plan.h"

namespace ds {

/// Writes compile_commands.json: how each source is compiled, for editors and tools (Clang, "JSON
/// Compilation Database Format Specification").
void save_compile_commands(const BuildPlan& plan, const std::filesystem::path& build_folder);

}  // namespace ds
