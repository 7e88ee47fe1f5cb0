// SPDX-License-Identifier: Apache-2.0
//
// What a run leaves to be done on its hosts, and what it did of what others left.
#pragma once

#include <vector>

#include "rollout/records.h"
#include "rollout/rollout_state.h"

namespace ds {

/// At the end of a run. A host that was left out is owed the release if the run brought it to
/// another one, and so is one that was owed an earlier one and did not come to this one; if it did
/// not, nothing new is owed. Who came where the run took it is owed no release any more, and a
/// proof only if this run could not show it; all others are owed what they were owed before. A run
/// that stages pays only what a stage owes.
void note_debts(std::vector<RolloutHost>& hosts, const RolloutOptions& options, Records& records);

}  // namespace ds
