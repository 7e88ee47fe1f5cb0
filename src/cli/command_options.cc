// SPDX-License-Identifier: Apache-2.0
#include "cli/command_options.h"

#include <CLI/CLI.hpp>

#include "cli/option_groups.h"

namespace ds {
namespace {

void add_change(CLI::App& app, Options& options) {
  app.add_option("--policy", options.policy,
                 "file that says how the rollout proceeds (all at once, all or none)");
  add_treatments(app, options);
  app.add_flag("--prove-rollback", options.prove_rollback,
               "the canary of a policy goes forward, back and forward");
  add_lock(app, options);
}

/// Of commands that go on with a run of the journal.
void add_run(CLI::App& app, Options& options) {
  app.add_option("RUN", options.action, "its id, or a beginning of it (the latest)");
  add_fleet(app, options);
  add_report(app, options);
  app.add_option("--wheel", options.wheels, "where a wheel of that run is now (repeatable)")
      ->allow_extra_args(false);
  app.add_option("-m,--pip_mirror,--pip-mirror", options.pip_mirror,
                 "package index, where pip fetches anything (that run's)");
  app.add_flag("--dry-run", options.dry_run, "facts and audit; no host is changed");
  add_bwlimit(app, options);
  add_change(app, options);
  add_talk(app, options);
}

void add_rollback(CLI::App& app, Options& options) {
  app.add_option("--to", options.to,
                 "release that is there: its SHA-256 or a beginning, previous, or pip: what pip "
                 "installed (previous)");
  app.add_flag("--mixed", options.mixed, "hosts may come to different releases");
  app.add_flag("--no-audit", options.no_audit, "without holding them against the hosts first");
  add_fleet(app, options);
  add_facts(app, options);
  add_audit(app, options);
  add_data(app, options);
  add_report(app, options);
  app.add_flag("--dry-run", options.dry_run, "facts and audit; no host is changed");
  add_change(app, options);
  add_talk(app, options);
}

void add_remove(CLI::App& app, Options& options) {
  app.add_option("RELEASE", options.files, "SHA-256 of a release, or a beginning of it");
  app.add_flag("--all", options.all,
               "all that ds-deploy has there; hosts go back to what pip installed first");
  app.add_flag("--also-shared", options.also_shared,
               "also on a file system that other machines may have: none of them uses it");
  add_fleet(app, options);
  add_report(app, options);
  app.add_flag("--dry-run", options.dry_run, "say what would go; no host is changed");
  add_treatments(app, options);
  add_lock(app, options);
  add_talk(app, options);
}

void add_deploy(CLI::App& app, Options& options) {
  add_fleet(app, options);
  add_facts(app, options);
  add_build(app, options);
  add_source(app, options);
  add_no_clean(app, options);
  add_audit(app, options);
  add_report(app, options);
  app.add_flag("--with-requirements", options.with_requirements,
               "let each host's pip install the Python packages that the wheel requires and it "
               "lacks; torch is never replaced");
  app.add_option("--wheel", options.wheels, "deploy this wheel, build none (repeatable)")
      ->allow_extra_args(false);
  app.add_flag("--dry-run", options.dry_run, "facts, plan and audit; no host is changed");
  app.add_option("--mode", options.mode,
                 "as a release (release), or by the pip of each environment, without a way back "
                 "(pip)")
      ->check(CLI::IsMember({"release", "pip"}));
  app.add_option("--keep", options.keep, "releases that stay on a host beside the active ones (3)")
      ->check(CLI::Range(0, 1000));
  app.add_option("--keep-days", options.keep_days,
                 "on shared file systems remove old releases that were not active for so many days "
                 "(none)")
      ->check(CLI::Range(1, 3650));
  add_bwlimit(app, options);
  add_change(app, options);
  add_talk(app, options);
}

void add_look(CLI::App& app, Options& options) {
  add_fleet(app, options);
  add_facts(app, options);
  add_talk(app, options);
}

/// Of commands that look into the journal too.
void add_look_back(CLI::App& app, Options& options) {
  add_look(app, options);
  add_state(app, options);
}

}  // namespace

const std::vector<CommandEntry>& commands() {
  static const std::vector<CommandEntry> table = {
      {"deploy", "build or reuse the wheel, audit, stage, verify, activate, confirm", add_deploy},
      {"stage", "the first half of a deployment: hosts hold the release, nothing is activated",
       add_deploy},
      {"activate", "the second half: what a run staged is activated and confirmed", add_run},
      {"resume", "goes on with a run that ended early",
       [](CLI::App& app, Options& options) {
         app.add_flag("--owed", options.owed, "bring hosts that were left out what they are owed");
         add_run(app, options);
       }},
      {"rollback", "brings hosts back to a release that they hold", add_rollback},
      {"remove", "takes releases, or all that is ds-deploy's, off hosts", add_remove},
      {"pin", "keeps a release on hosts for a job, and prints what the job has to set",
       [](CLI::App& app, Options& options) {
         app.add_option("RELEASE", options.action, "its SHA-256 or a beginning, or previous")
             ->required();
         app.add_option("--days", options.days, "it stays so long at least (30)")
             ->check(CLI::Range(1, 3650));
         add_look(app, options);
       }},
      {"facts", "what every host is", add_look},
      {"audit", "holds a wheel that exists against every host; changes nothing",
       [](CLI::App& app, Options& options) {
         app.add_option("WHEEL", options.wheels, "the wheel, or several");
         app.add_flag("--installed", options.installed,
                      "what is active on each host, and whether it is as it was sealed");
         add_fleet(app, options);
         add_facts(app, options);
         add_audit(app, options);
         add_report(app, options);
         add_data(app, options);
         add_talk(app, options);
       }},
      {"status", "which release is active on every host, and whether that is decided",
       [](CLI::App& app, Options& options) {
         app.add_flag("--processes", options.processes, "which processes use which release");
         add_look_back(app, options);
       }},
      {"verify", "hashes again what is active on every host, and names what drifted",
       [](CLI::App& app, Options& options) {
         app.add_flag("--owed", options.owed,
                      "run the self-tests that wait for GPUs which were in use");
         add_look_back(app, options);
       }},
      {"history", "the runs of this coordinator, newest first",
       [](CLI::App& app, Options& options) {
         app.add_option("-N,--number", options.number, "how many (20)")
             ->check(CLI::Range(1, 100000));
         app.add_flag("--hosts", options.on_hosts,
                      "what the hosts themselves noted, whoever changed them");
         add_state(app, options);
         add_fleet(app, options);
         add_talk(app, options);
       }},
      {"show", "what one run did, and where it left every host",
       [](CLI::App& app, Options& options) {
         app.add_option("RUN", options.action, "its id, or a beginning of it")->required();
         app.add_flag("--receipt", options.receipt, "the report of the run, as JSON");
         add_state(app, options);
         add_hostfile(app, options);
         add_talk(app, options);
       }},
      {"diff", "what differs between two runs, or between a run and the hosts as they are",
       [](CLI::App& app, Options& options) {
         app.add_option("RUN", options.files,
                        "two runs, by their ids or beginnings of these; now in place of the second")
             ->required();
         add_state(app, options);
         add_fleet(app, options);
         add_talk(app, options);
       }},
      {"report", "what is installed and whether it can be loaded",
       [](CLI::App& app, Options& options) {
         app.add_flag("--gpus", options.gpus,
                      "the GPUs that are known, with what compiles for them; no host is asked");
         add_data(app, options);
         add_fleet(app, options);
         add_talk(app, options);
       }},
      {"inspect", "what a wheel or a library really needs",
       [](CLI::App& app, Options& options) {
         app.add_option("FILE", options.files, "wheels, libraries, or folders of libraries")
             ->required();
         app.add_flag("--diff", options.diff, "what the second of two has otherwise");
         add_scan(app, options);
         add_data(app, options);
         // So that one set of options serves every command; nothing is asked of the hosts.
         add_hostfile(app, options);
         add_talk(app, options);
       }},
      {"build", "the wheel only",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         add_facts(app, options);
         add_build(app, options);
         add_source(app, options);
         add_no_clean(app, options);
         app.add_option("--explain-flags", options.explain_flags,
                        "print the tree's flags of one op beside ours, compile nothing");
         app.add_option("--output", options.output, "where the wheel goes (dist)");
         app.add_flag("--dry-run", options.dry_run, "print the plan, compile nothing");
         add_talk(app, options);
       }},
      {"jit", "one op for this machine, into the extension cache",
       [](CLI::App& app, Options& options) {
         app.add_option("OP", options.action, "the op's name")->required();
         app.add_option("--python", options.python, "interpreter that will load it");
         add_build(app, options);
         add_talk(app, options);
         app.parse_complete_callback([&options] { options.local_only = true; });
       }},
      {"cache", "the store of what was built: show, trim, verify",
       [](CLI::App& app, Options& options) {
         app.add_option("ACTION", options.action,
                        "show what it holds, trim it to --cache-size, or verify every file")
             ->required()
             ->check(CLI::IsMember({"show", "trim", "verify"}));
         add_cache(app, options);
         add_hostfile(app, options);
         add_talk(app, options);
       }},
      {"ping", "one no-op command on every host",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         add_talk(app, options);
       }},
      {"trust", "shows the keys of hosts that are not known and, once confirmed, adds them",
       [](CLI::App& app, Options& options) {
         add_fleet(app, options);
         app.add_flag("-y,--yes", options.yes, "add the keys without asking");
         add_talk(app, options);
       }}};
  return table;
}

}  // namespace ds
