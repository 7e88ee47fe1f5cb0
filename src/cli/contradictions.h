// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/options.h"

namespace ds {

/// UsageError for options that cannot be meant together, or have no meaning for the command.
void refuse_contradictions(const Options& options);

/// UsageError for a word that is none of the `known` options and commands, with the nearest of
/// them.
[[noreturn]] void refuse_unknown(const std::string& word, const std::vector<std::string>& known);

}  // namespace ds
