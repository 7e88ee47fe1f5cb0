// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// The prerequisites that a compiler's -MD file names, in order, without repeats. The syntax is
/// make's: backslash-newline joins lines, "\ " is a blank, "\#" a hash, "$$" a dollar.
std::vector<std::string> parse_depfile(std::string_view text);

}  // namespace ds
