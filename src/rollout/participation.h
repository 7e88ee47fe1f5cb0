// SPDX-License-Identifier: Apache-2.0
//
// Which hosts a run goes on without, as the policy says. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "facts/facts.h"
#include "rollout/rollout.h"

namespace ds {

struct Candidate {
  HostOutcome* outcome;
  const HostFacts* facts;
};

/// Holds hosts back that were to change and that a job has, where the policy does not proceed then:
/// they are `skipped`, at "busy".
void hold_busy_back(const std::vector<Candidate>& hosts, const Policy& policy);

/// Marks the hosts that the run goes on without: `left_out`, and `owed` what they do not get:
/// owed_release, owed_proof, or nothing (empty). Those of one kind together, also where it is asked
/// again later in the run; none where that would be more than the policy says. Why it cannot begin
/// then; empty: all are left out that may be.
std::string leave_out(const std::vector<Candidate>& hosts, const Policy& policy,
                      const std::string& owed = owed_release);

}  // namespace ds
