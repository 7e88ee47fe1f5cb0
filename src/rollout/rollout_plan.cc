// SPDX-License-Identifier: Apache-2.0
//
// What a run would do, before it does it: who changes from what to what, in which waves, and about
// how long that takes.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "audit/audit.h"
#include "base/text.h"
#include "rollout/rollout_state.h"
#include "rollout/wave_plan.h"
#include "rollout/waves.h"

namespace ds {
namespace {

constexpr const char* moving_steps[] = {"activate", "confirm", "health", "keep"};
constexpr const char* staging_steps[] = {"stage", "verify", "requirements"};

template <typename Steps>
double sum_of(const std::map<std::string, double>& seconds, const Steps& steps) {
  double sum = 0;
  for (const char* step : steps) {
    const auto took = seconds.find(step);
    sum += took == seconds.end() ? 0 : took->second;
  }
  return sum;
}

std::string name_of_wave(std::size_t number, const WavePlan& waves, const Policy& policy,
                         std::size_t targeted) {
  if (waves.ends.empty())
    return policy.strategy == Policy::Strategy::all_at_once
               ? "all at once"
               : fmt::format("{} at a time", policy.most_in_flight(targeted));
  return number == 0 ? "canary" : fmt::format("wave {}", number);
}

std::uint64_t bytes_for(const HostFacts& host, const ReleaseSet& set) {
  std::uint64_t bytes = 0;
  const std::vector<std::string>& held = host.installed.sealed;
  for (const Parcel& parcel : set.parcels) {
    if (std::find(held.begin(), held.end(), parcel.wheel->sha256) == held.end())
      bytes += parcel.wheel->bytes;
  }
  return bytes;
}

/// What changes and what is sent, of the hosts that move.
class PlanOfChanges {
 public:
  PlanOfChanges(RolloutPlan& plan, const RolloutOptions& options)
      : plan_(plan), sends_(!options.sealed_there) {}

  void add(const HostFacts& host, const ReleaseSet& set, bool writes) {
    const std::vector<std::string>& from = host.installed.active;
    const std::vector<std::string> to = wanted_releases(&set);
    const auto same = [&](const RolloutPlan::Change& change) {
      return change.from == from && change.to == to;
    };
    auto change = std::find_if(plan_.changes.begin(), plan_.changes.end(), same);
    if (change == plan_.changes.end())
      change = plan_.changes.insert(change, {from, to, {}});
    change->hosts.push_back(host.host);
    if (sends_ && writes)
      plan_.bytes += bytes_for(host, set);
  }

 private:
  RolloutPlan& plan_;
  bool sends_;
};

}  // namespace

MoveTimes times_of(const std::vector<std::map<std::string, double>>& seconds_by_step) {
  MoveTimes times;
  std::vector<double> moves;
  for (const auto& seconds : seconds_by_step) {
    if (!seconds.contains("activate") || !seconds.contains("confirm"))
      continue;
    moves.push_back(sum_of(seconds, moving_steps));
    times.staging = std::max(times.staging, sum_of(seconds, staging_steps));
  }
  if (moves.empty())
    return times;
  std::sort(moves.begin(), moves.end());
  times.typical = moves[moves.size() / 2];
  times.longest = moves.back();
  return times;
}

std::size_t RolloutPlan::hosts() const {
  std::size_t number = 0;
  for (const Wave& wave : waves)
    number += wave.hosts.size();
  return number;
}

RolloutPlan plan_rollout(const Fleet& fleet, const std::vector<HostOutcome>& predicted,
                         const std::vector<ReleaseSet>& sets, const RolloutOptions& options) {
  RolloutPlan plan;
  PlanOfChanges changes(plan, options);
  std::vector<const HostFacts*> moving;
  std::vector<std::string> classes;
  std::map<std::string, std::vector<std::string>> readers;  // they change with their writer
  for (std::size_t at = 0; at < predicted.size(); ++at) {
    const HostFacts& host = fleet.hosts.at(at);
    const ReleaseSet* set = set_of(sets, host.host);
    if (predicted[at].state != HostState::ready || set == nullptr)
      continue;
    const std::string& writer = predicted[at].writer;
    changes.add(host, *set, writer.empty());
    if (!writer.empty()) {
      readers[writer].push_back(host.host);
      continue;
    }
    moving.push_back(&host);
    classes.push_back(class_of(host, wanted_releases(set)));
  }
  if (options.goal == RolloutOptions::Goal::staged)
    return plan;
  const WavePlan waves = plan_waves(classes, options.policy, predicted.size());
  std::vector<std::size_t> ends = waves.ends;
  if (ends.empty() && !moving.empty())
    ends = {moving.size()};
  const std::size_t at_once = limits_for(options.policy, waves, predicted.size(), 0).at_once();
  std::size_t begin = 0;
  for (std::size_t number = 0; number < ends.size(); ++number) {
    const bool canary = number == 0 && waves.canary > 0;
    RolloutPlan::Wave& wave = plan.waves.emplace_back();
    wave.name = name_of_wave(number, waves, options.policy, predicted.size());
    const std::size_t writers = ends[number] - begin;
    for (; begin < ends[number]; ++begin) {
      const std::string& name = moving[waves.order[begin]]->host;
      wave.hosts.push_back(name);
      wave.hosts.insert(wave.hosts.end(), readers[name].begin(), readers[name].end());
    }
    wave.seconds = seconds_of_wave(writers, at_once, canary, options.policy, options.times);
    plan.seconds += wave.seconds;
  }
  if (plan.seconds > 0 && plan.bytes > 0)
    plan.seconds += options.times.staging;
  plan.times_of = options.times.run;
  return plan;
}

}  // namespace ds
