// SPDX-License-Identifier: Apache-2.0
//
// Going on with a run of the journal: one that ended early, or one that staged.
#pragma once

#include "base/error.h"
#include "cli/options.h"

namespace ds {

/// `resume [RUN]` takes hosts where that run was to take them, whatever stopped it; `activate
/// [RUN]` those that hold what it staged. Without RUN it is the latest that there is.
ExitStatus resume(const Options& options);

}  // namespace ds
