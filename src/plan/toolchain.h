// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "facts/facts.h"
#include "plan/plan.h"
#include "plan/toolkit.h"

namespace ds {

/// The compilers of the build machine.
struct Toolchain {
  std::vector<std::string> cxx;            ///< as a command begins: "ccache", "g++"
  std::vector<std::string> cc;             ///< the same for sources in C
  std::string host_compiler;               ///< the compiler alone, for nvcc's -ccbin
  std::string cxx_text;                    ///< "g++ 12.2.0 (/usr/bin/g++)"
  std::vector<std::string> c_flags;        ///< CFLAGS, behind ours
  std::vector<std::string> cxx_flags;      ///< CFLAGS and CXXFLAGS, behind ours
  std::vector<std::string> cpu_flags;      ///< -march=x86-64-v3, before the op's own
  std::vector<std::string> c_cpu_flags;    ///< the same for sources in C
  std::vector<std::string> nvcc_launcher;  ///< what a compile by nvcc begins with
  std::vector<std::string> environment;    ///< "KEY=VALUE" of every compile
  std::string nvcc;                        ///< path; empty: none was found
  std::string nvcc_version;                ///< "13.0"
  std::string nvcc_text;
  std::string cuda_include;       ///< the toolkit's headers; empty: the compiler knows them
  bool include_is_apart = false;  ///< they lie where nvcc does not look by itself
  std::vector<JudgedToolkit> toolkits;
  TorchFacts torch;  ///< of the build machine, for ops that link it; version empty: none
  std::vector<std::string> notes;
};

/// CXX, CC, CFLAGS and CXXFLAGS of the environment win over what was found first. Error
/// (build_failed) if there is no C++ compiler.
Toolchain choose_toolchain(const HostFacts& builder, const PlanOptions& options);

/// Adds nvcc, and why it is this one.
void choose_toolkit(const HostFacts& builder, const PlanOptions& options, const ToolkitNeeds& needs,
                    Toolchain& chosen);

}  // namespace ds
