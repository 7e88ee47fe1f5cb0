// SPDX-License-Identifier: Apache-2.0
//
// The run that hosts were changed by last, from their own notes: for whoever has no journal of it.
#pragma once

#include <string>

#include "facts/facts.h"
#include "rollout/rollout.h"

namespace ds {

struct LastRun {
  std::string id;
  bool back = false;    ///< it went back to an earlier release
  HostReleases wanted;  ///< where it was to take every host
};

/// The run whose id begins with `id`; if that is empty, the one with the highest epoch. Error
/// (usage) where the notes do not tell where it was to take each host: a host that it had not begun
/// to activate goes where all others were to go.
LastRun last_run(const Fleet& fleet, const std::string& id);

}  // namespace ds
