// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace ds {

/// True if the whole text matches a POSIX extended regular expression.
bool has_form(const std::string& text, const std::string& pattern);

}  // namespace ds
