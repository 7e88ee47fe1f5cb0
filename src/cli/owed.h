// SPDX-License-Identifier: Apache-2.0
//
// What earlier runs left to do on hosts, by the journal: a release, or a proof by their GPUs.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/options.h"
#include "cli/session.h"
#include "journal/journal.h"

namespace ds {

/// `resume --owed [RUN]`: hosts that were left out get what they were to get, run by run, the
/// oldest first; those that still cannot take it stay owed.
ExitStatus resume_owed(const Options& options);

/// `verify --owed`: the self-tests that were not run because somebody used the GPUs.
ExitStatus prove_owed(const Options& options);

/// Which of the session's hosts are owed what.
struct Debts {
  std::set<std::string> releases, proofs;
  std::vector<DebtRecord> all;
};
Debts debts_of(const JournalReader& journal, Session& session);

}  // namespace ds
