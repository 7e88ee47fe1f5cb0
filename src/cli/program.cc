// SPDX-License-Identifier: Apache-2.0
//
// The pipeline. Data goes one way: a value enters a stage, a new value leaves it.
#include "cli/program.h"

#include <cstdio>
#include <filesystem>

#include "artifact/artifact.h"
#include "base/text.h"
#include "cli/diff.h"
#include "cli/history.h"
#include "cli/host_history.h"
#include "cli/jit.h"
#include "cli/look.h"
#include "cli/owed.h"
#include "cli/pack_wheel.h"
#include "cli/pin.h"
#include "cli/pip_mode.h"
#include "cli/plan_source.h"
#include "cli/plan_wheel.h"
#include "cli/report_ops.h"
#include "cli/resume.h"
#include "cli/rollback.h"
#include "cli/run_build.h"
#include "cli/session.h"
#include "cli/status.h"
#include "cli/trust.h"
#include "cli/undertaking.h"
#include "cli/verify.h"
#include "cli/wheel_sets.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// Whoever comes from install.sh expects pip to fetch what the wheel requires.
void warn_idle_mirror(Session& session) {
  const Options& options = session.options();
  if (!options.pip_mirror.empty() && !options.with_requirements && options.environments.empty()) {
    session.status().warning(
        "--pip_mirror has no effect: pip fetches nothing on the hosts without --with-requirements");
  }
}

ExitStatus deploy(Session& session) {
  Undertaking undertaking = begin_undertaking(session);
  if (session.options().command == "stage")
    undertaking.goal = RolloutOptions::Goal::staged;
  warn_idle_mirror(session);
  if (session.options().installed)
    session.check_releases();
  if (is_by_pip(session.options()))
    refuse_beside_pip(undertaking.policy, session);
  ask_hosts(undertaking, session);
  // From here on no host is added.

  std::vector<WheelSet> sets = undertaking.report.dry_run
                                   ? wheels_of_dry_run(session, undertaking.report)
                                   : obtain_wheels(session, undertaking.report, undertaking.times);
  for (WheelSet& set : sets)
    add_wheels(undertaking, std::move(set), session);
  undertaking.times.finished("wheel");
  // From here on the wheels do not change.

  return carry_out(undertaking, session);
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
  if (options.command == "resume" || options.command == "activate")
    return options.owed ? resume_owed(options) : resume(options);
  if (options.command == "diff")
    return diff_runs(options);
  Session session(options);
  if (options.command == "cache")
    return manage_cache(session);
  if (options.command == "history")
    return options.on_hosts ? show_host_history(session) : show_history(options);
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
  if (options.command == "pin")
    return pin(session);
  if (options.command == "report")
    return show_report(session);
  if (options.command == "ping")
    return ping(session);
  if (options.command == "trust")
    return trust(session);
  if (options.command == "rollback")
    return roll_back(session);
  if (options.command == "verify")
    return options.owed ? prove_owed(options) : verify_hosts(session);
  if (options.command == "remove")
    return remove_from_hosts(session);
  return deploy(session);
}

}  // namespace ds
