// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace ds {

/// The question on stderr, "[y/N]" behind it, and whether the line that is typed says yes. Throws
/// Interrupted on Ctrl-C.
bool confirmed(const std::string& question);

}  // namespace ds
