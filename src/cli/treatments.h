// SPDX-License-Identifier: Apache-2.0
//
// Hosts that a run would rather do without: what the command line says of them, and what it can
// say.
#pragma once

#include <string>

#include "cli/options.h"
#include "cli/session.h"
#include "config/config.h"
#include "report/report.h"

namespace ds {

/// --policy's, else all hosts at once, all or none; with the flags that stand beside it.
Policy policy_of(const Options& options);
/// Each host for itself: none waits for another, and what hinders one stops no other.
Policy policy_of_removal(const Options& options);
/// Whoever can take what it is owed gets it, and does not wait for others.
void leave_out_what_hinders(Policy& policy);
/// The flags alone.
void apply_flags(const Options& options, Policy& policy);

/// Of hosts that keep others from changing, and that could be left out: "--unreachable leave-out
/// --incompatible leave-out"; empty: there is none.
std::string flags_to_leave_out(const std::vector<HostOutcome>& hosts);

/// Asks hosts that give no answer again and again, as long as the policy waits for them.
void wait_for_unreachable(const Policy& policy, Session& session);
/// The same of hosts that a job has, and that are not at what they are to get. True if any was
/// asked anew.
bool wait_for_busy(const Policy& policy, const std::vector<ReleaseSet>& sets, Session& session);

}  // namespace ds
