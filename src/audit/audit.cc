// SPDX-License-Identifier: Apache-2.0
#include "audit/audit.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <map>

#include "audit/rule.h"
#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

struct Rule {
  const char* id;
  Findings (*ask)(const Subject&);
};

constexpr std::array rules = {
    Rule{"environment", environment_rule},
    Rule{"env-script", env_script_rule},
    Rule{"externally-managed", externally_managed_rule},
    Rule{"installed", installed_rule},
    Rule{"activation", activation_rule},
    Rule{"lock", lock_rule},
    Rule{"machine", machine_rule},
    Rule{"python", python_rule},
    Rule{"glibc", glibc_rule},
    Rule{"libstdc++", libstdcxx_rule},
    Rule{"cpu-level", cpu_level_rule},
    Rule{"instructions", instructions_rule},
    Rule{"needed-libraries", needed_libraries_rule},
    Rule{"run-path", run_path_rule},
    Rule{"symbols", symbols_rule},
    Rule{"torch", torch_rule},
    Rule{"c++-abi", cxx_abi_rule},
    Rule{"deepspeed-record", deepspeed_record_rule},
    Rule{"requirements", requirements_rule},
    Rule{"gpu", gpu_rule},
    Rule{"minimum-capability", minimum_capability_rule},
    Rule{"gpu-image", gpu_image_rule},
    Rule{"driver", driver_rule},
    Rule{"gpu-health", gpu_health_rule},
    Rule{"gpu-busy", gpu_busy_rule},
    Rule{"gpu-mode", gpu_mode_rule},
    Rule{"slots", slots_rule},
    Rule{"uniformity", uniformity_rule},
    Rule{"shadowed", shadowed_rule},
    Rule{"login-shell", login_shell_rule},
    Rule{"jit", jit_rule},
    Rule{"shared-memory", shared_memory_rule},
    Rule{"clock", clock_rule},
    Rule{"disk", disk_rule},
    Rule{"noexec", noexec_rule},
    Rule{"shared-environment", shared_environment_rule},
    Rule{"write-permission", write_permission_rule},
    Rule{"same-machine", same_machine_rule},
};

HostAudit audit_unreached(const HostFacts& host) {
  const auto [verdict, fix] = [&host]() -> std::pair<Verdict, std::string> {
    switch (host.state) {
      case HostFacts::State::login_refused:
        return {Verdict::refused,
                "give a user and a key that this host accepts (user=, identity=)"};
      case HostFacts::State::key_refused:
        return {Verdict::refused, "compare the host's key with the one in known_hosts"};
      case HostFacts::State::failed:
        return {Verdict::unreachable, "look with 'ds-deploy ping'"};
      default:
        return {Verdict::unreachable, "check its name, its route and that sshd runs"};
    }
  }();
  const std::string because = host.problem.empty() ? "it did not answer" : host.problem;
  HostAudit audit;
  audit.host = host.host;
  audit.verdict = verdict;
  audit.findings = {
      {"reachable", Severity::fail, "", because, fix + ", or " + leave_out_words + host.host}};
  return audit;
}

Verdict verdict_of(const Findings& findings, const AuditOptions& options) {
  const bool refused = std::any_of(findings.begin(), findings.end(), [&](const Finding& finding) {
    return !finding.ignored && (finding.severity == Severity::fail ||
                                (options.strict && finding.severity != Severity::ok));
  });
  return refused ? Verdict::refused : Verdict::ready;
}

/// It stays in the report, so that whoever reads it knows.
void ignore(const std::vector<IgnoredRule>& ignored, const std::string& host, Finding& finding) {
  const bool asked = std::any_of(ignored.begin(), ignored.end(), [&](const IgnoredRule& one) {
    return one.rule == finding.rule &&
           (one.hosts.empty() || ::fnmatch(one.hosts.c_str(), host.c_str(), 0) == 0);
  });
  if (!asked || finding.severity == Severity::ok)
    return;
  finding.ignored = true;
  finding.severity = Severity::warn;
  finding.because += " (ignored, as --ignore asks)";
}

HostAudit audit_host(const Subject& subject) {
  if (subject.host.state != HostFacts::State::reached)
    return audit_unreached(subject.host);
  HostAudit audit;
  audit.host = subject.host.host;
  audit.findings.push_back({"reachable", Severity::ok, "", "it answered", ""});
  for (const Rule& rule : rules) {
    for (Finding& found : rule.ask(subject)) {
      found.rule = rule.id;
      ignore(subject.options.ignored, audit.host, found);
      // Several wheels can say the same of a host.
      const auto& known = audit.findings;
      if (std::find(known.begin(), known.end(), found) == known.end())
        audit.findings.push_back(std::move(found));
    }
  }
  std::stable_sort(audit.findings.begin(), audit.findings.end(),
                   [](const Finding& left, const Finding& right) {
                     return rank(left.severity) < rank(right.severity);
                   });
  audit.verdict = verdict_of(audit.findings, subject.options);
  audit.to_install = packages_to_install(subject);
  if (const HostFacts* twin = same_target(subject))
    audit.same_target_as = twin->host;
  return audit;
}

}  // namespace

int rank(Severity severity) {
  constexpr std::array worst_first = {Severity::fail, Severity::unknown, Severity::warn,
                                      Severity::ok};
  return static_cast<int>(std::find(worst_first.begin(), worst_first.end(), severity) -
                          worst_first.begin());
}

IgnoredRule parse_ignored(const std::string& text) {
  const std::size_t at = std::min(text.find('@'), text.size());
  const std::string rule = text.substr(0, at);
  std::vector<std::string> names;
  for (const Rule& one : rules)
    names.emplace_back(one.id);
  if (rule == "reachable" || rule == "environment") {
    throw UsageError(
        fmt::format("the rule {} cannot be ignored: nothing can be deployed without it", rule),
        "leave such hosts out with --exclude");
  }
  if (std::find(names.begin(), names.end(), rule) == names.end()) {
    const std::string nearest = suggestion(rule, names);
    throw UsageError(fmt::format("--ignore: there is no rule '{}'", clean_line(rule, 80)),
                     nearest.empty() ? "the rules are " + join(names, ", ") : nearest);
  }
  if (at + 1 == text.size()) {
    throw UsageError(fmt::format("--ignore {} names no host after '@'", text),
                     "write a name or a glob, or leave '@' out");
  }
  return {rule, at < text.size() ? text.substr(at + 1) : ""};
}

bool take_leave_out(std::string& fix, const std::string& host) {
  const std::string offer = leave_out_words + host;
  if (!fix.ends_with(offer))
    return false;
  fix.resize(fix.size() - offer.size());
  for (const std::string_view link : {", or ", "; or ", ", and ", "; ", " "}) {
    if (fix.ends_with(link)) {
      fix.resize(fix.size() - link.size());
      break;
    }
  }
  return true;
}

const RuntimeExports& AuditOptions::no_exports() {
  static const RuntimeExports none;
  return none;
}

bool AuditReport::all_ready() const {
  return std::all_of(hosts.begin(), hosts.end(),
                     [](const HostAudit& host) { return host.verdict == Verdict::ready; });
}

AuditReport audit(const std::vector<SetNeeds>& sets, const Fleet& fleet,
                  const AuditOptions& options) {
  const std::vector<Requirements> nothing;
  const Sets wheels(sets);
  const FleetSummary summary = summarise(fleet);
  SymbolLookup symbols(*options.exports);
  AuditReport report;
  for (const HostFacts& host : fleet.hosts) {
    const SetNeeds* own = wheels.of(host.host);
    report.hosts.push_back(audit_host(
        {own == nullptr ? nothing : own->wheels, host, fleet, summary, options, symbols}));
  }
  report.way_out = way_out(report.hosts, wheels, fleet, options);
  judge_shared(summary, options, report.hosts);
  return report;
}

AuditReport audit(const std::vector<Requirements>& wheels, const Fleet& fleet,
                  const AuditOptions& options) {
  return audit(std::vector<SetNeeds>{{wheels, {}}}, fleet, options);
}

}  // namespace ds
