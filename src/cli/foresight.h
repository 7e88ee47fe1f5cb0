// SPDX-License-Identifier: Apache-2.0
//
// What a run would do, before it does it: how long hosts took before, until when it may begin
// something, and whether whoever sits at the terminal wants it.
#pragma once

#include <chrono>
#include <ctime>
#include <optional>
#include <string_view>

#include "cli/options.h"
#include "journal/journal.h"
#include "rollout/rollout.h"

namespace ds {

/// "05:30", the next time that the coordinator's clock shows it, or "90m", so long after `now`;
/// nothing: it is neither.
std::optional<std::chrono::system_clock::time_point> parse_until(std::string_view text,
                                                                 std::time_t now);

/// Of the latest run in the journal that activated and confirmed hosts. Reads whole reports: for
/// whoever needs it.
MoveTimes earlier_times(const JournalReader& journal);

/// Somebody sits at a terminal, and did not say yes beforehand.
bool can_be_asked(const Options& options);
/// Where several hosts are to change: shows what would happen and asks. Error (interrupted) for any
/// answer but yes.
void ask_to_go_on(const RolloutPlan& plan, HostState goal, const Options& options);

}  // namespace ds
