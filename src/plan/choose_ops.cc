// SPDX-License-Identifier: Apache-2.0
#include "plan/choose_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

using Environment = std::map<std::string, std::string>;

constexpr const char* build_switch = "write 1 to build, 0 to leave out";

/// DS_BUILD_ variables that belong to no op: often a slip, or an op of another library.
void check_strangers(const std::vector<Op>& ops, const Environment& environment,
                     std::vector<std::string>& notes) {
  std::vector<std::string> known = {"DS_BUILD_OPS", "DS_BUILD_STRING"};
  for (const Op& op : ops)
    known.push_back(op.build_variable);
  for (const auto& [name, value] : environment) {
    if (!name.starts_with("DS_BUILD_") || value.empty())
      continue;
    if (std::find(known.begin(), known.end(), name) != known.end())
      continue;
    const std::string shown = clean_line(name + "=" + value, 120);
    const std::string nearest = suggestion(name, known);
    if (value == "1") {
      throw Error(fmt::format("{} asks for an op that does not exist", shown),
                  nearest.empty()
                      ? "unset it, or name the op library that has the op with --ops DIR"
                      : nearest,
                  ExitStatus::build_failed);
    }
    notes.push_back(
        fmt::format("{} belongs to no op{}{}", shown, nearest.empty() ? "" : "; ", nearest));
  }
}

}  // namespace

std::optional<bool> read_switch(const Environment& environment, const std::string& variable,
                                const std::string& fix) {
  const auto found = environment.find(variable);
  if (found == environment.end() || found->second.empty())
    return std::nullopt;
  if (found->second == "1")
    return true;
  if (found->second == "0")
    return false;
  throw UsageError(fmt::format("{}={} cannot be read", variable, clean_line(found->second, 80)),
                   fix);
}

OpChoice choose_ops(const std::vector<Op>& ops, const Environment& environment) {
  OpChoice choice;
  const std::optional<bool> all = read_switch(environment, "DS_BUILD_OPS", build_switch);
  std::map<std::string, std::optional<bool>> switches;
  bool some_named = false;
  for (const Op& op : ops) {
    switches[op.name] = read_switch(environment, op.build_variable, build_switch);
    some_named = some_named || switches[op.name].value_or(false);
  }
  check_strangers(ops, environment, choice.notes);
  const bool every_op = all ? *all : !some_named;
  for (const Op& op : ops) {
    const std::optional<bool> own = switches[op.name];
    if (own.value_or(every_op)) {
      choice.chosen.push_back({&op,
                               own   ? op.build_variable + "=1 asks for it"
                               : all ? "DS_BUILD_OPS=1 asks for every compatible op"
                                     : "every compatible op is",
                               own.has_value()});
    } else {
      choice.left_out.push_back({op.name,
                                 own          ? op.build_variable + "=0"
                                 : some_named ? "other ops were asked for by name"
                                              : "DS_BUILD_OPS=0",
                                 false});
    }
  }
  return choice;
}

}  // namespace ds
