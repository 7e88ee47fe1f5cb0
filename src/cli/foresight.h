// SPDX-License-Identifier: Apache-2.0
//
// What a run would do, before it does it: how long hosts took before, until when it may begin
// something, and whether whoever sits at the terminal wants it.
#pragma once

#include <chrono>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string_view>

#include "cli/session.h"
#include "rollout/rollout.h"

namespace ds {

/// "05:30", the next time that the coordinator's clock shows it, or "90m", so long after `now`;
/// nothing: it is neither.
std::optional<std::chrono::system_clock::time_point> parse_until(std::string_view text,
                                                                 std::time_t now);

/// Of the latest run in the journal there that activated and confirmed hosts.
MoveTimes earlier_times(const std::filesystem::path& state_folder);

/// On a terminal, where several hosts are to change: shows what would happen and asks. Error
/// (interrupted) for any answer but yes.
void ask_to_go_on(const RolloutPlan& plan, HostState goal, Session& session);

}  // namespace ds
