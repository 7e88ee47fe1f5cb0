// SPDX-License-Identifier: Apache-2.0
//
// The journal: what a run writes at its beginning, and the commands that read it.
#pragma once

#include <filesystem>
#include <vector>

#include "base/error.h"
#include "cli/options.h"
#include "cli/session.h"
#include "config/config.h"
#include "journal/journal.h"
#include "report/report.h"
#include "rollout/rollout.h"

namespace ds {

/// --state-dir, else state_home().
std::filesystem::path state_folder(const Options& options);

/// The run and those that it goes on with, in turn; the last is the one that began it all.
std::vector<RunRecord> chain_of(const JournalReader& journal, RunRecord run);

/// `report` has the run's id; `resumes` is that of another one, or empty.
void begin_run(Journal& journal, const Report& report, const Policy& policy,
               const std::vector<ReleaseSet>& sets, const std::string& resumes, Session& session);

ExitStatus show_history(const Options& options);
ExitStatus show_run(const Options& options);

}  // namespace ds
