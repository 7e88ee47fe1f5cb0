// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/options.h"

namespace ds {

/// UsageError for options that cannot be meant together, or have no meaning for the command.
void refuse_contradictions(const Options& options);

}  // namespace ds
