// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/session.h"

namespace ds {

/// Brings hosts back to releases that they hold, without wheel or build.
ExitStatus roll_back(Session& session);

}  // namespace ds
