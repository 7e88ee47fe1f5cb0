// SPDX-License-Identifier: Apache-2.0
//
// This machine and its processes, for files that other machines may see too.
#pragma once

#include <string>
#include <string_view>

namespace ds {

std::string host_name();  ///< gethostname(2), clean
std::string user_name();  ///< of the effective user, or its number

/// False if nothing runs here under this number; text that is no number tells nothing.
bool may_be_running(std::string_view pid);

}  // namespace ds
