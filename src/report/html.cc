// SPDX-License-Identifier: Apache-2.0
//
// The page: templates/report.html, its style and its script, and the report as JSON for the script.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "base/text.h"
#include "report/markup.h"
#include "report/summary.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t names_limit = 160;

/// As Content-Security-Policy names an inline script or style.
std::string csp_hash(std::string_view text) {
  std::string hash = base64url(sha256(text));
  std::replace(hash.begin(), hash.end(), '-', '+');
  std::replace(hash.begin(), hash.end(), '_', '/');
  return "'sha256-" + hash + "='";
}

/// Whatever room a text comes from.
void clean_texts(ordered_json& json) {
  if (json.is_string()) {
    json = clean(json.get_ref<const std::string&>());
  } else if (json.is_structured()) {
    for (ordered_json& member : json)
      clean_texts(member);
  }
}

/// No text in it ends the element that it stands in, or opens a comment or a template's place. Line
/// separators, which old engines take for the end of a line, went in clean().
std::string json_in_html(const ordered_json& json) {
  std::string out;
  for (const char c : json.dump()) {
    if (std::string_view("<>&@").find(c) == std::string_view::npos) {
      out += c;
    } else {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    }
  }
  return out;
}

ordered_json wheels_json(const Report& report) {
  ordered_json wheels = ordered_json::array();
  for (const ReportedWheel& wheel : report.wheels) {
    ordered_json ops = ordered_json::array();
    for (const ReportedOp& op : wheel.ops) {
      std::string text = op.name;
      for (const std::string& arch : op.archs)
        text += " sm_" + arch;
      ops.push_back(text);
    }
    wheels.push_back(
        {{"file", clean_line(wheel.file.substr(wheel.file.rfind('/') + 1))},
         {"size", human_bytes(wheel.bytes)},
         {"sha256", wheel.sha256},
         {"ops", ops},
         {"hosts", wheel.hosts.empty() ? "" : names_and_number(wheel.hosts, names_limit)}});
  }
  return wheels;
}

ordered_json findings_json(const FoldedFindings& folded) {
  ordered_json findings = ordered_json::array();
  for (const FoldedFinding& finding : folded.findings) {
    findings.push_back({{"severity", to_string(finding.severity)},
                        {"rule", finding.rule},
                        {"ops", finding.ops},
                        {"because", finding.because},
                        {"fix", finding.fix},
                        {"leave_out", finding.can_leave_out},
                        {"hosts", names_and_number(finding.hosts, names_limit)},
                        {"fix_for_all", finding.fix_for(finding.hosts)}});
  }
  return findings;
}

ordered_json hosts_json(const Report& report, const FoldedFindings& folded) {
  std::unordered_map<std::string_view, std::size_t> audited;
  for (std::size_t at = 0; at < report.audit.hosts.size(); ++at)
    audited.emplace(report.audit.hosts[at].host, at);
  ordered_json hosts = ordered_json::array();
  for (const HostOutcome& host : report.hosts) {
    const auto at = audited.find(host.host);
    const bool known = at != audited.end();
    hosts.push_back(
        {{"name", host.host},
         {"state", to_string(host.state)},
         {"rank", rank(host.state)},
         {"good", is_goal(host.state, report)},
         {"left_out", host.left_out},
         {"owed", host.owed},
         {"step", host.step},
         {"message", host.message},
         {"findings", known ? folded.of[at->second] : std::vector<std::size_t>()},
         {"same_as", known ? report.audit.hosts[at->second].same_target_as : std::string()},
         {"self_tests", host.self_tests},
         {"release", host.release},
         {"sent_bytes", host.sent_bytes},
         {"seconds", total(host.seconds)}});
  }
  return hosts;
}

ordered_json grid_json(const Report& report, GridOf columns) {
  const Grid grid = grid_of(report, columns);
  ordered_json rows = ordered_json::array();
  for (const GridRow& row : grid.rows) {
    std::string cells;
    for (const Cell cell : row.cells)
      cells += symbol(cell);
    rows.push_back({{"hosts", names_and_number(names_of(report, row.hosts), names_limit)},
                    {"members", row.hosts},
                    {"state", to_string(row.state)},
                    {"good", is_goal(row.state, report)},
                    {"cells", cells}});
  }
  return {{"columns", grid.columns}, {"rows", rows}};
}

ordered_json page_data(const Report& report) {
  const FoldedFindings folded = fold_findings(report);
  ordered_json states = ordered_json::array();
  for (const FoldedOutcome& outcome : fold_outcomes(report)) {
    const std::string state = to_string(outcome.state);
    if (states.empty() || states.back()["state"] != state) {
      states.push_back({{"state", state}, {"good", is_goal(outcome.state, report)}, {"count", 0}});
    }
    states.back()["count"] = states.back()["count"].get<std::size_t>() + outcome.hosts.size();
  }
  return {{"command", report.command},
          {"run", report.run},
          {"exit", static_cast<int>(exit_status(report))},
          {"verdict", verdict_line(report)},
          {"dry_run", report.dry_run},
          {"environment", clean_line(report.environment, 4000)},
          {"version", DS_DEPLOY_VERSION},
          {"seconds", report.seconds},
          {"left_out", report.left_out},
          {"notes", report.notes},
          {"states", states},
          {"wheels", wheels_json(report)},
          {"findings", findings_json(folded)},
          {"hosts", hosts_json(report, folded)},
          {"grids",
           {{"rules", grid_json(report, GridOf::rules)}, {"ops", grid_json(report, GridOf::ops)}}}};
}

}  // namespace

std::string report_html(const Report& report) {
  const std::string style(template_text("report.css")), script(template_text("report.js"));
  ordered_json data = page_data(report);
  clean_texts(data);
  const std::string title = "ds-deploy " + report.command + ": " + verdict_line(report);
  const std::vector<Replacement> replacements = {{"STYLE_HASH", csp_hash(style)},
                                                 {"SCRIPT_HASH", csp_hash(script)},
                                                 {"TITLE", markup_text(title)},
                                                 {"STYLE", style},
                                                 {"SCRIPT", script},
                                                 {"TEXT", markup_text(report_text(report, false))},
                                                 {"DATA", json_in_html(data)}};
  return render(template_text("report.html"), replacements);
}

}  // namespace ds
