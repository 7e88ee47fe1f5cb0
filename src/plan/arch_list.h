// SPDX-License-Identifier: Apache-2.0
//
// Which GPU architectures are compiled for. SASS of an arch runs on its major version from its
// minor version on; PTX is compiled by the driver for anything newer (CUDA C++ Programming Guide,
// "Binary Compatibility"; nvcc manual, "GPU Feature List").
#pragma once

#include <compare>
#include <string>
#include <vector>

#include "facts/facts.h"
#include "plan/plan.h"

namespace ds {

struct Arch {
  int number = 0;    ///< 90 for 9.0
  char suffix = 0;   ///< 'a', 'f' or none
  bool ptx = false;  ///< the PTX of it, not its SASS
  auto operator<=>(const Arch&) const = default;
};

/// "90a", "90a+PTX".
std::string to_string(const Arch& arch);

/// "9.0a".
std::string capability_text(const Arch& arch);

/// True if nvcc of this version ("13.0") compiles for `arch`. An arch that is not known here is
/// left to toolkits newer than all that are known here.
bool nvcc_makes(const std::string& nvcc_version, const Arch& arch);

/// What is asked for, else what the hosts have: sorted, whether a toolkit makes it or not.
std::vector<Arch> wanted_archs(const std::string& asked, const Fleet& fleet);

struct ArchChoice {
  std::vector<Arch> archs;  ///< sorted
  std::string because;
  std::vector<std::string> notes;
  bool of_hosts = false;  ///< they are what the hosts' GPUs are
};

/// TORCH_CUDA_ARCH_LIST if `asked` is not empty; else the GPUs of the fleet, by `policy`; else a
/// default. Error (build_failed) for an arch that was asked for and that this nvcc cannot make.
ArchChoice choose_archs(const std::string& asked, const Fleet& fleet,
                        const std::string& nvcc_version, ArchPolicy policy = ArchPolicy::exact);

/// The ones an op with this minimum ("7.0", may be empty) is compiled for.
std::vector<Arch> archs_from(const std::vector<Arch>& archs, const std::string& minimum);

/// Names without PTX: "80", "90a".
std::vector<std::string> sass_names(const std::vector<Arch>& archs);

}  // namespace ds
