// SPDX-License-Identifier: Apache-2.0
//
// What a rollout writes to the journal: each act before it begins, and what became of it.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "journal/journal.h"
#include "rollout/rollout_state.h"

namespace ds {

class Records {
 public:
  /// Without a journal nothing is written. After the first Error nothing is written any more, so
  /// that hosts can go back all the same.
  Records(Journal* journal, std::string run) : journal_(journal), run_(std::move(run)) {}

  /// `hosts` are about to come to `to` by `step`; on disk when it returns, in one transaction with
  /// what became of them and of others since the last one.
  void announce(const std::vector<RolloutHost*>& hosts, HostState to, const std::string& step);
  /// On disk when it returns, before a host hears of it.
  void take_epoch(std::int64_t epoch);
  /// Those that are not where the journal has them; it is written with the next announcement.
  void note(const std::vector<RolloutHost*>& hosts);
  /// `what`: "confirm" or "roll-back".
  void decide(const std::vector<RolloutHost*>& hosts, const std::string& what,
              const std::string& because);
  /// Hosts that are owed the release, and those that were and have it now.
  void note_releases(const std::vector<RolloutHost*>& owing,
                     const std::vector<RolloutHost*>& served);
  /// Which of them owe a proof by their GPUs, as far as it is not written.
  void note_proofs(const std::vector<RolloutHost*>& hosts);
  /// Writes what is noted.
  void finish(const std::vector<RolloutHost*>& hosts);

 private:
  template <typename Write>
  void attempt(Write&& write);
  void add(const RolloutHost& host, HostState to, const std::string& step);

  Journal* journal_;
  std::string run_;
  std::map<std::string, std::string> known_;  ///< state of each host, as it is or will be written
  std::vector<TransitionRecord> pending_;
  std::set<std::string> unproven_;  ///< as it is written
};

}  // namespace ds
