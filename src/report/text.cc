// SPDX-License-Identifier: Apache-2.0
//
// The report as people read it: hosts with the same end are one line.
#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>

#include "report/report.h"

namespace ds {
namespace {

/// "node" "07" "-ib": a name around its last run of digits.
struct NumberedName {
  std::string head, digits, tail;
};

NumberedName split_number(const std::string& name) {
  const std::size_t last = name.find_last_of("0123456789");
  // Addresses are told apart by all their parts; folding them would only hide them.
  const bool address = name.find_first_not_of("0123456789.:abcdefABCDEF") == std::string::npos;
  if (last == std::string::npos || address)
    return {name, "", ""};
  std::size_t first = last;
  while (first > 0 && std::isdigit(static_cast<unsigned char>(name[first - 1])))
    --first;
  if (last - first >= 9)
    return {name, "", ""};
  return {name.substr(0, first), name.substr(first, last - first + 1), name.substr(last + 1)};
}

std::string fold_numbers(const std::set<long>& numbers, int width) {
  std::string text;
  for (auto it = numbers.begin(); it != numbers.end();) {
    const long first = *it;
    long last = first;
    for (++it; it != numbers.end() && *it == last + 1; ++it)
      last = *it;
    text += text.empty() ? "" : ",";
    text += fmt::format("{:0{}}", first, width);
    if (last != first)
      text += fmt::format("-{:0{}}", last, width);
  }
  return text;
}

}  // namespace

std::string fold_hosts(const std::vector<std::string>& names) {
  std::map<std::tuple<std::string, std::string, int>, std::set<long>> groups;
  std::vector<std::tuple<std::string, std::string, int>> order;
  std::vector<std::string> pieces;
  for (const std::string& name : names) {
    const NumberedName parts = split_number(name);
    const auto key = std::make_tuple(parts.head, parts.tail, static_cast<int>(parts.digits.size()));
    if (!groups.contains(key))
      order.push_back(key);
    groups[key].insert(parts.digits.empty() ? -1 : std::stol(parts.digits));
  }
  for (const auto& key : order) {
    const auto& [head, tail, width] = key;
    const std::set<long>& numbers = groups[key];
    if (width == 0) {
      pieces.push_back(head);
    } else if (numbers.size() == 1) {
      pieces.push_back(fmt::format("{}{:0{}}{}", head, *numbers.begin(), width, tail));
    } else {
      pieces.push_back(fmt::format("{}[{}]{}", head, fold_numbers(numbers, width), tail));
    }
  }
  return join(pieces, ",");
}

namespace {

std::string wheel_text(const ReportedWheel& wheel) {
  std::string text = fmt::format("wheel        {} ({}, sha256 {})\n",
                                 std::filesystem::path(wheel.file).filename().string(),
                                 human_bytes(wheel.bytes), wheel.sha256.substr(0, 12));
  std::string ops;
  for (const ReportedOp& op : wheel.ops) {
    ops += ops.empty() ? "" : ", ";
    ops += op.name;
    for (const std::string& arch : op.archs)
      ops += " sm_" + arch;
  }
  if (!ops.empty())
    text += "ops          " + ops + "\n";
  if (!wheel.hosts.empty())
    text += fmt::format("for          {} ({})\n", fold_hosts(wheel.hosts),
                        count(wheel.hosts.size(), "host"));
  return text;
}

/// Worst first, so that the eye meets what needs a hand.
int rank(const HostOutcome& host) {
  static constexpr HostState order[] = {
      HostState::failed,  HostState::unknown,   HostState::rolled_back, HostState::unreachable,
      HostState::refused, HostState::skipped,   HostState::active,      HostState::staged,
      HostState::ready,   HostState::confirmed, HostState::unchanged};
  return static_cast<int>(std::find(std::begin(order), std::end(order), host.state) - order);
}

std::string outcome_line(const HostOutcome& host) {
  std::string line = to_string(host.state);
  const bool fine = host.message.empty();
  if (!fine && !host.step.empty())
    line += " at " + host.step;
  if (!fine)
    line += ": " + host.message;
  return line;
}

std::string hosts_text(const Report& report) {
  std::map<std::pair<int, std::string>, std::vector<std::string>> groups;
  for (const HostOutcome& host : report.hosts) {
    groups[{rank(host), outcome_line(host)}].push_back(host.host);
  }
  std::string text;
  for (const auto& [key, names] : groups) {
    const std::string number = names.size() > 1 ? fmt::format(" ({})", names.size()) : "";
    text += fmt::format("  {}{}  {}\n", fold_hosts(names), number, key.second);
  }
  return text;
}

/// The same finding on several hosts is one line.
std::string findings_text(const Report& report, bool verbose) {
  std::map<std::tuple<int, std::string, std::string>, std::vector<std::string>> groups;
  for (const HostAudit& audit : report.audit.hosts) {
    for (const Finding& finding : audit.findings) {
      if (finding.severity == Severity::ok && !verbose)
        continue;
      const int order = finding.severity == Severity::fail ? 0 : finding.severity == Severity::ok;
      const std::string line = finding.because + (finding.fix.empty() ? "" : "; " + finding.fix);
      groups[{order, to_string(finding.severity) + " " + finding.rule, line}].push_back(audit.host);
    }
  }
  std::string text;
  for (const auto& [key, names] : groups) {
    text += fmt::format("  {}  {}: {}\n", fold_hosts(names), std::get<1>(key), std::get<2>(key));
  }
  return text.empty() ? text : "audit\n" + text;
}

std::string self_tests_text(const Report& report) {
  std::map<std::string, std::vector<std::string>> groups;
  for (const HostOutcome& host : report.hosts) {
    for (const std::string& line : host.self_tests)
      groups[line].push_back(host.host);
  }
  std::string text;
  for (const auto& [line, names] : groups) {
    text += fmt::format("  {}  {}\n", fold_hosts(names), line);
  }
  return text.empty() ? text : "self-tests\n" + text;
}

std::string summary(const Report& report) {
  std::map<HostState, std::size_t> counts;
  std::uint64_t sent = 0;
  for (const HostOutcome& host : report.hosts) {
    ++counts[host.state];
    sent += host.sent_bytes;
  }
  std::vector<std::string> pieces;
  for (const auto& [state, number] : counts) {
    pieces.push_back(fmt::format("{} {}", number, to_string(state)));
  }
  double seconds = 0;
  for (const auto& [stage, spent] : report.seconds)
    seconds += spent;
  return fmt::format("{}: {}; {} sent in {}\n", count(report.hosts.size(), "host"),
                     join(pieces, ", "), human_bytes(sent), human_seconds(seconds));
}

/// The plan names ops that are left out and notes too; they are not said twice.
std::string plan_section(const Report& report) {
  std::string text;
  for (const std::string& line : lines(report.plan_text))
    text += "  " + line + "\n";
  return text.empty() ? text : "plan\n" + text;
}

}  // namespace

std::string report_text(const Report& report, bool verbose) {
  std::string text = "environment  " + report.environment + "\n";
  for (const ReportedWheel& wheel : report.wheels)
    text += wheel_text(wheel);
  const auto planned = [&report](const std::string& said) {
    return report.plan_text.find(said) != std::string::npos;
  };
  for (const std::string& left_out : report.left_out)
    text += planned(left_out) ? "" : "left out     " + left_out + "\n";
  for (const std::string& note : report.notes)
    text += planned(note) ? "" : "note         " + note + "\n";
  text += plan_section(report);
  text += findings_text(report, verbose);
  text += self_tests_text(report);
  text +=
      (report.dry_run ? "hosts (dry run: nothing was changed)\n" : "hosts\n") + hosts_text(report);
  return text + summary(report);
}

ReportedWheel reported_wheel(const Wheel& wheel, const Requirements& requirements,
                             const std::vector<std::string>& hosts) {
  ReportedWheel reported{wheel.file.string(), wheel.sha256, wheel.bytes, {}, hosts};
  for (const LibraryNeeds& library : requirements.libraries) {
    if (!library.op.empty())
      reported.ops.push_back({library.op, library.gpu.sass_all_units});
  }
  return reported;
}

}  // namespace ds
