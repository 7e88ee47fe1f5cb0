// SPDX-License-Identifier: Apache-2.0
//
// For GitHub Actions: annotations by workflow commands, and a summary in Markdown.
#include <fmt/format.h>

#include <algorithm>

#include "base/sha256.h"
#include "base/text.h"
#include "report/markup.h"
#include "report/summary.h"

namespace ds {
namespace {

constexpr std::size_t names_limit = 120;
constexpr std::size_t most_annotations = 10;  ///< of one kind that GitHub shows for a step
constexpr std::size_t most_rows = 100;        ///< a summary may have 1 MiB

struct Annotation {
  bool error = false;
  std::string title, message;
};

std::string said_of(const FoldedFinding& finding) {
  const std::string fix = finding.fix_for(finding.hosts);
  return finding.because + (fix.empty() ? "" : "; " + fix);
}

std::vector<Annotation> annotations_of(const Report& report) {
  std::vector<Annotation> all;
  const std::vector<FoldedFinding> findings = fold_findings(report).findings;
  const bool told = !findings.empty() && findings.front().severity == Severity::fail;
  for (const FoldedOutcome& outcome : fold_outcomes(report)) {
    // What the audit failed is said below, rule by rule.
    if (is_goal(outcome.state, report) || (outcome.step == "audit" && told))
      continue;
    all.push_back({!outcome.left_out, "ds-deploy: " + to_string(outcome.state),
                   names_and_number(outcome.hosts, names_limit) + ": " + outcome.line()});
  }
  for (const FoldedFinding& finding : findings) {
    if (finding.severity == Severity::ok)
      break;
    all.push_back({finding.severity == Severity::fail,
                   "ds-deploy: " + to_string(finding.severity) + " " + finding.rule,
                   names_and_number(finding.hosts, names_limit) + ": " + said_of(finding)});
  }
  return all;
}

std::string commands_of(const std::vector<Annotation>& annotations, bool error) {
  const std::string name = error ? "error" : "warning";
  const auto number = static_cast<std::size_t>(
      std::count_if(annotations.begin(), annotations.end(),
                    [error](const Annotation& annotation) { return annotation.error == error; }));
  std::string text;
  std::size_t shown = 0;
  for (const Annotation& annotation : annotations) {
    if (annotation.error != error)
      continue;
    if (number > most_annotations && shown == most_annotations - 1)
      break;
    ++shown;
    text += fmt::format("::{} title={}::{}\n", name, command_property(annotation.title),
                        command_data(annotation.message));
  }
  if (shown < number) {
    text += fmt::format("::{} title=ds-deploy::{} more in the log and in the summary\n", name,
                        number - shown);
  }
  return text;
}

std::string table(const std::string& head, const std::vector<std::string>& rows) {
  if (rows.empty())
    return {};
  std::string text = head;
  for (std::size_t at = 0; at < rows.size() && at < most_rows; ++at)
    text += rows[at];
  text += "\n";
  if (rows.size() > most_rows)
    text += fmt::format("{} more rows are in the log.\n\n", rows.size() - most_rows);
  return text;
}

std::string outcomes_table(const Report& report) {
  std::vector<std::string> rows;
  for (const FoldedOutcome& outcome : fold_outcomes(report)) {
    rows.push_back(fmt::format(
        "| {} | {} | {} |\n", markdown_text(names_and_number(outcome.hosts, names_limit)),
        to_string(outcome.state),
        outcome.message.empty() && !outcome.left_out
            ? ""
            : markdown_text(outcome.line().substr(to_string(outcome.state).size() + 1))));
  }
  return table("| hosts | state | |\n|---|---|---|\n", rows);
}

std::string findings_table(const Report& report) {
  std::vector<std::string> rows;
  for (const FoldedFinding& finding : fold_findings(report).findings) {
    if (finding.severity == Severity::ok)
      break;
    rows.push_back(fmt::format("| **{}** | {} | {} | {} |\n", to_string(finding.severity),
                               markdown_text(finding.rule),
                               markdown_text(names_and_number(finding.hosts, names_limit)),
                               markdown_text(said_of(finding))));
  }
  return table("| | rule | hosts | finding |\n|---|---|---|---|\n", rows);
}

}  // namespace

std::string report_github(const Report& report, bool verbose) {
  const std::string text = report_text(report, verbose);
  // The runner takes commands from any line; between these two it takes none. A text cannot name
  // its own hash.
  const std::string token = sha256_hex(text);
  const std::vector<Annotation> annotations = annotations_of(report);
  return "::stop-commands::" + token + "\n" + text + "::" + token + "::\n" +
         commands_of(annotations, true) + commands_of(annotations, false);
}

std::string report_markdown(const Report& report) {
  std::string text = fmt::format("### ds-deploy {}: {} (exit status {})\n\n", report.command,
                                 verdict_line(report), static_cast<int>(exit_status(report)));
  for (const ReportedWheel& wheel : report.wheels) {
    text += fmt::format("* wheel {} ({})\n",
                        markdown_text(wheel.file.substr(wheel.file.rfind('/') + 1)),
                        human_bytes(wheel.bytes));
  }
  text += fmt::format("* environment {}\n", markdown_text(report.environment));
  for (const std::string& left_out : report.left_out)
    text += "* left out: " + markdown_text(left_out) + "\n";
  text += "\n" + outcomes_table(report) + findings_table(report);
  const std::vector<std::string> grid = lines(clean(grid_text(report, false)));
  // Indented, which no line of the text can end.
  for (std::size_t at = 1; at < grid.size(); ++at)
    text += "    " + grid[at] + "\n";
  return text + "\n";
}

}  // namespace ds
