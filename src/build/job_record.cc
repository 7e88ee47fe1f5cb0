// SPDX-License-Identifier: Apache-2.0
#include "build/job_record.h"

#include <algorithm>

namespace ds {

std::optional<double> time_left(const std::vector<JobRecord>& records, const Schedule& schedule,
                                std::size_t slots, double now) {
  double work = 0, learned = 0, way = 0;
  for (std::size_t id = 0; id < records.size(); ++id) {
    const JobRecord& record = records[id];
    if (record.done)
      continue;
    const JobCost& cost = schedule.cost(id);
    const double ran = record.running ? now - record.began : 0;
    work += std::max(0.0, cost.seconds - ran);
    learned += cost.learned ? std::max(0.0, cost.seconds - ran) : 0;
    way = std::max(way, schedule.way_to_the_end(id) - ran);
  }
  if (2 * learned <= work || slots == 0)
    return std::nullopt;
  return std::max(way, work / static_cast<double>(slots));
}

}  // namespace ds
