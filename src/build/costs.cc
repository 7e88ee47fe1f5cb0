// SPDX-License-Identifier: Apache-2.0
#include "build/costs.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "cache/cache.h"

namespace ds {
namespace {

constexpr const char* schema = "ds-deploy.costs/2";
constexpr std::uint64_t megabyte = 1'000'000;
constexpr std::size_t most_known = 100'000;
/// The weight of the last run against all before it.
constexpr double newest = 0.5;

std::size_t images(const Job& job) {
  return static_cast<std::size_t>(
      std::count_if(job.command.argv.begin(), job.command.argv.end(),
                    [](const std::string& word) { return word.starts_with("-gencode"); }));
}

/// The same job in another folder, or with other warnings, costs the same.
std::string name_of(const Job& job) {
  return job.op + " " + job.name + " " + std::to_string(images(job));
}

/// Measured with heavy headers (CUB, torch); of what is unknown the longest is to come first.
JobCost guess(const Job& job, std::uint64_t source_bytes) {
  const double by_size = 0.1 * static_cast<double>(source_bytes) / 1000;
  if (job.kind == Job::Kind::precompile)
    return {45, 2100 * megabyte, 760 * megabyte, 0, false};
  if (job.kind == Job::Kind::link)
    return {0.3, 200 * megabyte, 2 * megabyte, 0, false};
  if (images(job) > 0) {
    return {10 + 7 * static_cast<double>(images(job)) + by_size, 700 * megabyte,
            images(job) * megabyte, 20 * images(job) * megabyte, false};
  }
  return {3 + by_size, 350 * megabyte, 2 * megabyte, 0, false};
}

}  // namespace

JobCosts::JobCosts(std::filesystem::path memory) : memory_(std::move(memory)) {
  if (memory_.empty())
    return;
  try {
    const nlohmann::json json = nlohmann::json::parse(read_file(memory_));
    if (json.at("schema") != schema)
      return;
    for (const auto& [name, cost] : json.at("jobs").items())
      known_[name] = {cost.at(0).get<double>(), cost.at(1).get<std::uint64_t>(),
                      cost.at(2).get<std::uint64_t>(), cost.at(3).get<std::uint64_t>(), true};
  } catch (const Error&) {
    return;
  } catch (const nlohmann::json::exception&) {
    known_.clear();
  }
}

JobCost JobCosts::expected(const Job& job, std::uint64_t source_bytes) const {
  const auto known = known_.find(name_of(job));
  return known != known_.end() ? known->second : guess(job, source_bytes);
}

void JobCosts::learn(const Job& job, const JobCost& last) {
  JobCost& cost = known_[name_of(job)];
  cost.seconds = cost.learned ? newest * last.seconds + (1 - newest) * cost.seconds : last.seconds;
  // Of memory the most counts: too little of it ends a job, too much makes another wait.
  cost.memory = std::max(last.memory, cost.learned ? cost.memory - cost.memory / 8 : 0);
  cost.output = last.output;
  cost.kept = last.kept;
  cost.learned = true;
}

void JobCosts::save() const {
  if (memory_.empty() || known_.empty() || known_.size() > most_known)
    return;
  nlohmann::json jobs = nlohmann::json::object();
  for (const auto& [name, cost] : known_)
    jobs[name] = {cost.seconds, cost.memory, cost.output, cost.kept};
  const nlohmann::json json = {{"schema", schema}, {"jobs", jobs}};
  write_memory(memory_, json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace ds
