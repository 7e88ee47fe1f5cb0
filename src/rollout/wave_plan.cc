// SPDX-License-Identifier: Apache-2.0
#include "rollout/wave_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "audit/audit.h"
#include "base/text.h"

namespace ds {

std::string class_of(const HostFacts& host, const std::vector<std::string>& wanted) {
  return class_of(host) + "\n" + join(wanted, "+");
}

WavePlan plan_waves(const std::vector<std::string>& classes, const Policy& policy,
                    std::size_t targeted) {
  WavePlan plan;
  plan.order.resize(classes.size());
  std::iota(plan.order.begin(), plan.order.end(), 0);
  std::map<std::string, std::size_t> numbers;
  std::vector<bool> first;
  for (const std::string& name : classes)
    first.push_back(numbers.emplace(name, numbers.size()).second);
  if (policy.strategy == Policy::Strategy::canary && !classes.empty()) {
    std::stable_partition(plan.order.begin(), plan.order.end(),
                          [&first](std::size_t host) { return first[host]; });
    plan.canary = numbers.size();
    plan.ends = {plan.canary};
    const std::vector<std::size_t> sizes = policy.wave_sizes(targeted);
    for (std::size_t wave = 0; plan.ends.back() < classes.size(); ++wave) {
      const std::size_t size = sizes[std::min(wave, sizes.size() - 1)];
      plan.ends.push_back(std::min(plan.ends.back() + size, classes.size()));
    }
  }
  for (const std::size_t host : plan.order)
    plan.classes.push_back(numbers.at(classes[host]));
  return plan;
}

double seconds_of_wave(std::size_t hosts, std::size_t at_once, bool canary, const Policy& policy,
                       const MoveTimes& times) {
  if (times.longest <= 0 || hosts == 0)
    return 0;
  const std::size_t rounds = (hosts + at_once - 1) / at_once;
  double seconds = times.longest + static_cast<double>(rounds - 1) * times.typical;
  if (canary && policy.prove_rollback)
    seconds *= 2;
  return seconds + (canary ? static_cast<double>(policy.bake.count()) : 0);
}

PaceLimits limits_for(const Policy& policy, const WavePlan& plan, std::size_t hosts,
                      std::size_t failed) {
  const bool together = policy.strategy == Policy::Strategy::all_at_once;
  return {
      .in_flight = together ? hosts : policy.most_in_flight(hosts),
      .unavailable = together ? hosts : policy.most_unavailable(hosts),
      .failures = policy.most_failures(hosts) - failed,
      .together = together,
      .all_go_back = policy.on_failure == Policy::OnFailure::roll_back_all,
      .waves = plan.ends,
      .canary = plan.canary,
      .bakes = policy.bake.count() > 0,
      .prepares = !policy.hooks.drain.command.empty() || !policy.hooks.before_host.command.empty(),
      .rehearses = policy.prove_rollback,
      .class_stops = policy.on_failure == Policy::OnFailure::stop_class,
      .classes = plan.classes};
}

}  // namespace ds
