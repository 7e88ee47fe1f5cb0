// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "plan/plan.h"

namespace ds {

/// How each source is compiled, for editors and tools (Clang, "JSON Compilation Database Format
/// Specification").
std::string compile_commands(const BuildPlan& plan, const std::filesystem::path& build_folder);

}  // namespace ds
