// SPDX-License-Identifier: Apache-2.0
#include "cli/slow_hosts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "audit/audit.h"
#include "base/text.h"

namespace ds {
namespace {

constexpr std::size_t fewest_hosts = 4;
constexpr double allowed = 0.2;
constexpr double least_seconds = 0.1;  // below, a short test's noise would name hosts
constexpr std::size_t most_shown = 5;

enum class Unit { seconds, gb_per_s };

/// Of one self-test in one class.
struct Series {
  std::vector<std::pair<std::string, double>> values = {};  ///< host, in the order of the run

  double median() const {
    std::vector<double> sorted;
    for (const auto& [host, value] : values)
      sorted.push_back(value);
    std::sort(sorted.begin(), sorted.end());
    const std::size_t half = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
};

/// By class, op and unit.
using AllSeries = std::map<std::tuple<std::string, std::string, Unit>, Series>;

AllSeries series_of(const Fleet& fleet, const std::vector<HostOutcome>& hosts) {
  std::map<std::string, const HostFacts*> facts;
  for (const HostFacts& host : fleet.hosts)
    facts[host.host] = &host;
  AllSeries all;
  for (const HostOutcome& host : hosts) {
    const auto known = facts.find(host.host);
    if (host.self_test_figures.empty() || known == facts.end())
      continue;
    const std::string kind = class_of(*known->second);
    for (const auto& [op, figure] : host.self_test_figures) {
      all[{kind, op, Unit::seconds}].values.emplace_back(host.host, figure.seconds);
      if (figure.gb_per_s > 0)
        all[{kind, op, Unit::gb_per_s}].values.emplace_back(host.host, figure.gb_per_s);
    }
  }
  return all;
}

bool is_slow(double value, double median, Unit unit) {
  if (unit == Unit::gb_per_s)
    return value < median * (1 - allowed);
  return value > median * (1 + allowed) && value - median >= least_seconds;
}

std::string value_text(double value, Unit unit) {
  return unit == Unit::seconds ? fmt::format("{:.2f} s", value) : fmt::format("{:.3g} GB/s", value);
}

/// "n[07,09] (matmul 1.31 s to 1.62 s, median 0.98 s)"; empty: none is slow.
std::string slow_in(const Series& series, const std::string& op, Unit unit) {
  if (series.values.size() < fewest_hosts)
    return {};
  const double median = series.median();
  std::vector<std::string> names;
  std::vector<double> values;
  for (const auto& [host, value] : series.values) {
    if (!is_slow(value, median, unit))
      continue;
    names.push_back(host);
    values.push_back(value);
  }
  if (names.empty())
    return {};
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const std::string from = value_text(*least, unit), to = value_text(*most, unit);
  return fmt::format("{} ({} {}{}, median {})", fold_hosts(names, 60), op, from,
                     from == to ? "" : " to " + to, value_text(median, unit));
}

}  // namespace

std::string slower_than_class(const Fleet& fleet, const std::vector<HostOutcome>& hosts) {
  std::vector<std::string> slow;
  for (const auto& [key, series] : series_of(fleet, hosts)) {
    std::string text = slow_in(series, std::get<1>(key), std::get<2>(key));
    if (!text.empty())
      slow.push_back(std::move(text));
  }
  if (slow.empty())
    return {};
  const std::size_t more = slow.size() - std::min(slow.size(), most_shown);
  slow.resize(slow.size() - more);
  return "slower than their class: " + join(slow, "; ") +
         (more == 0 ? "" : fmt::format("; and {} more", more));
}

void note_slow_hosts(Report& report, const Fleet& fleet) {
  std::string note = slower_than_class(fleet, report.hosts);
  if (!note.empty())
    report.notes.push_back(std::move(note));
}

}  // namespace ds
