// SPDX-License-Identifier: Apache-2.0
//
// What a run would do, as people read it.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/summary.h"

namespace ds {
namespace {

constexpr std::size_t names_limit = 60;

std::string release_word(const std::vector<std::string>& releases, const char* none) {
  return releases.empty() ? none : short_names(releases);
}

}  // namespace

std::string rollout_text(const RolloutPlan& plan, HostState goal, bool verbose) {
  const bool back = goal == HostState::rolled_back || goal == HostState::removed;
  const std::string more = goal == HostState::removed ? ", and nothing of ds-deploy" : "";
  std::string text;
  const auto names = [verbose](const std::vector<std::string>& hosts) {
    return names_and_number(hosts, verbose ? std::string::npos : names_limit);
  };
  for (const RolloutPlan::Change& change : plan.changes) {
    text += fmt::format(
        "  {}: {} -> {}{}\n", names(change.hosts), release_word(change.from, "nothing of ours"),
        release_word(change.to, back ? "what pip installed" : "the wheel that is built"), more);
  }
  for (const RolloutPlan::Wave& wave : plan.waves) {
    const std::string time =
        wave.seconds > 0 ? ", about " + human_seconds(wave.seconds) : std::string();
    text += fmt::format("  {}: {}{}\n", wave.name, names(wave.hosts), time);
  }
  if (plan.changes.empty())
    return text;
  std::vector<std::string> sums;
  if (plan.bytes > 0)
    sums.push_back(human_bytes(plan.bytes) + " of wheels are sent at most");
  if (plan.seconds > 0)
    sums.push_back(fmt::format("in all about {}, by what hosts took in run {}",
                               human_seconds(plan.seconds), plan.times_of));
  else if (!plan.waves.empty())
    sums.emplace_back("how long it takes is not known: no run of the journal tells");
  if (!sums.empty())
    text += "  " + join(sums, "; ") + "\n";
  return "rollout\n" + clean(text, std::string::npos);
}

}  // namespace ds
