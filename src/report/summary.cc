// SPDX-License-Identifier: Apache-2.0
#include "report/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

#include "base/text.h"

namespace ds {
namespace {

std::string words_to_leave_out(const std::vector<std::string>& hosts) {
  constexpr std::size_t most_named = 8;
  if (hosts.size() == 1)
    return leave_out_words + hosts.front();
  return "leave these hosts out: --exclude " +
         (hosts.size() <= most_named ? join(hosts, "@") : std::string("..."));
}

void add_once(std::vector<std::string>& into, const std::string& text) {
  if (std::find(into.begin(), into.end(), text) == into.end())
    into.push_back(text);
}

std::string goal_word(const Report& report) {
  return report.dry_run ? "ready" : to_string(report.goal);
}

}  // namespace

int rank(HostState state) {
  static constexpr std::array order = {
      HostState::failed,  HostState::unknown,   HostState::rolled_back, HostState::unreachable,
      HostState::refused, HostState::skipped,   HostState::active,      HostState::staged,
      HostState::ready,   HostState::confirmed, HostState::removed,     HostState::unchanged};
  return static_cast<int>(std::find(order.begin(), order.end(), state) - order.begin());
}

std::string FoldedFinding::fix_for(const std::vector<std::string>& names) const {
  if (!can_leave_out)
    return fix;
  return fix + (fix.empty() ? "" : ", or ") + words_to_leave_out(names);
}

FoldedFindings fold_findings(const Report& report) {
  using Key = std::tuple<int, std::string, std::string, std::string, bool>;
  std::map<Key, std::size_t> at;
  std::vector<FoldedFinding> found;
  std::vector<std::vector<std::size_t>> of;
  for (const HostAudit& audit : report.audit.hosts) {
    of.emplace_back();
    for (const Finding& finding : audit.findings) {
      std::string fix = finding.fix;
      const bool left_out = take_leave_out(fix, audit.host);
      const auto [place, fresh] = at.emplace(
          Key{rank(finding.severity), finding.rule, finding.because, fix, left_out}, found.size());
      if (fresh) {
        found.push_back({finding.severity, finding.rule, finding.because, fix, left_out, {}, {}});
      }
      FoldedFinding& folded = found[place->second];
      if (!finding.op.empty())
        add_once(folded.ops, finding.op);
      if (folded.hosts.empty() || folded.hosts.back() != audit.host) {
        folded.hosts.push_back(audit.host);
        of.back().push_back(place->second);
      }
    }
  }
  // The map has them in the order that is wanted.
  FoldedFindings sorted;
  std::vector<std::size_t> moved(found.size());
  for (const auto& [key, old] : at) {
    moved[old] = sorted.findings.size();
    sorted.findings.push_back(std::move(found[old]));
  }
  for (std::vector<std::size_t>& host : of) {
    for (std::size_t& index : host)
      index = moved[index];
    std::sort(host.begin(), host.end());
  }
  sorted.of = std::move(of);
  return sorted;
}

std::string FoldedOutcome::line() const {
  if (message.empty() && !left_out)
    return to_string(state);
  const std::string whole =
      to_string(state) + (step.empty() ? "" : " at " + step) + (left_out ? ", left out" : "");
  return whole + (message.empty() ? "" : ": " + message);
}

std::vector<FoldedOutcome> fold_outcomes(const Report& report) {
  struct Group {
    FoldedOutcome outcome;
    bool can_leave_out = false;
  };
  std::map<std::tuple<int, bool, std::string, std::string, bool>, Group> groups;
  for (const HostOutcome& host : report.hosts) {
    std::string message = host.message;
    const bool left_out = take_leave_out(message, host.host);
    const std::string step = host.message.empty() ? "" : host.step;
    Group& group = groups[{rank(host.state), host.left_out, step, message, left_out}];
    group.outcome.left_out = host.left_out;
    group.outcome.state = host.state;
    group.outcome.step = step;
    group.outcome.message = message;
    group.can_leave_out = left_out;
    group.outcome.hosts.push_back(host.host);
  }
  std::vector<FoldedOutcome> folded;
  for (auto& [key, group] : groups) {
    if (group.can_leave_out) {
      group.outcome.message +=
          (group.outcome.message.empty() ? "" : ", or ") + words_to_leave_out(group.outcome.hosts);
    }
    folded.push_back(std::move(group.outcome));
  }
  return folded;
}

std::string command_for(const std::string& owed) {
  if (owed == owed_undrain)
    return "ds-deploy resume";
  return owed == owed_proof ? "ds-deploy verify --owed" : "ds-deploy resume --owed";
}

std::size_t number_left_out(const Report& report) {
  return static_cast<std::size_t>(
      std::count_if(report.hosts.begin(), report.hosts.end(),
                    [](const HostOutcome& host) { return host.left_out; }));
}

std::map<std::string, std::vector<std::string>> hosts_that_owe(const Report& report) {
  std::map<std::string, std::vector<std::string>> hosts;
  if (report.dry_run)
    return hosts;
  for (const HostOutcome& host : report.hosts) {
    for (const std::string& owed : host.owed)
      hosts[owed].push_back(host.host);
  }
  return hosts;
}

std::string names_and_number(const std::vector<std::string>& names, std::size_t limit) {
  return fold_hosts(names, limit) +
         (names.size() > 1 ? fmt::format(" ({})", names.size()) : std::string());
}

std::vector<std::string> names_of(const Report& report, const std::vector<std::size_t>& hosts) {
  std::vector<std::string> names;
  for (const std::size_t host : hosts)
    names.push_back(report.hosts[host].host);
  return names;
}

std::string verdict_line(const Report& report) {
  const std::size_t all = report.hosts.size();
  const auto good = static_cast<std::size_t>(
      std::count_if(report.hosts.begin(), report.hosts.end(),
                    [&](const HostOutcome& host) { return is_goal(host.state, report); }));
  if (all == 0)
    return "no host";
  if (good == all) {
    return all == 1 ? "1 host is " + goal_word(report)
                    : fmt::format("all {} hosts are {}", all, goal_word(report));
  }
  const std::size_t left = number_left_out(report);
  if (left > 0 && good + left == all) {
    return fmt::format("{} of {} {} {}, {} left out", good, count(all, "host"),
                       good == 1 ? "is" : "are", goal_word(report), left);
  }
  return fmt::format("{} of {} {} not {}{}", all - good, count(all, "host"),
                     all - good == 1 ? "is" : "are", goal_word(report),
                     left == 0 ? "" : fmt::format(", {} of them left out", left));
}

std::unordered_map<std::string_view, const HostAudit*> audits_by_host(const Report& report) {
  std::unordered_map<std::string_view, const HostAudit*> audits;
  for (const HostAudit& audit : report.audit.hosts)
    audits.emplace(audit.host, &audit);
  return audits;
}

double total(const std::map<std::string, double>& seconds) {
  double sum = 0;
  for (const auto& [name, spent] : seconds)
    sum += spent;
  return sum;
}

}  // namespace ds
