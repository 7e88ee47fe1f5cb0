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
#include "base/text.h"
#include "cli/jit.h"
#include "cli/look.h"
#include "cli/pack_wheel.h"
#include "cli/plan_source.h"
#include "cli/plan_wheel.h"
#include "cli/run_build.h"
#include "cli/session.h"
#include "cli/trust.h"
#include "report/report.h"
#include "rollout/rollout.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// "20261123-214501-4711": sorts by time, unique on one coordinator.
std::string new_run_id() {
  return fmt::format("{:%Y%m%d-%H%M%S}-{}", fmt::gmtime(std::time(nullptr)), ::getpid());
}

/// Seconds of each stage, for the report.
class StageTimes {
 public:
  void finished(const std::string& stage) {
    const auto now = std::chrono::steady_clock::now();
    seconds[stage] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  std::map<std::string, double> seconds;

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

AuditOptions audit_options(const Options& options) {
  AuditOptions audit;
  audit.require_gpu = options.require_gpu;
  audit.strict = options.strict;
  audit.needs_environment = options.command != "audit";
  audit.with_requirements = options.with_requirements;
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

ExitStatus finish(Report report, Session& session, const StageTimes& times) {
  report.environment = session.environment();
  report.command = session.options().command;
  report.seconds = times.seconds;
  const std::vector<std::string> reached = session.transport().notes();
  report.notes.insert(report.notes.end(), reached.begin(), reached.end());
  const std::string text =
      session.options().json ? report_json(report) : report_text(report, session.options().verbose);
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
  return exit_status(report);
}

void say_left_out(const BuildPlan& plan, Report& report) {
  for (const LeftOutOp& op : plan.left_out)
    report.left_out.push_back(op.name + ": " + op.because);
  report.notes = plan.notes;
}

/// The wheels that were named, each a distribution of its own: on a host the first would hide the
/// second.
std::vector<Wheel> named_wheels(const Options& options) {
  std::vector<Wheel> wheels;
  for (const std::string& file : options.wheels) {
    wheels.push_back(open_wheel(fs::absolute(expand_home(file))));
    const std::string name = normalised_name(wheels.back().name);
    for (std::size_t i = 0; i + 1 < wheels.size(); ++i) {
      if (normalised_name(wheels[i].name) != name)
        continue;
      throw UsageError(
          fmt::format("{} and {} are both wheels of {}: only one of them could be imported",
                      wheels[i].file.string(), wheels.back().file.string(), name),
          "name one of them");
    }
  }
  return wheels;
}

/// The wheels that go out: those that were named, else the one that is built from the ops.
std::vector<Wheel> obtain_wheels(Session& session, Report& report, StageTimes& times) {
  std::vector<Wheel> wheels = named_wheels(session.options());
  if (!wheels.empty())
    return wheels;
  const PlannedWheel planned = plan_wheel(session);
  say_left_out(planned.plan, report);
  times.finished("plan");
  wheels.push_back(open_wheel(make_wheel(planned, planned.folder / "wheels", session)));
  times.finished("build");
  return wheels;
}

/// A dry run compiles nothing: a wheel of this plan that is there is read, else it is predicted.
void dry_run_wheels(Session& session, Report& report, std::vector<Wheel>& wheels,
                    std::vector<Requirements>& requirements) {
  wheels = named_wheels(session.options());
  if (!wheels.empty())
    return;
  const PlannedWheel planned = plan_wheel(session);
  say_left_out(planned.plan, report);
  report.plan_text = plan_text(planned.plan, session.options().verbose);
  report.plan_json = plan_json(planned.plan, session.environment());
  const fs::path built = planned.folder / "wheels" / wheel_file_name(planned.plan);
  if (fs::exists(built)) {
    wheels.push_back(open_wheel(built));
    return;
  }
  requirements.push_back(predicted_requirements(planned));
  report.notes.push_back(
      "the wheel is not built yet: what it needs is predicted from the plan; the packages that it "
      "requires, glibc, libstdc++ and size are known after 'ds-deploy build'");
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

/// Whoever comes from install.sh expects pip to fetch what the wheel requires.
void warn_idle_mirror(Session& session) {
  const Options& options = session.options();
  if (!options.pip_mirror.empty() && !options.with_requirements) {
    session.status().warning(
        "--pip_mirror has no effect: pip fetches nothing on the hosts without --with-requirements");
  }
}

ExitStatus deploy(Session& session) {
  const bool dry_run = session.options().dry_run || session.options().command == "audit";
  StageTimes times;
  Report report;
  report.run = new_run_id();
  report.dry_run = dry_run;

  warn_idle_mirror(session);
  refuse_missing_environment(session);
  const Fleet& fleet = session.fleet();
  times.finished("facts");
  // From here on no host is added.

  std::vector<Wheel> wheels;
  std::vector<Requirements> requirements;
  if (dry_run) {
    dry_run_wheels(session, report, wheels, requirements);
  } else {
    wheels = obtain_wheels(session, report, times);
  }
  for (const Wheel& wheel : wheels)
    requirements.push_back(inspect_wheel(wheel));
  for (const Wheel& wheel : wheels) {
    report.wheels.push_back(reported_wheel(wheel, requirements[report.wheels.size()]));
  }
  times.finished("wheel");
  // From here on the wheels do not change.

  report.audit = audit(requirements, fleet, audit_options(session.options()));
  times.finished("audit");
  for (const std::string& warning : session.transport().warnings())
    session.status().warning(warning);
  std::vector<Parcel> parcels;
  for (const Wheel& wheel : wheels)
    parcels.push_back(parcel_of(wheel));

  if (dry_run) {
    report.hosts = predict(fleet, report.audit, parcels);
  } else {
    RolloutOptions rollout;
    rollout.run = report.run;
    rollout.probe = session.probe();
    rollout.pip_mirror = session.options().pip_mirror;
    RolloutResult result = roll_out(session.inventory(), fleet, report.audit, parcels, rollout,
                                    session.transport(), session.status());
    report.hosts = std::move(result.hosts);
    report.interrupted = result.interrupted;
    report.stopped = std::move(result.stopped);
    say_how_it_ended(report, session);
  }
  times.finished("rollout");
  return finish(std::move(report), session, times);
}

/// One line for each reason.
void warn_left_out(const BuildPlan& plan, Status& status) {
  std::vector<std::pair<std::string, std::vector<std::string>>> reasons;
  for (const LeftOutOp& op : plan.left_out) {
    const auto known = std::find_if(reasons.begin(), reasons.end(),
                                    [&op](const auto& one) { return one.first == op.because; });
    if (known == reasons.end())
      reasons.push_back({op.because, {op.name}});
    else
      known->second.push_back(op.name);
  }
  for (const auto& [because, ops] : reasons) {
    status.warning(fmt::format("{} {} left out: {}", join(ops, ", "),
                               ops.size() == 1 ? "is" : "are", because));
  }
}

ExitStatus build_only(Session& session) {
  const Options& options = session.options();
  if (!options.explain_flags.empty()) {
    std::fputs(clean(explain_source_flags(session)).c_str(), stdout);
    return ExitStatus::ok;
  }
  const PlannedWheel planned = plan_wheel(session);
  if (options.dry_run) {
    const std::string text = options.json ? plan_json(planned.plan, session.environment())
                                          : "environment  " + session.environment() + "\n" +
                                                plan_text(planned.plan, options.verbose);
    std::fputs(text.c_str(), stdout);
    return ExitStatus::ok;
  }
  warn_left_out(planned.plan, session.status());
  for (const std::string& note : planned.plan.notes)
    session.status().warning(note);
  const fs::path output = fs::absolute(options.output.empty() ? "dist" : options.output);
  const fs::path wheel = make_wheel(planned, output, session);
  const std::string text =
      options.json ? inspect_json(inspect_file(wheel)) + "\n" : wheel.string() + "\n";
  std::fputs(text.c_str(), stdout);
  return ExitStatus::ok;
}

}  // namespace

ExitStatus run_program(const Options& options) {
  if (options.command == "inspect")
    return inspect_files(options);
  Session session(options);
  if (options.command == "cache")
    return manage_cache(session);
  if (options.command == "jit")
    return jit(session);
  if (options.command == "build")
    return build_only(session);
  if (options.command == "facts")
    return show_facts(session);
  if (options.command == "report")
    return show_report(session);
  if (options.command == "ping")
    return ping(session);
  if (options.command == "trust")
    return trust(session);
  return deploy(session);
}

}  // namespace ds
