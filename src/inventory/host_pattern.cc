// SPDX-License-Identifier: Apache-2.0
//
// Sources: Slurm, scontrol(1), "show hostlist"; ClusterShell, "Node sets".
#include "inventory/host_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr long highest_number = 999'999'999;
constexpr std::size_t most_digits = 9;

/// Numbers from first to last, written with so many digits at least.
struct Range {
  long first = 0, last = 0;
  std::size_t width = 1;
};

std::optional<Range> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const std::string_view low = text.substr(0, dash);
  const std::string_view high = dash == std::string_view::npos ? low : text.substr(dash + 1);
  if (low.size() > most_digits || high.size() > most_digits)
    return std::nullopt;
  const auto first = parse_integer(low, 0, highest_number),
             last = parse_integer(high, 0, highest_number);
  if (!first || !last || *last < *first)
    return std::nullopt;
  const bool padded = low.size() > 1 && low.front() == '0';
  return Range{*first, *last, padded ? low.size() : 1};
}

/// What stands in brackets, if it is ranges of numbers and nothing else.
std::optional<std::vector<Range>> parse_ranges(std::string_view text) {
  std::vector<Range> ranges;
  for (const std::string& piece : split(text, ',')) {
    const auto range = parse_range(trim(piece));
    if (!range)
      return std::nullopt;
    ranges.push_back(*range);
  }
  return ranges;
}

bool has_number(const std::vector<Range>& ranges, std::string_view digits) {
  const auto number = parse_integer(digits, 0, highest_number);
  return number && std::any_of(ranges.begin(), ranges.end(), [&](const Range& range) {
           const std::size_t written = std::max(range.width, std::to_string(*number).size());
           return *number >= range.first && *number <= range.last && digits.size() == written;
         });
}

/// The first bracket of ranges: what is before it, in it, behind it.
struct Split {
  std::string_view before, after;
  std::vector<Range> ranges;
};

std::optional<Split> split_at_ranges(std::string_view pattern) {
  for (std::size_t open = pattern.find('['); open != std::string_view::npos;
       open = pattern.find('[', open + 1)) {
    const std::size_t close = pattern.find(']', open);
    if (close == std::string_view::npos)
      return std::nullopt;
    auto ranges = parse_ranges(pattern.substr(open + 1, close - open - 1));
    if (ranges)
      return Split{pattern.substr(0, open), pattern.substr(close + 1), std::move(*ranges)};
  }
  return std::nullopt;
}

void expand(std::string_view pattern, const std::string& before, std::size_t most,
            std::vector<std::string>& names) {
  const auto refuse = [&](const std::string& what) {
    throw UsageError(fmt::format("'{}' {}", clean_line(before + std::string(pattern), 80), what),
                     "write it as Slurm does: node[01-16,20],login1");
  };
  const auto parts = split_at_ranges(pattern);
  if (!parts) {
    if (pattern.find_first_of("[]*?") != std::string_view::npos ||
        (before.empty() && pattern.empty()))
      refuse("is no list of nodes");
    if (names.size() == most)
      refuse(fmt::format("names more than {} nodes", most));
    names.push_back(before + std::string(pattern));
    return;
  }
  for (const Range& range : parts->ranges) {
    for (long number = range.first; number <= range.last; ++number) {
      expand(parts->after,
             before + std::string(parts->before) + fmt::format("{:0{}}", number, range.width), most,
             names);
    }
  }
}

}  // namespace

std::vector<std::string> split_patterns(std::string_view list) {
  std::vector<std::string> patterns(1);
  int depth = 0;
  for (const char c : list) {
    depth += c == '[' ? 1 : c == ']' && depth > 0 ? -1 : 0;
    if (c == ',' && depth == 0)
      patterns.emplace_back();
    else
      patterns.back() += c;
  }
  for (std::string& pattern : patterns)
    pattern = std::string(trim(pattern));
  return patterns;
}

bool matches_pattern(std::string_view pattern, std::string_view name) {
  const auto parts = split_at_ranges(pattern);
  if (!parts)
    return pattern == name || glob_match(std::string(pattern), std::string(name));
  for (std::size_t at = 0; at < name.size(); ++at) {
    if (!glob_match(std::string(parts->before), std::string(name.substr(0, at))))
      continue;
    for (std::size_t digits = 1; digits <= most_digits && at + digits <= name.size(); ++digits) {
      if (has_number(parts->ranges, name.substr(at, digits)) &&
          matches_pattern(parts->after, name.substr(at + digits)))
        return true;
    }
  }
  return false;
}

std::vector<std::string> expand_nodelist(std::string_view list, std::size_t most) {
  std::vector<std::string> names;
  for (const std::string& pattern : split_patterns(list))
    expand(pattern, "", most, names);
  return names;
}

}  // namespace ds
