// SPDX-License-Identifier: Apache-2.0
//
// Which interpreters of this machine a foreign tree is built with: --env, else those of the hosts
// that are here too.
#pragma once

#include <string>
#include <vector>

#include "cli/session.h"
#include "plan/plan.h"

namespace ds {

struct BuildEnvironment {
  std::string python;  ///< its interpreter
  HostFacts facts;     ///< of this machine, asked with it
};

/// One for each group, of its Python and its torch. From a file of requirements that --env names,
/// one is made with pip where no other serves. UsageError for an --env that is none, or if no
/// interpreter is named at all; Error (build_failed) if a group is left without one.
std::vector<BuildEnvironment> build_environments(Session& session,
                                                 const std::vector<TargetGroup>& groups);

}  // namespace ds
