// SPDX-License-Identifier: Apache-2.0
//
// From a foreign tree (--source) to the plan of a wheel.
#pragma once

#include <string>
#include <vector>

#include "cli/plan_wheel.h"
#include "cli/session.h"

namespace ds {

/// Asks the tree in the target interpreter, plans for the fleet. UsageError if none is named.
PlannedWheel plan_source_wheel(Session& session);

/// Variables for the tree's own code: torch finds toolkits in fewer places than the probe does.
std::vector<std::string> source_environment(const HostFacts& builder);

/// What --explain-flags prints.
std::string explain_source_flags(Session& session);

}  // namespace ds
