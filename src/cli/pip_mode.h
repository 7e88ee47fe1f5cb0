// SPDX-License-Identifier: Apache-2.0
//
// --mode pip: the pip of each environment installs the wheels, and ds-deploy cannot take that back.
#pragma once

#include "cli/session.h"
#include "config/config.h"
#include "journal/journal.h"

namespace ds {

inline constexpr const char* by_pip_note =
    "the pip of each environment installs it (--mode pip): no release, no dead-man's switch, and "
    "no way back by ds-deploy";

bool is_by_pip(const Options& options);
/// The same of a run that is recorded; `origin` is the first of its chain.
bool is_by_pip(const RunRecord& origin);

/// UsageError where the policy asks for what pip cannot do, or a release of ours is active on a
/// host, or on trial: what pip installs would be hidden by it.
void refuse_beside_pip(const Policy& policy, Session& session);

}  // namespace ds
