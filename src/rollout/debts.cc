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
    case HostState::removed:
      return goal == Goal::removed;
    default:
      return false;
  }
}

}  // namespace

void note_debts(std::vector<RolloutHost>& hosts, const RolloutOptions& options, Records& records) {
  const bool proves = options.goal == RolloutOptions::Goal::proven;
  const bool removes = options.goal == RolloutOptions::Goal::removed;  // nothing that is owed
  // What is only staged takes the place of nothing that is to be active.
  const bool stages = options.goal == RolloutOptions::Goal::staged && !options.pays;
  const bool any = std::any_of(hosts.begin(), hosts.end(), [&options](const RolloutHost& host) {
    return came_there(host, options.goal);
  });
  std::vector<RolloutHost*> owing, served, all;
  for (RolloutHost& host : hosts) {
    const bool there = came_there(host, options.goal);
    const bool before = options.unserved.contains(host.outcome.host);
    const bool hindered = !removes && (host.outcome.left_out || (before && !there));
    if (proves) {
      // Nobody is owed another release by it.
    } else if (hindered && any && host.takes_part && !(before && stages)) {
      owing.push_back(&host);
    } else if (host.outcome.left_out && !any && !before) {
      host.outcome.owed.clear();
    } else if (there && before && !stages) {
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
