// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "cli/options.h"
#include "journal/journal.h"

namespace ds {

/// As the run that began it all was called, with what was said of those that went on with it, and
/// what is said now about this one.
Options options_of(const std::vector<RunRecord>& chain, const JournalReader& journal,
                   const Options& now);

}  // namespace ds
