// SPDX-License-Identifier: Apache-2.0
//
// From the plans of a foreign tree's wheels to the wheels.
#pragma once

#include <filesystem>
#include <vector>

#include "cli/plan_wheel.h"
#include "cli/session.h"

namespace ds {

/// As make_wheels().
std::vector<std::filesystem::path> make_source_wheels(const std::vector<PlannedWheel>& wheels,
                                                      const std::filesystem::path& output,
                                                      Session& session);

}  // namespace ds
