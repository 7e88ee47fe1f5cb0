// SPDX-License-Identifier: Apache-2.0
#include "cli/foresight.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cli/ask.h"
#include "config/config.h"
#include "report/report.h"
#include "ui/ui.h"

namespace ds {
namespace {

using nlohmann::json;

constexpr std::size_t most_runs = 20;  ///< that are looked at for how long hosts took

/// Minutes since midnight of "05:30"; nothing: it is no time of a day.
std::optional<int> minutes_of_day(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.size() - colon != 3)
    return std::nullopt;
  const auto hours = parse_integer(text.substr(0, colon), 0, 23);
  const auto minutes = parse_integer(text.substr(colon + 1), 0, 59);
  if (!hours || !minutes)
    return std::nullopt;
  return static_cast<int>(*hours * 60 + *minutes);
}

std::vector<std::map<std::string, double>> seconds_in(const std::string& report) {
  std::vector<std::map<std::string, double>> seconds;
  const json read = json::parse(report, nullptr, false);
  if (!read.is_object())
    return seconds;
  try {
    for (const json& host : read.at("hosts")) {
      const std::string state = host.at("state");
      if (state == "confirmed" || state == "rolled-back")
        seconds.push_back(host.at("seconds").get<std::map<std::string, double>>());
    }
  } catch (const json::exception&) {
    seconds.clear();  // of another ds-deploy
  }
  return seconds;
}

}  // namespace

std::optional<std::chrono::system_clock::time_point> parse_until(std::string_view text,
                                                                 std::time_t now) {
  using std::chrono::system_clock;
  if (const auto duration = parse_duration(text))
    return system_clock::from_time_t(now) + *duration;
  const auto minutes = minutes_of_day(text);
  if (!minutes)
    return std::nullopt;
  std::tm day{};
  ::localtime_r(&now, &day);
  day.tm_hour = *minutes / 60;
  day.tm_min = *minutes % 60;
  day.tm_sec = 0;
  day.tm_isdst = -1;
  std::time_t at = std::mktime(&day);
  if (at <= now) {
    ++day.tm_mday;
    day.tm_isdst = -1;
    at = std::mktime(&day);
  }
  return system_clock::from_time_t(at);
}

MoveTimes earlier_times(const JournalReader& journal) {
  for (const RunRecord& run : journal.runs(most_runs)) {
    MoveTimes times = times_of(seconds_in(journal.text(run.id, RunText::report)));
    times.run = run.id;
    if (times.longest > 0)
      return times;
  }
  return {};
}

bool can_be_asked(const Options& options) {
  return !options.yes && ::isatty(STDIN_FILENO) != 0 && is_live_terminal(STDERR_FILENO);
}

void ask_to_go_on(const RolloutPlan& plan, HostState goal, const Options& options) {
  if (plan.hosts() < 2)
    return;
  std::fputs(rollout_text(plan, goal, options.verbose).c_str(), stderr);
  if (!confirmed(fmt::format("Change {}?", count(plan.hosts(), "host"))))
    throw Error("nothing was changed: the answer was not yes", "", ExitStatus::interrupted);
}

}  // namespace ds
