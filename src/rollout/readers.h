// SPDX-License-Identifier: Apache-2.0
//
// Hosts that have one environment on a shared file system: one of them writes, the others read what
// it wrote. Each confirms.
#pragma once

#include <functional>
#include <vector>

#include "rollout/rollout_state.h"

namespace ds {

/// Gives each host of a shared environment its writer. One that would need other releases than its
/// writer is refused.
void join_readers(std::vector<RolloutHost>& hosts);

/// A writer and its readers.
std::vector<RolloutHost*> unit_of(RolloutHost& writer);
/// The readers of these writers, as far as nothing is wrong of them.
std::vector<RolloutHost*> readers_of(const std::vector<RolloutHost*>& writers);

/// A host waits until it sees the lock that this run's writer of its environment took, which may be
/// itself: attributes are cached, see nfs(5); what is no common folder never shows it, and one that
/// nobody knew to be common shows another host's.
PhaseDescription see_lock_phase(const RolloutOptions& options);
/// A reader waits until it sees its releases, and them active.
PhaseDescription see_release_phase(const Policy& policy);

/// How readers look at what their writer changed.
class Readers {
 public:
  Readers(const std::vector<ReleaseSet>& sets, const RolloutOptions& options, Transport& transport);

  /// Each reader of `writer` waits until it sees the change, confirms and is asked for its health,
  /// all at once; `done` when each has answered. *this outlives it.
  void confirm(RolloutHost& writer, const std::function<void()>& done);

 private:
  void ask(RolloutHost& reader, int retries, const std::function<void()>& done);

  const RolloutOptions& options_;
  Transport& transport_;
  PhaseDescription see_, confirm_;
};

/// What became of readers, once it is known what became of their writers.
void settle_readers(std::vector<RolloutHost>& hosts, RolloutOptions::Goal goal);

}  // namespace ds
