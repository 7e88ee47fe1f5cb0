// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "plan/plan.h"
#include "plan/source_flags.h"

namespace ds {

/// The tree's words beside ours, for a person: for each kind of compiler one whole command, and
/// why each word that is not the tree's differs.
std::string flags_text(const SourceOp& op, const SourceFlags& flags, const std::vector<Job>& jobs);

}  // namespace ds
