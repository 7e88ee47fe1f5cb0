// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <vector>

namespace fleet {

/// Every process below `roots`, the roots themselves left out.
std::vector<pid_t> descendants(const std::vector<pid_t>& roots);

}  // namespace fleet
