// SPDX-License-Identifier: Apache-2.0
//
// Single values of our files and of the flags that stand for them.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "config/config.h"

namespace ds {

inline constexpr int most_policy_hosts = 1'000'000;
inline constexpr std::chrono::seconds longest_policy_time{86400};

/// "4" or "10%", at least `least`; nothing: it is neither.
std::optional<Policy::Share> parse_share(std::string_view text, int least);

}  // namespace ds
