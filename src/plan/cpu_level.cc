// SPDX-License-Identifier: Apache-2.0
#include "plan/cpu_level.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "compat/compat.h"

namespace ds {
namespace {

int shared_level(const Fleet& fleet) {
  std::optional<int> lowest;
  for (const HostFacts& host : fleet.hosts) {
    if (host.state == HostFacts::State::reached)
      lowest = std::min(lowest.value_or(4), host.cpu_level);
  }
  return std::max(1, lowest.value_or(1));
}

/// The first major versions that know -march=x86-64-v3.
bool knows_levels(const HostCompiler& compiler, long major) {
  return compiler.kind == HostCompiler::Kind::clang ? major >= 12 : major >= 11;
}

}  // namespace

CpuLevel choose_cpu_level(int asked, const Fleet& fleet, const HostFacts& builder,
                          const HostCompiler& compiler) {
  CpuLevel chosen;
  if (!builder.machine.empty() && builder.machine != "x86_64") {
    if (asked > 0)
      chosen.notes.push_back(
          fmt::format("--cpu-level {} has no meaning on {}", asked, builder.machine));
    return chosen;
  }
  const int level = asked > 0 ? asked : shared_level(fleet);
  std::vector<std::string> below;
  for (const HostFacts& host : fleet.hosts) {
    if (host.state == HostFacts::State::reached && host.cpu_level > 0 && level > host.cpu_level)
      below.push_back(fmt::format("{} (x86-64-v{})", host.host, host.cpu_level));
  }
  if (!below.empty()) {
    chosen.notes.push_back(
        fmt::format("--cpu-level {} is above what the CPU of {} can do: the ops "
                    "do not load there",
                    level, some_of(below)));
  }
  if (level == 1)
    return chosen;
  const long major = parse_integer(major_of(compiler.version), 1, 1000).value_or(0);
  if (major > 0 && !knows_levels(compiler, major)) {
    chosen.notes.push_back(
        fmt::format("{} {} knows no -march=x86-64-v{}: the ops are built for "
                    "any x86-64",
                    compiler.path, compiler.version, level));
    return chosen;
  }
  chosen.level = level;
  chosen.flags = {fmt::format("-march=x86-64-v{}", level)};
  // The library says what it needs: glibc refuses to load it elsewhere, where it would else end in
  // an illegal instruction.
  if (compiler.kind == HostCompiler::Kind::gcc && major >= 12)
    chosen.flags.emplace_back("-mneeded");
  return chosen;
}

}  // namespace ds
