// SPDX-License-Identifier: Apache-2.0
//
// Releases that lie on the hosts already, as something to be taken there: no wheel is needed.
#pragma once

#include <string>
#include <vector>

#include "cli/undertaking.h"

namespace ds {

/// Every host of the fleet gets the releases that `wanted` has for it (none: what pip installed),
/// by what was noted of them there. Error (usage) where nothing was noted and they are to be
/// audited.
void add_held(Undertaking& undertaking, const HostReleases& wanted, Session& session);

/// "0123456789ab", several: "+"; "what pip installed, or nothing"
std::string release_name(const std::vector<std::string>& releases);

/// Releases that `remove` names, 64 digits each: what goes is named, not guessed. UsageError for
/// what no host has, or several releases begin with.
std::vector<std::string> releases_to_remove(const Options& options, const Fleet& fleet);

}  // namespace ds
