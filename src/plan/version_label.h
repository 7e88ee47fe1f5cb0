// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "config/config.h"
#include "plan/plan.h"

namespace ds {

/// The wheel's version: the library's, and a local label (PEP 440) that says from which sources and
/// for what it was built: "0.1.0+g1a2b3c4d5.cu130.sm80.sm90.v3.torch2.9.0.cu128". UsageError for a
/// DS_BUILD_STRING that cannot be such a label.
std::string wheel_version(const OpLibrary& library,
                          const std::map<std::string, std::string>& environment,
                          const BuiltFor& built_for);

}  // namespace ds
