// SPDX-License-Identifier: Apache-2.0
#include "cli/option_groups.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cli/foresight.h"
#include "config/config.h"

namespace ds {

void add_talk(CLI::App& app, Options& options) {
  app.add_flag("--json", options.json, "print the result as JSON");
  app.add_option("-j,--jobs", options.jobs,
                 "compile jobs at one time, where any run (MAX_JOBS, else one per core)")
      ->check(CLI::Range(1, 4096));
  app.add_option("--events", options.events, "write progress as JSON lines to this file too");
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
  app.add_option("--message", options.message, "why, for the history that each host keeps");
  app.add_flag("--break-lock", options.break_lock,
               "take a host also from a run of which it cannot tell whether it lives");
  add_state(app, options);
}

/// Of the policy's keys, where one word says it all.
void add_treatments(CLI::App& app, Options& options) {
  for (const TreatmentKey& key : treatment_keys()) {
    const auto set = [&options, &key](const std::string& text) {
      Policy tried;
      apply_treatment(tried, key, text);
      options.treatments[key.name] = text;
    };
    app.add_option_function<std::string>(key.flag(), set, key.summary);
  }
  app.add_flag("--accept-left-out", options.accept_left_out,
               "hosts that were left out count for no exit status");
  app.add_option("--until", options.until,
                 "begin no wave that would end later: 05:30, or 2h from now")
      ->check([](const std::string& text) {
        return std::string(parse_until(text, 0) ? "" : "write a time such as 05:30, 90m or 2h");
      });
  app.add_flag("-y,--yes", options.yes, "change several hosts without asking");
}

}  // namespace ds
