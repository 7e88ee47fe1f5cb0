// SPDX-License-Identifier: Apache-2.0
//
// Going on with a run of the journal: one that ended early, or one that staged.
#pragma once

#include "base/error.h"
#include "cli/options.h"
#include "journal/journal.h"

namespace ds {

/// `resume [RUN]` takes hosts where that run was to take them, whatever stopped it; `activate
/// [RUN]` those that hold what it staged. Without RUN it is the latest that there is.
ExitStatus resume(const Options& options);

/// The same with this run, on all of its hosts or on Options::only. The command `verify` takes no
/// host anywhere: what is active there shows that it works on the GPUs. With Options::owed `action`
/// is the run that owes it: a host that another run has changed since is owed nothing by it.
ExitStatus go_on_with(const RunRecord& run, const Options& options);

/// Throws a UsageError if there is none.
JournalReader journal_of(const Options& options);

}  // namespace ds
