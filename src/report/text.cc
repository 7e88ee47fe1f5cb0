// SPDX-License-Identifier: Apache-2.0
//
// The report as people read it: hosts with the same end are one line.
#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "report/summary.h"

namespace ds {
namespace {

/// All of the names are in the verbose text, and in JSON.
constexpr std::size_t names_limit = 120;

std::string names_in_line(const std::vector<std::string>& names, bool verbose) {
  return names_and_number(names, verbose ? std::string::npos : names_limit);
}

std::string wheel_text(const ReportedWheel& wheel, bool verbose) {
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
    text += fmt::format("for          {} ({})\n",
                        fold_hosts(wheel.hosts, verbose ? std::string::npos : names_limit),
                        count(wheel.hosts.size(), "host"));
  return text;
}

/// Lines that say something different of each host would bury the others: of one kind only the
/// first are shown, and the rest is counted.
class Section {
 public:
  explicit Section(bool verbose) : verbose_(verbose) {}

  void add(const std::string& kind, const std::string& said,
           const std::vector<std::string>& hosts) {
    constexpr std::size_t most = 8;
    if (kind != kind_)
      end_kind();
    kind_ = kind;
    if (verbose_ || lines_ < most) {
      ++lines_;
      text_ += fmt::format("  {}  {}{}\n", names_in_line(hosts, verbose_), kind, said);
    } else {
      ++more_;
      others_.insert(others_.end(), hosts.begin(), hosts.end());
    }
  }

  std::string text() {
    end_kind();
    return text_;
  }

 private:
  void end_kind() {
    if (more_ > 0) {
      std::sort(others_.begin(), others_.end());
      others_.erase(std::unique(others_.begin(), others_.end()), others_.end());
      text_ += fmt::format("  {}  {}: {} more, which --verbose shows\n",
                           names_in_line(others_, false), kind_, more_);
    }
    lines_ = more_ = 0;
    others_.clear();
  }

  bool verbose_;
  std::string text_, kind_;
  std::size_t lines_ = 0, more_ = 0;
  std::vector<std::string> others_;
};

std::string hosts_text(const Report& report, bool verbose) {
  Section section(verbose);
  for (const FoldedOutcome& folded : fold_outcomes(report)) {
    const std::string state = to_string(folded.state);
    section.add(state, folded.line().substr(state.size()), folded.hosts);
  }
  return section.text();
}

/// The same finding on several hosts is one line.
std::string findings_text(const Report& report, bool verbose) {
  Section section(verbose);
  for (const FoldedFinding& finding : fold_findings(report).findings) {
    if (finding.severity == Severity::ok && !verbose)
      continue;
    const std::string fix = finding.fix_for(finding.hosts);
    section.add(to_string(finding.severity) + " " + finding.rule,
                ": " + finding.because + (fix.empty() ? "" : "; " + fix), finding.hosts);
  }
  const std::string text = section.text();
  return text.empty() ? text : "audit\n" + text;
}

std::string self_tests_text(const Report& report, bool verbose) {
  std::map<std::string, std::vector<std::string>> groups;
  for (const HostOutcome& host : report.hosts) {
    for (const std::string& line : host.self_tests)
      groups[line].push_back(host.host);
  }
  std::string text;
  for (const auto& [line, names] : groups) {
    text += fmt::format("  {}  {}\n", names_in_line(names, verbose), line);
  }
  return text.empty() ? text : "self-tests\n" + text;
}

std::string owed_text(const Report& report, bool verbose) {
  std::string text;
  for (const auto& [owed, names] : hosts_that_owe(report))
    text += fmt::format("  {}  {}: {}\n", names_in_line(names, verbose), owed, command_for(owed));
  return text.empty() ? text : "owed\n" + text;
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
  const std::size_t left_out = number_left_out(report);
  if (left_out > 0)
    pieces.back() += fmt::format(" ({} left out)", left_out);
  return fmt::format("{}: {}; {} sent in {}\n", count(report.hosts.size(), "host"),
                     join(pieces, ", "), human_bytes(sent), human_seconds(total(report.seconds)));
}

/// What to change, as findings say it of one host each.
std::string way_out_text(const WayOut& way, bool verbose) {
  std::string text;
  for (const WayOut::Step& step : way.steps) {
    std::string cost;
    if (step.bytes > 0)
      cost = fmt::format(" ({} of device code once more, about {})", count(step.units, "unit"),
                         human_bytes(step.bytes));
    text += fmt::format("  {}  {}{}\n", names_in_line(step.hosts, verbose), step.change, cost);
  }
  std::map<std::string, std::vector<std::string>> remaining;
  for (const WayOut::Remaining& one : way.remaining)
    remaining[one.because].push_back(one.host);
  for (const auto& [because, hosts] : remaining)
    text += fmt::format("  {}  leave out: {}\n", names_in_line(hosts, verbose), because);
  return text.empty() ? text : "way out\n" + text;
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
    text += wheel_text(wheel, verbose);
  const auto planned = [&report](const std::string& said) {
    return report.plan_text.find(said) != std::string::npos;
  };
  for (const std::string& left_out : report.left_out)
    text += planned(left_out) ? "" : "left out     " + left_out + "\n";
  for (const std::string& note : report.notes)
    text += planned(note) ? "" : "note         " + note + "\n";
  text += plan_section(report);
  text += findings_text(report, verbose);
  text += way_out_text(report.audit.way_out, verbose);
  if (report.dry_run || verbose)
    text += grid_text(report, verbose);
  if (report.rollout)
    text += rollout_text(*report.rollout, report.goal, verbose);
  text += self_tests_text(report, verbose);
  text += owed_text(report, verbose);
  text += report.dry_run ? "hosts (dry run: nothing was changed)\n" : "hosts\n";
  text += hosts_text(report, verbose) + summary(report);
  return clean(text, std::string::npos);
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
