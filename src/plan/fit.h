// SPDX-License-Identifier: Apache-2.0
//
// An op against the hosts that answered, by the rules that the audit goes by too.
#pragma once

#include <string>
#include <vector>

#include "compat/compat.h"
#include "config/config.h"
#include "facts/facts.h"

namespace ds {

/// What the manifest asks of a host.
OpRules rules_of(const Op& op);

struct Fit {
  std::string obstacle;            ///< why no host can run it; empty if one can, or none answered
  std::vector<std::string> notes;  ///< hosts on which it cannot run, and why
};

/// Hosts without a GPU are no obstacle and no note: ops are built on such machines for others.
/// Where no host answered, PyTorch alone is judged, as the build machine has it.
Fit fit(const OpRules& op, const Fleet& fleet, const HostFacts& builder);

/// The PyTorch that ops are built with.
struct TorchChoice {
  TorchFacts torch;      ///< of the build machine, the same as the hosts'; empty: there is none
  std::string obstacle;  ///< why there is none
};

TorchChoice choose_torch(const Fleet& fleet, const HostFacts& builder);

}  // namespace ds
