// SPDX-License-Identifier: Apache-2.0
#include "rollout/debts.h"

#include <algorithm>

namespace ds {
namespace {

bool came_there(const RolloutHost& host, RolloutOptions::Goal goal) {
  using Goal = RolloutOptions::Goal;
  switch (host.outcome.state) {
    case HostState::confirmed:
    case HostState::unchanged:
      return true;
    case HostState::staged:
      return goal == Goal::staged;
    case HostState::rolled_back:
      return goal == Goal::rolled_back;
    default:
      return false;
  }
}

}  // namespace

void note_debts(std::vector<RolloutHost>& hosts, const RolloutOptions& options, Records& records) {
  const bool proves = options.goal == RolloutOptions::Goal::proven;
  const bool any = std::any_of(hosts.begin(), hosts.end(), [&options](const RolloutHost& host) {
    return came_there(host, options.goal);
  });
  std::vector<RolloutHost*> owing, served, all;
  for (RolloutHost& host : hosts) {
    const bool there = came_there(host, options.goal);
    const bool before = options.unserved.contains(host.outcome.host);
    if (host.outcome.left_out && !proves) {
      if (any && host.takes_part)
        owing.push_back(&host);
      else if (!any && !before)
        host.outcome.owed.clear();
    } else if (there && before && !proves) {
      served.push_back(&host);
    }
    if (!there && !proves)
      host.owes_proof = host.takes_part && options.unproven.contains(host.outcome.host);
    all.push_back(&host);
  }
  records.note_releases(owing, served);
  records.note_proofs(all);
}

}  // namespace ds
