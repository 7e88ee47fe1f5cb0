// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "build/build.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

std::int64_t microseconds(double seconds) {
  return static_cast<std::int64_t>(seconds * 1e6);
}

/// From the job that ended last back along what each one waited for: of its needs that ran the one
/// that ended last.
std::set<std::size_t> critical_jobs(const BuildPlan& plan, const BuildResult& result) {
  std::map<std::size_t, double> ended;
  for (const JobRun& run : result.runs)
    ended[run.job] = run.ended;
  std::set<std::size_t> critical;
  auto last = std::max_element(ended.begin(), ended.end(), [](const auto& left, const auto& right) {
    return left.second < right.second;
  });
  while (last != ended.end()) {
    critical.insert(last->first);
    auto waited_for = ended.end();
    for (const std::size_t need : plan.jobs[last->first].needs) {
      const auto run = ended.find(need);
      if (run != ended.end() && (waited_for == ended.end() || run->second > waited_for->second))
        waited_for = run;
    }
    last = waited_for;
  }
  return critical;
}

/// How much memory the running jobs took, after each begin and end.
void add_memory(const BuildResult& result, ordered_json& events) {
  std::multimap<double, std::int64_t> changes;
  for (const JobRun& run : result.runs) {
    changes.emplace(run.began, static_cast<std::int64_t>(run.memory));
    changes.emplace(run.ended, -static_cast<std::int64_t>(run.memory));
  }
  std::int64_t bytes = 0;
  for (const auto& [at, change] : changes) {
    bytes += change;
    events.push_back({{"name", "memory"},
                      {"ph", "C"},
                      {"ts", microseconds(at)},
                      {"pid", 1},
                      {"args", {{"MB", bytes / 1'000'000}}}});
  }
}

}  // namespace

std::string timeline(const BuildPlan& plan, const BuildResult& result) {
  const std::set<std::size_t> critical = critical_jobs(plan, result);
  ordered_json events = ordered_json::array();
  std::set<std::size_t> slots;
  for (const JobRun& run : result.runs) {
    const Job& job = plan.jobs[run.job];
    slots.insert(run.slot);
    ordered_json event = {{"name", job.name},
                          {"cat", job.op},
                          {"ph", "X"},
                          {"ts", microseconds(run.began)},
                          {"dur", microseconds(run.ended - run.began)},
                          {"pid", 1},
                          {"tid", run.slot + 1},
                          {"args",
                           {{"op", job.op},
                            {"cpu_s", run.cpu_seconds},
                            {"memory_MB", run.memory / 1'000'000},
                            {"failed", run.failed},
                            {"critical", critical.contains(run.job)}}}};
    if (critical.contains(run.job))
      event["cname"] = "terrible";
    events.push_back(std::move(event));
  }
  for (const std::size_t slot : slots) {
    events.push_back({{"name", "thread_name"},
                      {"ph", "M"},
                      {"pid", 1},
                      {"tid", slot + 1},
                      {"args", {{"name", "slot " + std::to_string(slot + 1)}}}});
  }
  add_memory(result, events);
  const ordered_json whole = {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
  return whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace ds
