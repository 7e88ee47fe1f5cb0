// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "cli/session.h"

namespace ds {

/// What is meant on a host by "previous", "pip", a SHA-256 or a beginning of it; or why it is none.
struct ReleaseTarget {
  std::vector<std::string> releases;  ///< sha256; empty: what pip installed, or nothing
  std::string problem;
};
ReleaseTarget target_of(const HostFacts& facts, const std::string& to);

/// Brings hosts back to releases that they hold, without wheel or build.
ExitStatus roll_back(Session& session);

}  // namespace ds
