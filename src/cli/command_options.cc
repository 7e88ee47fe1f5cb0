// SPDX-License-Identifier: Apache-2.0
#include "cli/command_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"

namespace ds {
namespace {

void add_talk(CLI::App& app, Options& options) {
  app.add_flag("--json", options.json, "print the result as JSON");
  app.add_option("-j,--jobs", options.jobs,
                 "compile jobs at one time, where any run (MAX_JOBS, else one per core)")
      ->check(CLI::Range(1, 4096));
  app.add_flag("-v,--verbose", options.verbose, "also commands, passes and notes");
  app.add_flag("-q,--quiet", options.quiet, "no progress");
  app.add_option("--color", options.color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
}

void add_hostfile(CLI::App& app, Options& options) {
  app.add_option("-H,--hostfile", options.hostfiles,
                 "hosts, in DeepSpeed's format; -: stdin (repeatable; /job/hostfile)")
      ->allow_extra_args(false);
}

void add_fleet(CLI::App& app, Options& options) {
  add_hostfile(app, options);
  app.add_flag("-l,--local_only,--local-only", options.local_only, "this machine alone");
  app.add_option("--slurm-job", options.slurm_job,
                 "the nodes of this job; within a job its nodes are the default");
  app.add_option("-i,--include", options.include, "NODE_SPEC of hosts: worker-0@worker-1:0,2");
  app.add_option("-e,--exclude", options.exclude, "NODE_SPEC of hosts or slots to leave out");
  app.add_option("--limit", options.limit,
                 "only these: a name, node[01-16,20], a glob or @tag (repeatable)")
      ->allow_extra_args(false);
  app.add_option("--python", options.python, "interpreter of the environment to deploy to");
  app.add_option("-F,--ssh-config", options.ssh_config,
                 "configuration file, as ssh -F; none: none");
  app.add_option("-o,--ssh-option", options.ssh_options, "Key=Value, as ssh -o (repeatable)")
      ->allow_extra_args(false);
  app.add_option("--ssh-backend", options.ssh_backend,
                 "libssh2, openssh (a process for each host), or auto (auto)")
      ->check(CLI::IsMember({"auto", "libssh2", "openssh"}));
  app.add_flag("-s,--sudo,--pip_sudo", options.sudo, "be root on the hosts, by sudo -n");
  app.add_flag("-K,--ask-sudo-password", options.ask_sudo_password,
               "the same, with a password that is asked for once");
  app.add_option("-f,--fanout", options.fanout, "handshakes and uploads at one time (64)")
      ->check(CLI::Range(1, 100000));
  app.add_option("--connect-timeout", options.connect_timeout, "seconds for one connection (15)")
      ->check(CLI::Range(1, 86400));
  app.add_option("--login-timeout", options.login_timeout, "seconds for one login (30)")
      ->check(CLI::Range(1, 86400));
}

void add_facts(CLI::App& app, Options& options) {
  app.add_option("--facts", options.facts, "replay saved facts instead of asking the hosts");
  app.add_option("--save-facts", options.save_facts, "write what the hosts said to a file");
}

void add_data(CLI::App& app, Options& options) {
  app.add_option("--data", options.data,
                 "catalog of CUDA toolkits, drivers and GPUs (the one that came along)");
}

void add_cache(CLI::App& app, Options& options) {
  app.add_option("--cache-dir", options.cache_folder,
                 "results of earlier builds ($XDG_CACHE_HOME/ds-deploy/cache)");
  app.add_option("--cache-size", options.cache_size, "what it may hold after a build (20G)");
}

void add_build(CLI::App& app, Options& options) {
  app.add_option("--ops", options.ops, "folder of the op library (the one that came along)");
  app.add_option("--build-dir", options.build_folder,
                 "objects and wheels ($XDG_CACHE_HOME/ds-deploy)");
  app.add_option("-k,--keep-going", options.keep_going, "stop after N failed jobs, 0: never (1)")
      ->check(CLI::Range(0, 1000000));
  app.add_option("--max-load", options.max_load, "no second job while the load is higher (any)")
      ->check(CLI::Range(0.0, 100000.0));
  app.add_option("--memory-limit", options.memory_limit,
                 "memory for all jobs together, such as 16G (what is free)");
  app.add_option("--job-timeout", options.job_timeout, "seconds for one job (3600)")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--arch-policy", options.arch_policy,
                 "code for each GPU of the hosts (exact), for the lowest of each major version "
                 "(cover), or for the lowest and its PTX (ptx)")
      ->check(CLI::IsMember({"exact", "cover", "ptx"}));
  app.add_option("--cpu-level", options.cpu_level,
                 "x86-64 level of the host code: 1 to 4, or what all hosts have (shared)")
      ->check(CLI::IsMember({"shared", "1", "2", "3", "4"}));
  app.add_option("--launcher", options.launcher, "before each compile: ccache, sccache, distcc");
  app.add_flag("--explain", options.explain, "say of each job why it runs");
  app.add_option("--trace", options.trace, "write a timeline for Perfetto or chrome://tracing");
  app.add_flag("--verify-reproducible", options.verify_reproducible,
               "build twice, compare byte for byte");
  add_cache(app, options);
  add_data(app, options);
}

void add_source(CLI::App& app, Options& options) {
  app.add_option("--source", options.source,
                 "a DeepSpeed tree or sdist in place of the op library; --python names its torch");
  app.add_option("--env", options.environments,
                 "environment with the hosts' Python and torch to build it with, or a file of "
                 "requirements that pip makes one from (repeatable)")
      ->allow_extra_args(false);
  app.add_option("-m,--pip_mirror,--pip-mirror", options.pip_mirror,
                 "package index, where pip fetches anything (what pip's configuration says)");
  app.add_flag("--debug-info", options.debug_info, "keep the debug information that it asks for");
  app.add_flag("--no-pch", options.no_pch, "compile torch's headers anew for each of its sources");
}

void add_no_clean(CLI::App& app, Options& options) {
  app.add_flag("-n,--no_clean,--no-clean", options.no_clean,
               "as install.sh's; without effect, since what was built is always kept (see cache)");
}

void add_scan(CLI::App& app, Options& options) {
  app.add_flag("--scan-instructions", options.scan_instructions,
               "disassemble the libraries too, for the CPU that their code needs");
}

void add_audit(CLI::App& app, Options& options) {
  app.add_flag("--require-gpu", options.require_gpu, "a host without a GPU is refused");
  app.add_flag("--strict", options.strict, "warnings refuse a host too");
  add_scan(app, options);
  app.add_option("--ignore", options.ignore,
                 "RULE or RULE@HOSTS (a name or a glob): what it finds is a warning (repeatable)")
      ->allow_extra_args(false);
}

void add_report(CLI::App& app, Options& options) {
  app.add_option("--format", options.format,
                 "of the report: text, json (as --json), or github, text with annotations (text)")
      ->check(CLI::IsMember({"text", "json", "github"}));
  app.add_option("--junit", options.junit, "write the report for CI as JUnit XML; -: to stdout");
  app.add_option("--html", options.html,
                 "write it as one page that sorts and filters; -: to stdout");
}

void add_bwlimit(CLI::App& app, Options& options) {
  const auto set = [&options](const std::string& text) {
    options.bwlimit = parse_rate(text);
    if (!options.bwlimit) {
      throw UsageError(fmt::format("--bwlimit is '{}', which is no rate", clean_line(text)),
                       "write KiB per second, or a number with K, M or G, as in 20M: 1K at least, "
                       "or 0 for no limit");
    }
  };
  app.add_option_function<std::string>(
      "--bwlimit", set,
      "most bytes of wheels in a second, to all hosts together, as rsync's: 20M (no limit)");
}

void add_state(CLI::App& app, Options& options) {
  app.add_option("--state-dir", options.state_dir,
                 "folder of the journal of runs ($XDG_STATE_HOME/ds-deploy)");
}

/// Of commands that change hosts.
void add_lock(CLI::App& app, Options& options) {
  app.add_option("--owner-group", options.owner_group,
                 "group on the hosts whose members own what is written there (the caller's)");
  app.add_flag("--break-lock", options.break_lock,
               "take a host also from a run of which it cannot tell whether it lives");
  add_state(app, options);
}

/// Of the policy's keys, where one word says it all.
void add_treatments(CLI::App& app, Options& options) {
  static const std::map<std::string, std::string> help = {
      {"unreachable",
       "hosts that give no answer or refuse the login: stop, leave-out[=N|N%], "
       "wait=TIME (stop)"},
      {"incompatible", "hosts that the audit refuses: stop, leave-out[=N|N%] (stop)"},
      {"busy", "hosts that a job has: proceed, stop, leave-out[=N|N%], wait=TIME (proceed)"},
      {"without_dead_man",
       "hosts that could not go back by themselves: stop, leave-out[=N|N%], proceed (stop)"}};
  for (const TreatmentKey& key : treatment_keys()) {
    std::string flag = "--" + key.name;
    std::replace(flag.begin(), flag.end(), '_', '-');
    const auto set = [&options, &key](const std::string& text) {
      Policy tried;
      apply_treatment(tried, key, text);
      options.treatments[key.name] = text;
    };
    app.add_option_function<std::string>(flag, set, help.at(key.name));
  }
  app.add_flag("--accept-left-out", options.accept_left_out,
               "hosts that were left out count for no exit status");
}

void add_change(CLI::App& app, Options& options) {
  app.add_option("--policy", options.policy,
                 "file that says how the rollout proceeds (all at once, all or none)");
  add_treatments(app, options);
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
  app.add_flag("--all", options.all, "all that ds-deploy has there, where nothing is active");
  add_fleet(app, options);
  add_report(app, options);
  app.add_flag("--dry-run", options.dry_run, "say what would go; no host is changed");
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
  add_bwlimit(app, options);
  add_change(app, options);
  add_talk(app, options);
}

void add_look(CLI::App& app, Options& options) {
  add_fleet(app, options);
  add_facts(app, options);
  add_talk(app, options);
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
      {"remove", "takes releases that nobody uses off hosts", add_remove},
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
         add_look(app, options);
         add_state(app, options);
       }},
      {"verify", "hashes again what is active on every host, and names what drifted",
       [](CLI::App& app, Options& options) {
         app.add_flag("--owed", options.owed,
                      "run the self-tests that wait for GPUs which were in use");
         add_look(app, options);
         add_state(app, options);
       }},
      {"history", "the runs of this coordinator, newest first",
       [](CLI::App& app, Options& options) {
         app.add_option("-N,--number", options.number, "how many (20)")
             ->check(CLI::Range(1, 100000));
         add_state(app, options);
         add_hostfile(app, options);
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
