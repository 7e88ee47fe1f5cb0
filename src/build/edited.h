// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

namespace ds {

/// Changed, moved or made at `moment` or later, perhaps. A time that is yet to come says nothing:
/// clocks of other machines.
bool edited_since(const std::string& file, std::chrono::system_clock::time_point moment);

}  // namespace ds
