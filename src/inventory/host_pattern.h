// SPDX-License-Identifier: Apache-2.0
//
// Hosts by a pattern, in the notation of reports, of Slurm and of ClusterShell: node[01-16,20].
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// At commas, but not within brackets.
std::vector<std::string> split_patterns(std::string_view list);

/// True if the name is one that the pattern stands for: literal, a glob ("node*", "node[a-c]"), or
/// with ranges of numbers. "[01-16]" has two digits, "[9-10]" as many as the number needs.
bool matches_pattern(std::string_view pattern, std::string_view name);

/// Every name of such a list, in its order, as Slurm writes node lists; it has no globs. UsageError
/// for what is none, and for more than `most` names.
std::vector<std::string> expand_nodelist(std::string_view list, std::size_t most = 100000);

}  // namespace ds
