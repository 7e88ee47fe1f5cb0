// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/options.h"

namespace ds {

/// `diff RUN RUN` reads the journal alone; `diff RUN now` asks the hosts of that run too. Both end
/// well whether anything differs or not.
ExitStatus diff_runs(const Options& options);

}  // namespace ds
