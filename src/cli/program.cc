// SPDX-License-Identifier: Apache-2.0
//
// The pipeline. Data goes one way: a value enters a stage, a new value leaves it.
#include "cli/program.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include "artifact/artifact.h"
#include "audit/audit.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/random.h"
#include "base/text.h"
#include "cli/history.h"
#include "cli/hosts_exports.h"
#include "cli/jit.h"
#include "cli/look.h"
#include "cli/pack_wheel.h"
#include "cli/plan_source.h"
#include "cli/plan_wheel.h"
#include "cli/publish.h"
#include "cli/report_ops.h"
#include "cli/run_build.h"
#include "cli/session.h"
#include "cli/status.h"
#include "cli/trust.h"
#include "cli/wheel_sets.h"
#include "report/report.h"
#include "rollout/rollout.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// "20261123-214501-3fa9": sorts by time; hosts tell runs apart by it, whoever started them.
std::string new_run_id() {
  return fmt::format("{:%Y%m%d-%H%M%S}-{}", fmt::gmtime(std::time(nullptr)),
                     random_nonce().substr(0, 6));
}

AuditOptions audit_options(Session& session) {
  const Options& options = session.options();
  AuditOptions audit;
  audit.require_gpu = options.require_gpu;
  audit.strict = options.strict;
  for (const std::string& text : options.ignore)
    audit.ignored.push_back(parse_ignored(text));
  audit.needs_environment = options.command != "audit";
  audit.catalog = &session.catalog();
  if (!options.local_only && options.facts.empty()) {
    for (const Host& host : session.inventory().hosts)
      audit.slots[host.name] = host.slots;
  }
  audit.with_requirements = options.with_requirements;
  audit.installed = options.installed;
  return audit;
}

void refuse_missing_environment(Session& session) {
  if (!session.options().facts.empty() || session.options().command == "audit")
    return;
  for (const Host& host : session.inventory().hosts) {
    if (!target_python(host, session.probe()).empty())
      return;
  }
  throw UsageError("no environment to deploy to was named",
                   "give --python /path/of/venv/bin/python, write python= in the hostfile, or "
                   "activate a virtual environment that is at the same path on the hosts");
}

/// The journal of this run; a network file system is worth a word.
Journal open_journal(Session& session) {
  Journal journal = Journal::open(state_folder(session.options()));
  if (!journal.network().empty()) {
    session.status().warning("the journal is on " + journal.network() +
                             ", where one run at a time can keep it; --state-dir names a folder "
                             "of this machine");
  }
  return journal;
}

ExitStatus finish(Report report, Session& session, const StageTimes& times, Journal* journal) {
  report.environment = session.environment();
  report.command = session.options().command;
  report.seconds = times.seconds;
  const std::vector<std::string> reached = session.transport().notes();
  report.notes.insert(report.notes.end(), reached.begin(), reached.end());
  const ExitStatus status = publish(report, session);
  try {
    if (journal != nullptr)
      journal->finish_run(report.run, static_cast<int>(status), report_json(report));
  } catch (const Error& error) {
    session.status().warning(error.what());
  }
  return status;
}

/// A run that ended early has a report all the same.
void say_how_it_ended(Report& report, Session& session) {
  if (report.interrupted)
    report.notes.emplace_back("the run was interrupted");
  if (!report.stopped)
    return;
  const std::string fix = report.stopped->fix();
  report.notes.push_back("the run was stopped: " + report.stopped->what() +
                         (fix.empty() ? "" : "; " + fix));
  session.status().warning(report.notes.back());
}

/// --policy's, else all hosts at once, all or none.
Policy policy_of(const Options& options) {
  const std::string& file = options.policy;
  return file.empty() ? Policy{} : read_policy(read_file(expand_home(file), 1u << 20), file);
}

/// Whoever comes from install.sh expects pip to fetch what the wheel requires.
void warn_idle_mirror(Session& session) {
  const Options& options = session.options();
  if (!options.pip_mirror.empty() && !options.with_requirements && options.environments.empty()) {
    session.status().warning(
        "--pip_mirror has no effect: pip fetches nothing on the hosts without --with-requirements");
  }
}

ExitStatus deploy(Session& session) {
  const bool dry_run = session.options().dry_run || session.options().command == "audit";
  refuse_unwritable_reports(session.options());
  StageTimes times;
  Report report;
  report.run = new_run_id();
  report.dry_run = dry_run;

  const Policy policy = policy_of(session.options());
  std::optional<Journal> journal;
  if (!dry_run)
    journal.emplace(open_journal(session));
  warn_idle_mirror(session);
  refuse_missing_environment(session);
  if (session.options().installed)
    session.check_releases();
  const Fleet& fleet = session.fleet();
  times.finished("facts");
  // From here on no host is added.

  const std::vector<WheelSet> sets =
      dry_run ? wheels_of_dry_run(session, report) : obtain_wheels(session, report, times);
  const Inspection how{.catalog = &session.catalog(),
                       .scan_instructions = session.options().scan_instructions};
  std::vector<SetNeeds> needs;
  std::vector<ReleaseSet> releases;
  for (const WheelSet& set : sets) {
    needs.push_back({set.predicted, set.hosts});
    releases.push_back({{}, set.hosts});
    for (const Wheel& wheel : set.wheels) {
      needs.back().wheels.push_back(inspect_wheel(wheel, how));
      report.wheels.push_back(reported_wheel(wheel, needs.back().wheels.back(), set.hosts));
      releases.back().parcels.push_back(parcel_of(wheel));
    }
  }
  times.finished("wheel");
  // From here on the wheels do not change.

  const RuntimeExports exports = hosts_exports(needs, session);
  AuditOptions options = audit_options(session);
  options.exports = &exports;
  report.audit = audit(needs, fleet, options);
  times.finished("audit");
  for (const std::string& warning : session.transport().warnings())
    session.status().warning(warning);

  if (dry_run) {
    report.hosts = predict(fleet, report.audit, releases);
  } else {
    RolloutOptions rollout;
    rollout.run = report.run;
    rollout.probe = session.probe();
    rollout.scratch = cache_home();
    rollout.pip_mirror = session.options().pip_mirror;
    rollout.policy = policy;
    rollout.user = user_name();
    rollout.machine = host_name();
    rollout.break_lock = session.options().break_lock;
    begin_run(*journal, report, policy, releases, session);
    rollout.journal = &*journal;
    RolloutResult result = roll_out(session.inventory(), fleet, report.audit, releases, rollout,
                                    session.transport(), session.status());
    report.hosts = std::move(result.hosts);
    report.interrupted = result.interrupted;
    report.stopped = std::move(result.stopped);
    say_how_it_ended(report, session);
  }
  times.finished("rollout");
  return finish(std::move(report), session, times, journal ? &*journal : nullptr);
}

ExitStatus build_only(Session& session) {
  const Options& options = session.options();
  if (!options.explain_flags.empty()) {
    std::fputs(clean(explain_source_flags(session)).c_str(), stdout);
    return ExitStatus::ok;
  }
  const std::vector<PlannedWheel> planned = plan_wheels(session);
  if (options.dry_run) {
    const std::string text = options.json ? plans_json(planned, session)
                                          : "environment  " + session.environment() + "\n" +
                                                plans_text(planned, options.verbose);
    std::fputs(text.c_str(), stdout);
    return ExitStatus::ok;
  }
  warn_of_plans(planned, session.status());
  const fs::path output = fs::absolute(options.output.empty() ? "dist" : options.output);
  for (const fs::path& wheel : make_wheels(planned, output, session)) {
    const std::string text =
        options.json ? inspect_json(inspect_file(wheel, {.catalog = &session.catalog()})) + "\n"
                     : wheel.string() + "\n";
    std::fputs(text.c_str(), stdout);
  }
  return ExitStatus::ok;
}

}  // namespace

ExitStatus run_program(const Options& options) {
  if (options.command == "inspect")
    return inspect_files(options);
  Session session(options);
  if (options.command == "cache")
    return manage_cache(session);
  if (options.command == "history")
    return show_history(options);
  if (options.command == "show")
    return show_run(options);
  if (options.command == "jit")
    return jit(session);
  if (options.command == "build")
    return build_only(session);
  if (options.command == "facts")
    return show_facts(session);
  if (options.command == "status")
    return show_status(session);
  if (options.command == "report")
    return show_report(session);
  if (options.command == "ping")
    return ping(session);
  if (options.command == "trust")
    return trust(session);
  return deploy(session);
}

}  // namespace ds
