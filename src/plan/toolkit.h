// SPDX-License-Identifier: Apache-2.0
//
// Which of the build machine's CUDA toolkits compiles the ops, and why.
#pragma once

#include <string>
#include <vector>

#include "facts/facts.h"
#include "plan/arch_list.h"
#include "plan/plan.h"

namespace ds {

/// The C++ compiler of the host code, as far as it is known.
struct HostCompiler {
  enum class Kind { gcc, clang, other };
  Kind kind = Kind::other;
  std::string path, version;  ///< "12.2.0", or empty
};

/// GCC and clang by the program's name; the version from what the probe found.
HostCompiler host_compiler(const std::string& program, const std::vector<Tool>& known);

/// What a toolkit is held against.
struct ToolkitNeeds {
  std::vector<Arch> archs;  ///< to compile for
  HostCompiler compiler;
  std::vector<std::pair<std::string, std::string>> drivers;  ///< host, driver; both known
  TorchFacts torch;  ///< of the hosts, where an op links it; else empty
  const Catalog* catalog = &builtin_catalog();
};

struct JudgedToolkit {
  Tool tool;
  bool chosen = false;
  std::string because;
  std::vector<std::string> warnings;  ///< what compiles or runs badly with it
};

/// True for $CUDA_HOME/bin/nvcc.
bool named_by(const std::string& cuda_home, const Tool& toolkit);

/// All of them, in the order in which they were found. $CUDA_HOME/bin/nvcc is chosen if it is among
/// them; else the one with the fewest obstacles, then the newest, then the first.
std::vector<JudgedToolkit> judge_toolkits(const std::vector<Tool>& toolkits,
                                          const std::string& cuda_home, const ToolkitNeeds& needs);

}  // namespace ds
