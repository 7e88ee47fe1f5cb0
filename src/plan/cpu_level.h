// SPDX-License-Identifier: Apache-2.0
//
// For which CPUs the host code is compiled: levels of the x86-64 psABI, never the build machine's
// own CPU.
#pragma once

#include <string>
#include <vector>

#include "facts/facts.h"
#include "plan/toolkit.h"

namespace ds {

struct CpuLevel {
  int level = 1;
  std::vector<std::string> flags;  ///< for the C++ compiler; empty for level 1
  std::vector<std::string> notes;
};

/// `asked`: 1..4, or 0 for the level that all hosts that answered share (1 if one does not say).
CpuLevel choose_cpu_level(int asked, const Fleet& fleet, const HostFacts& builder,
                          const HostCompiler& compiler);

}  // namespace ds
