// SPDX-License-Identifier: Apache-2.0
//
// From the plan of a foreign tree's wheel to the wheel.
#pragma once

#include <filesystem>

#include "cli/plan_wheel.h"
#include "cli/session.h"

namespace ds {

/// As make_wheel().
std::filesystem::path make_source_wheel(const PlannedWheel& planned,
                                        const std::filesystem::path& output, Session& session);

}  // namespace ds
