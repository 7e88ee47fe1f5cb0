// SPDX-License-Identifier: Apache-2.0
#include "cli/undertaking.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "audit/audit.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/random.h"
#include "base/text.h"
#include "cli/foresight.h"
#include "cli/held_releases.h"
#include "cli/history.h"
#include "cli/hosts_exports.h"
#include "cli/owed.h"
#include "cli/pack_wheel.h"
#include "cli/pip_mode.h"
#include "cli/publish.h"
#include "cli/slow_hosts.h"
#include "cli/treatments.h"

namespace ds {
namespace {

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
  for (const Host& host : session.inventory().hosts) {
    if (host.writer)
      audit.writers.insert(host.name);
  }
  if (!options.local_only && options.facts.empty()) {
    // Those that no hostfile names have what the scheduler said, which may be nothing.
    for (const Host& host : session.inventory().hosts) {
      if (host.line > 0)
        audit.slots[host.name] = host.slots;
    }
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

void take_result(RolloutResult result, Report& report, Session& session) {
  report.hosts = std::move(result.hosts);
  note_slow_hosts(report, session.fleet());
  report.interrupted = result.interrupted;
  report.stopped = std::move(result.stopped);
  say_how_it_ended(report, session);
}

/// What ended early can be finished, at once without the hosts that can be left out.
void say_how_to_go_on(Report& report, Session& session) {
  const bool all = std::all_of(report.hosts.begin(), report.hosts.end(), [&](const auto& host) {
    return is_goal(host.state, report) || host.left_out;
  });
  if (all)
    return;
  const Options& options = session.options();
  if (options.command == "remove") {
    report.notes.emplace_back("what is left goes when the command is given again");
    return;
  }
  const std::string& folder = options.state_dir;
  const std::string words = options.owed ? options.command + " --owed" : "resume " + report.run;
  const std::string command =
      "ds-deploy " + words + (folder.empty() ? "" : " --state-dir " + shell_quote(folder));
  report.notes.push_back("to go on once the cause is mended: " + command);
  const std::string flags = flags_to_leave_out(report.hosts);
  if (!flags.empty() && !options.owed)
    report.notes.push_back("to go on without those hosts: " + command + " " + flags);
}

/// Of a dry run.
void take_prediction(Prediction prediction, Report& report) {
  report.hosts = std::move(prediction.hosts);
  if (!prediction.stopped.empty())
    report.notes.push_back("a run would begin nowhere: " + prediction.stopped);
  const std::string flags = flags_to_leave_out(report.hosts);
  if (!flags.empty() && report.command != "audit")
    report.notes.push_back("a run goes on without these hosts only with " + flags);
}

/// Whoever answers is taken as it is; what the audit tells then is which hosts are one.
AuditReport without_audit(Session& session) {
  AuditReport report = audit(std::vector<SetNeeds>{}, session.fleet(), audit_options(session));
  report.way_out = {};
  for (HostAudit& host : report.hosts) {
    host.findings.clear();
    if (host.verdict == Verdict::refused)
      host.verdict = Verdict::ready;
  }
  return report;
}

void audit_hosts(Undertaking& undertaking, Session& session) {
  if (undertaking.audited) {
    const RuntimeExports exports = hosts_exports(undertaking.needs, session);
    AuditOptions options = audit_options(session);
    options.exports = &exports;
    undertaking.report.audit = audit(undertaking.needs, session.fleet(), options);
  } else {
    undertaking.report.audit = without_audit(session);
  }
  undertaking.times.finished("audit");
  for (const std::string& warning : session.transport().warnings())
    session.status().warning(warning);
}

/// Where jobs are all that is in the way. True if hosts were asked anew.
bool wait_for_jobs(const Undertaking& undertaking, Session& session) {
  const Prediction now =
      predict(session.fleet(), undertaking.report.audit, undertaking.releases, undertaking.policy);
  const bool others = std::any_of(now.hosts.begin(), now.hosts.end(), [](const HostOutcome& host) {
    return !host.left_out && host.state != HostState::ready && host.state != HostState::unchanged &&
           hindrance_of(host) != "busy";
  });
  return !others && wait_for_busy(undertaking.policy, undertaking.releases, session);
}

RolloutOptions rollout_options(const Undertaking& undertaking, Session& session) {
  const Options& options = session.options();
  RolloutOptions rollout;
  rollout.goal = undertaking.goal;
  rollout.sealed_there = undertaking.sealed_there;
  rollout.run = undertaking.report.run;
  rollout.probe = session.probe();
  rollout.scratch = cache_home();
  rollout.bytes_per_second = options.bwlimit.value_or(0);
  rollout.pip_mirror = options.pip_mirror;
  rollout.policy = undertaking.policy;
  rollout.user = user_name();
  rollout.machine = host_name();
  rollout.command = options.command;
  rollout.message = clean_line(options.message, 500);
  rollout.keep = static_cast<std::size_t>(options.keep.value_or(3));
  rollout.keep_days = options.keep_days;
  rollout.break_lock = options.break_lock;
  rollout.also_shared = options.also_shared;
  rollout.pays = options.owed;
  rollout.until = parse_until(options.until, std::time(nullptr));
  rollout.owner_group = options.owner_group;
  return rollout;
}

HostState state_of(RolloutOptions::Goal goal) {
  switch (goal) {
    case RolloutOptions::Goal::staged:
      return HostState::staged;
    case RolloutOptions::Goal::rolled_back:
      return HostState::rolled_back;
    case RolloutOptions::Goal::removed:
      return HostState::removed;
    case RolloutOptions::Goal::confirmed:
    case RolloutOptions::Goal::proven:
      break;
  }
  return HostState::confirmed;
}

/// Nothing where no host would begin.
std::optional<RolloutPlan> planned(const Prediction& prediction, const Undertaking& undertaking,
                                   const RolloutOptions& options, Session& session) {
  const bool stops =
      std::any_of(prediction.hosts.begin(), prediction.hosts.end(), [](const HostOutcome& host) {
        return !host.left_out && host.state != HostState::ready &&
               host.state != HostState::unchanged;
      });
  if (stops || !prediction.stopped.empty() || undertaking.goal == RolloutOptions::Goal::proven)
    return std::nullopt;
  return plan_rollout(session.fleet(), prediction.hosts, undertaking.releases, options);
}

/// A journal that cannot be read tells nothing.
MoveTimes times_before(const Undertaking& undertaking, Session& session) {
  try {
    if (undertaking.journal)
      return earlier_times(*undertaking.journal);
    const auto journal = JournalReader::open(state_folder(session.options()));
    return journal ? earlier_times(*journal) : MoveTimes();
  } catch (const Error&) {
    return {};
  }
}

void foresee(Undertaking& undertaking, Session& session) {
  Report& report = undertaking.report;
  if (undertaking.goal == RolloutOptions::Goal::removed) {
    report.hosts = predict_leaving(session.inventory(), session.fleet(), report.audit,
                                   undertaking.releases, rollout_options(undertaking, session),
                                   session.transport(), session.status());
    return;
  }
  Prediction prediction =
      predict(session.fleet(), report.audit, undertaking.releases, undertaking.policy);
  if (report.command != "audit") {
    RolloutOptions options = rollout_options(undertaking, session);
    options.times = times_before(undertaking, session);
    report.rollout = planned(prediction, undertaking, options, session);
  }
  take_prediction(std::move(prediction), report);
}

void change_hosts(Undertaking& undertaking, Session& session) {
  Report& report = undertaking.report;
  RolloutOptions options = rollout_options(undertaking, session);
  const bool asks = can_be_asked(session.options());
  if (asks || options.until)
    options.times = times_before(undertaking, session);
  if (asks) {
    const Prediction prediction =
        predict(session.fleet(), report.audit, undertaking.releases, undertaking.policy);
    if (const auto plan = planned(prediction, undertaking, options, session))
      ask_to_go_on(*plan, report.goal, session.options());
  }
  Debts debts = debts_of(*undertaking.journal, session);
  begin_run(*undertaking.journal, report, undertaking.policy, undertaking.releases,
            undertaking.resumes, session);
  options.journal = &*undertaking.journal;
  options.unserved = std::move(debts.releases);
  options.unproven = std::move(debts.proofs);
  if (!undertaking.policy.hooks.undrain.command.empty())
    options.drained = undertaking.journal->drains();
  const auto take_there = is_by_pip(session.options()) ? install_by_pip : roll_out;
  take_result(take_there(session.inventory(), session.fleet(), report.audit, undertaking.releases,
                         options, session.transport(), session.status()),
              report, session);
  say_how_to_go_on(report, session);
}

}  // namespace

Undertaking begin_undertaking(Session& session) {
  const Options& options = session.options();
  refuse_unwritable_reports(options);
  Undertaking undertaking;
  undertaking.report.run = new_run_id();
  undertaking.report.command = options.command;
  undertaking.report.dry_run = options.dry_run || options.command == "audit";
  undertaking.policy = policy_of(options);
  if (!undertaking.report.dry_run)
    undertaking.journal.emplace(open_journal(session));
  refuse_missing_environment(session);
  return undertaking;
}

void ask_hosts(Undertaking& undertaking, Session& session) {
  session.fleet();
  if (!undertaking.report.dry_run)
    wait_for_unreachable(undertaking.policy, session);
  undertaking.times.finished("facts");
}

void add_wheels(Undertaking& undertaking, WheelSet set, Session& session) {
  const Inspection how{.catalog = &session.catalog(),
                       .scan_instructions = session.options().scan_instructions};
  SetNeeds& needs = undertaking.needs.emplace_back(SetNeeds{std::move(set.predicted), set.hosts});
  ReleaseSet& release = undertaking.releases.emplace_back(ReleaseSet{{}, set.hosts});
  for (Wheel& each : set.wheels) {
    const Wheel& wheel = undertaking.wheels.emplace_back(std::move(each));
    const Requirements& needed = needs.wheels.emplace_back(inspect_wheel(wheel, how));
    undertaking.report.wheels.push_back(reported_wheel(wheel, needed, set.hosts));
    release.parcels.push_back(parcel_of(wheel));
    release.parcels.back().needs = requirements_json(needed);
    release.parcels.back().for_gpus = has_device_code(needed);
  }
}

ExitStatus remove_from_hosts(Session& session) {
  Undertaking undertaking = begin_undertaking(session);
  Report& report = undertaking.report;
  if (session.options().all) {
    undertaking.goal = RolloutOptions::Goal::removed;
    undertaking.policy = policy_of_removal(session.options());
    undertaking.audited = false;
    undertaking.sealed_there = true;
    undertaking.needs.emplace_back();
    undertaking.releases.emplace_back();  // of no release, on every host
    ask_hosts(undertaking, session);
    return carry_out(undertaking, session);
  }
  report.goal = HostState::removed;
  const std::vector<std::string> releases = releases_to_remove(session.options(), session.fleet());
  report.audit = without_audit(session);
  if (report.dry_run) {
    report.hosts = predict_removal(session.fleet(), report.audit, releases);
    return finish(std::move(report), session, undertaking.times, nullptr);
  }
  RolloutOptions options = rollout_options(undertaking, session);
  begin_run(*undertaking.journal, report, undertaking.policy, {}, {}, session);
  options.journal = &*undertaking.journal;
  take_result(remove_releases(session.inventory(), session.fleet(), report.audit, releases, options,
                              session.transport(), session.status()),
              report, session);
  return finish(std::move(report), session, undertaking.times, &*undertaking.journal);
}

ExitStatus carry_out(Undertaking& undertaking, Session& session) {
  Report& report = undertaking.report;
  report.goal = state_of(undertaking.goal);
  report.accept_left_out = undertaking.policy.accept_left_out;
  audit_hosts(undertaking, session);
  if (!report.dry_run && wait_for_jobs(undertaking, session))
    audit_hosts(undertaking, session);
  if (is_by_pip(session.options()))
    report.notes.emplace_back(by_pip_note);
  if (report.dry_run)
    foresee(undertaking, session);
  else
    change_hosts(undertaking, session);
  undertaking.times.finished("rollout");
  return finish(std::move(report), session, undertaking.times,
                undertaking.journal ? &*undertaking.journal : nullptr);
}

}  // namespace ds
