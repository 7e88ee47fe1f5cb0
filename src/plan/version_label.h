// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/config.h"

namespace ds {

/// The wheel's version: the library's, and a local label (PEP 440) that says which sources, CUDA
/// and GPUs it was built from: "0.1.0+g1a2b3c4d5.cu130.sm80.sm90". `cuda` is empty for CPU ops
/// alone. UsageError for a DS_BUILD_STRING that cannot be such a label.
std::string wheel_version(const OpLibrary& library,
                          const std::map<std::string, std::string>& environment,
                          const std::string& cuda, const std::vector<std::string>& archs);

}  // namespace ds
