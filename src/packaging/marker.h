// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace ds {

/// True for "python_version < '3.9' and extra == 'dev'".
bool is_marker(std::string_view text);

}  // namespace ds
