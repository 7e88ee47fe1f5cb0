// SPDX-License-Identifier: Apache-2.0
//
// Replays the scheduler: durations and needs in JSON on stdin, the end of the build on stdout. For
// tests/bench/build.py, which recorded them.
#include <algorithm>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <queue>

#include "build/schedule.h"

namespace {

using nlohmann::json;

/// Seconds until the last job ends on `slots` slots, each job taking what it took.
double replay(const std::vector<ds::Job>& jobs, const std::vector<ds::JobCost>& costs,
              std::size_t slots) {
  ds::Schedule schedule(jobs, costs, 1'000'000'000'000);
  std::vector<std::size_t> needed(jobs.size());
  std::vector<std::vector<std::size_t>> needed_by(jobs.size());
  for (std::size_t job = 0; job < jobs.size(); ++job) {
    needed[job] = jobs[job].needs.size();
    for (const std::size_t need : jobs[job].needs)
      needed_by[need].push_back(job);
    if (needed[job] == 0)
      schedule.ready(job);
  }
  using End = std::pair<double, std::size_t>;
  std::priority_queue<End, std::vector<End>, std::greater<>> running;
  double now = 0;
  for (;;) {
    while (running.size() < slots && !schedule.none_ready()) {
      const std::size_t job = *schedule.start();
      running.emplace(now + costs[job].seconds, job);
    }
    if (running.empty())
      return now;
    const std::size_t job = running.top().second;
    now = running.top().first;
    running.pop();
    schedule.ended(job);
    for (const std::size_t next : needed_by[job]) {
      if (--needed[next] == 0)
        schedule.ready(next);
    }
  }
}

}  // namespace

int main() {
  const json order = json::parse(std::cin);
  std::vector<ds::Job> jobs;
  std::vector<ds::JobCost> costs;
  double work = 0;
  for (const json& each : order.at("jobs")) {
    ds::Job job;
    job.needs = each.at("needs").get<std::vector<std::size_t>>();
    jobs.push_back(job);
    costs.push_back({each.at("seconds"), 1, true});
    work += costs.back().seconds;
  }
  const std::size_t slots = order.at("slots");
  const ds::Schedule ways(jobs, costs, 1);
  double longest = 0;
  for (std::size_t job = 0; job < jobs.size(); ++job)
    longest = std::max(longest, ways.way_to_the_end(job));
  const json answer = {{"seconds", replay(jobs, costs, slots)},
                       {"critical_path", longest},
                       {"work_by_slots", work / static_cast<double>(slots)}};
  std::cout << answer << "\n";
}
