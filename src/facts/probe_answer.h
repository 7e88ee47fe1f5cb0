// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "facts/facts.h"

namespace ds {

/// The Python part of a probe's answer. Returns what was wrong with it.
std::vector<std::string> read_python_answer(const std::string& text, HostFacts& host);

/// x86-64 psABI micro-architecture level (1..4) that these CPU flags make; 0 without flags.
int cpu_level(const std::vector<std::string>& sorted_flags);

}  // namespace ds
