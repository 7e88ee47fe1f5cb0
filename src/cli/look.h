// SPDX-License-Identifier: Apache-2.0
//
// The commands that only look: facts, inspect, ping.
#pragma once

#include "base/error.h"
#include "cli/options.h"
#include "cli/session.h"

namespace ds {

ExitStatus inspect_files(const Options& options);
ExitStatus show_facts(Session& session);
ExitStatus ping(Session& session);

}  // namespace ds
