// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "plan/plan.h"

namespace ds {

BuildPlan one_graph(const std::vector<const BuildPlan*>& plans) {
  BuildPlan whole;
  std::map<std::filesystem::path, std::size_t> made;
  for (std::size_t at = 0; at < plans.size(); ++at) {
    std::vector<std::size_t> places;
    for (const Job& job : plans[at]->jobs) {
      // An output is named by the command that makes it.
      const auto [known, is_new] = made.emplace(job.output, whole.jobs.size());
      places.push_back(known->second);
      if (!is_new)
        continue;
      whole.jobs.push_back(job);
      Job& added = whole.jobs.back();
      if (plans.size() > 1)
        added.name += fmt::format(" (wheel {} of {})", at + 1, plans.size());
      for (std::size_t& need : added.needs)
        need = places[need];
    }
  }
  return whole;
}

}  // namespace ds
