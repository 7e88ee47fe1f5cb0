// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "facts/facts.h"
#include "plan/plan.h"

namespace ds {

/// The compilers of the build machine.
struct Toolchain {
  std::vector<std::string> cxx;            ///< as a command begins: "ccache", "g++"
  std::string host_compiler;               ///< the compiler alone, for nvcc's -ccbin
  std::string cxx_text;                    ///< "g++ 12.2.0 (/usr/bin/g++)"
  std::vector<std::string> cxx_flags;      ///< CFLAGS and CXXFLAGS, behind ours
  std::vector<std::string> nvcc_launcher;  ///< what a compile by nvcc begins with
  std::vector<std::string> environment;    ///< "KEY=VALUE" of every compile
  std::string nvcc;                        ///< path; empty: none was found
  std::string nvcc_version;                ///< "13.0"
  std::string nvcc_text;
  std::string cuda_include;  ///< the toolkit's headers; empty: the compiler knows them
  std::vector<std::string> notes;
};

/// CXX and CUDA_HOME of the environment win over what was found first. Error (build_failed) if
/// there is no C++ compiler.
Toolchain choose_toolchain(const HostFacts& builder, const PlanOptions& options);

}  // namespace ds
