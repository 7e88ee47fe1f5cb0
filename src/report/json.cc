// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "report/summary.h"

namespace ds {
namespace {

using nlohmann::ordered_json;

ordered_json wheel_json(const ReportedWheel& wheel) {
  ordered_json ops = ordered_json::array();
  for (const ReportedOp& op : wheel.ops)
    ops.push_back({{"name", op.name}, {"archs", op.archs}});
  ordered_json json = {
      {"file", wheel.file}, {"sha256", wheel.sha256}, {"bytes", wheel.bytes}, {"ops", ops}};
  if (!wheel.hosts.empty())
    json["hosts"] = wheel.hosts;
  return json;
}

ordered_json findings_json(const HostAudit& audit) {
  ordered_json findings = ordered_json::array();
  for (const Finding& finding : audit.findings) {
    findings.push_back({{"rule", finding.rule},
                        {"severity", to_string(finding.severity)},
                        {"op", finding.op},
                        {"because", finding.because},
                        {"fix", finding.fix}});
  }
  return findings;
}

ordered_json figures_json(const HostOutcome& host) {
  ordered_json figures = ordered_json::object();
  for (const auto& [op, figure] : host.self_test_figures) {
    figures[op] = {{"seconds", figure.seconds}};
    if (figure.gb_per_s > 0)
      figures[op]["gb_per_s"] = figure.gb_per_s;
  }
  return figures;
}

ordered_json host_json(const HostOutcome& host, const HostAudit* audit, const Report& report) {
  std::string wheels;
  for (const ReportedWheel& wheel : report.wheels) {
    const auto& hosts = wheel.hosts;
    if (hosts.empty() || std::find(hosts.begin(), hosts.end(), host.host) != hosts.end())
      wheels += (wheels.empty() ? "" : "+") + wheel.file;
  }
  const ordered_json findings = audit == nullptr ? ordered_json::array() : findings_json(*audit);
  return {{"name", host.host},
          {"state", to_string(host.state)},
          {"step", host.step},
          {"message", host.message},
          {"wheel", wheels},
          {"release", host.release},
          {"left_out", host.left_out},
          {"owed", host.owed},
          {"writer", host.writer.empty() ? ordered_json(nullptr) : ordered_json(host.writer)},
          {"self_tests", host.self_tests},
          {"self_test_figures", figures_json(host)},
          {"sent_bytes", host.sent_bytes},
          {"got_from", host.got_from},
          {"findings", findings},
          {"seconds", host.seconds}};
}

ordered_json way_out_json(const WayOut& way) {
  ordered_json steps = ordered_json::array(), remaining = ordered_json::array();
  for (const WayOut::Step& step : way.steps)
    steps.push_back({{"change", step.change},
                     {"hosts", step.hosts},
                     {"units", step.units},
                     {"bytes", step.bytes}});
  for (const WayOut::Remaining& one : way.remaining)
    remaining.push_back({{"host", one.host}, {"because", one.because}});
  return {{"steps", steps}, {"remaining", remaining}};
}

ordered_json rollout_json(const RolloutPlan& plan) {
  ordered_json changes = ordered_json::array(), waves = ordered_json::array();
  for (const RolloutPlan::Change& change : plan.changes)
    changes.push_back({{"from", change.from}, {"to", change.to}, {"hosts", change.hosts}});
  for (const RolloutPlan::Wave& wave : plan.waves)
    waves.push_back({{"name", wave.name}, {"hosts", wave.hosts}, {"seconds", wave.seconds}});
  return {{"changes", changes},
          {"waves", waves},
          {"bytes", plan.bytes},
          {"seconds", plan.seconds},
          {"times_of", plan.times_of}};
}

std::string text_of(const ordered_json& value) {
  // A file name need not be UTF-8.
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

/// As text, host by host: thousands of them are a large tree.
std::string hosts_text(const Report& report) {
  const auto audits = audits_by_host(report);
  std::string text;
  for (const HostOutcome& host : report.hosts) {
    const auto audit = audits.find(host.host);
    text += (text.empty() ? "" : ",") +
            text_of(host_json(host, audit == audits.end() ? nullptr : audit->second, report));
  }
  return text;
}

}  // namespace

std::string report_json(const Report& report) {
  ordered_json wheels = ordered_json::array();
  for (const ReportedWheel& wheel : report.wheels)
    wheels.push_back(wheel_json(wheel));
  const ordered_json head = {{"schema", "ds-deploy.report/1"},
                             {"run", report.run},
                             {"command", report.command},
                             {"exit", static_cast<int>(exit_status(report))},
                             {"environment", report.environment},
                             {"dry_run", report.dry_run},
                             {"wheels", wheels},
                             {"left_out", report.left_out},
                             {"notes", report.notes}};
  ordered_json tail = {{"way_out", way_out_json(report.audit.way_out)},
                       {"seconds", report.seconds}};
  if (report.rollout)
    tail["rollout"] = rollout_json(*report.rollout);
  const std::vector<std::string> plans = lines(report.plan_json);
  if (plans.size() == 1)
    tail["plan"] = ordered_json::parse(plans.front());
  for (std::size_t at = 0; plans.size() > 1 && at < plans.size(); ++at)
    tail["plans"].push_back(ordered_json::parse(plans[at]));
  std::string text = text_of(head);
  text.back() = ',';
  text += "\"hosts\":[" + hosts_text(report) + "],";
  text.append(text_of(tail), 1);
  return text + "\n";
}

}  // namespace ds
