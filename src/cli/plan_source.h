// SPDX-License-Identifier: Apache-2.0
//
// From a foreign tree (--source) to the plan of a wheel.
#pragma once

#include <string>
#include <vector>

#include "cli/plan_wheel.h"
#include "cli/session.h"

namespace ds {

/// One wheel for each Python and torch of the hosts: asks the tree in an interpreter like theirs,
/// plans for them. UsageError if none is named.
std::vector<PlannedWheel> plan_source_wheels(Session& session);

/// Variables for the tree's own code: torch finds toolkits in fewer places than the probe does.
std::vector<std::string> source_environment(const HostFacts& builder);

/// What --explain-flags prints.
std::string explain_source_flags(Session& session);

}  // namespace ds
