// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "build/costs.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

std::string content(const fs::path& file) {
  try {
    return read_file(file);
  } catch (const Error&) {
    return {};
  }
}

/// A file with one number; "max" and what is not there are nothing.
std::optional<std::uint64_t> number(const fs::path& file) {
  const std::string text = content(file);
  const auto value = parse_integer(trim(text), 0, std::numeric_limits<long>::max());
  return value ? std::optional(static_cast<std::uint64_t>(*value)) : std::nullopt;
}

/// "MemAvailable:   123 kB", in bytes.
std::uint64_t available(const fs::path& proc) {
  for (const std::string& line : lines(content(proc / "meminfo"))) {
    const std::vector<std::string> words = split_words(line);
    if (words.size() >= 2 && words[0] == "MemAvailable:") {
      const auto kb = parse_integer(words[1], 0, std::numeric_limits<long>::max() / 1024);
      return kb ? static_cast<std::uint64_t>(*kb) * 1024 : unlimited;
    }
  }
  return unlimited;
}

/// What a group and those above it leave. Cache of files that nobody uses counts as free.
std::uint64_t left_by_groups(const fs::path& root, fs::path group, const char* limit_name,
                             const char* use_name, const char* cache_name) {
  std::uint64_t left = unlimited;
  for (;; group = group.parent_path()) {
    const fs::path folder = root / group.relative_path();
    const std::optional<std::uint64_t> limit = number(folder / limit_name);
    if (limit) {
      std::uint64_t used = number(folder / use_name).value_or(0);
      for (const std::string& line : lines(content(folder / "memory.stat"))) {
        const std::vector<std::string> words = split_words(line);
        if (words.size() == 2 && words[0] == cache_name)
          used -= std::min<std::uint64_t>(
              used, static_cast<std::uint64_t>(
                        parse_integer(words[1], 0, std::numeric_limits<long>::max()).value_or(0)));
      }
      left = std::min(left, *limit > used ? *limit - used : 0);
    }
    if (group.relative_path().empty())
      return left;
  }
}

}  // namespace

std::uint64_t memory_to_use(const fs::path& proc, const fs::path& cgroup) {
  std::uint64_t left = available(proc);
  // cgroups(7): "0::/path" is version 2, "4:memory,...:/path" version 1.
  for (const std::string& line : lines(content(proc / "self/cgroup"))) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      continue;
    const std::vector<std::string> controllers =
        split(line.substr(first + 1, second - first - 1), ',');
    const fs::path group = line.substr(second + 1);
    if (line.starts_with("0::")) {
      left = std::min(
          left, left_by_groups(cgroup, group, "memory.max", "memory.current", "inactive_file"));
    } else if (std::find(controllers.begin(), controllers.end(), "memory") != controllers.end()) {
      left = std::min(left, left_by_groups(cgroup / "memory", group, "memory.limit_in_bytes",
                                           "memory.usage_in_bytes", "total_inactive_file"));
    }
  }
  return left == unlimited ? left : left - left / 10;
}

std::uint64_t memory_to_use() {
  return memory_to_use("/proc", "/sys/fs/cgroup");
}

}  // namespace ds
