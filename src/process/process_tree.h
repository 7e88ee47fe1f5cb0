// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace ds {

/// Bytes that a process and all below it hold in memory now; 0 if it cannot be known. What they
/// share counts for each (proc(5): statm, task/*/children).
std::uint64_t resident_bytes_of_tree(pid_t pid);

}  // namespace ds
