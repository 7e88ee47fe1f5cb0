// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace ds {

/// "7.5" for "Tesla T4"; empty if the name is not known. For drivers before R510, which do not say
/// the compute capability.
std::string capability_of_name(const std::string& gpu_name);

}  // namespace ds
