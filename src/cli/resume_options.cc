// SPDX-License-Identifier: Apache-2.0
#include "cli/resume_options.h"

#include <filesystem>

namespace ds {
namespace {

namespace fs = std::filesystem;

std::string within(const std::string& folder, const std::string& path) {
  const bool relative =
      !path.empty() && !path.starts_with('/') && !path.starts_with('~') && path != "none";
  return relative ? (fs::path(folder) / path).string() : path;
}

Options as_called(const RunRecord& run) {
  std::vector<const char*> words;
  for (const std::string& word : run.words)
    words.push_back(word.c_str());
  return parse_options(static_cast<int>(words.size()), words.data());
}

/// What is said later of hosts that are left out counts.
void add_flags(const Options& from, Options& options) {
  for (const auto& [key, text] : from.treatments)
    options.treatments[key] = text;
  options.accept_left_out |= from.accept_left_out;
  options.prove_rollback |= from.prove_rollback;
}

}  // namespace

Options options_of(const std::vector<RunRecord>& chain, const JournalReader& journal,
                   const Options& now) {
  const RunRecord& run = chain.back();
  Options options = as_called(run);
  for (auto later = chain.rbegin() + 1; later != chain.rend(); ++later) {
    const Options then = as_called(*later);
    if (then.bwlimit)
      options.bwlimit = then.bwlimit;
    if (!then.owner_group.empty())
      options.owner_group = then.owner_group;
    add_flags(then, options);
  }
  add_flags(now, options);
  options.command = now.command;
  options.words = now.words;
  const bool same_hosts = now.hostfiles.empty() && now.slurm_job.empty() && !now.local_only;
  // What was owed to some hosts is theirs alone.
  const RunRecord& whose = as_called(chain.front()).owed ? chain.front() : run;
  options.hosts = same_hosts ? journal.text(whose.id, RunText::inventory) : "";
  options.hostfiles = now.hostfiles;
  options.slurm_job = now.slurm_job;
  // The hosts of the journal are those that were chosen; this chooses among them.
  options.include = now.include;
  options.exclude = now.exclude;
  options.limit = now.limit;
  options.local_only = now.local_only;
  options.only = now.only;
  options.owed = now.owed;
  if (same_hosts || !now.python.empty())
    options.python = now.python;  // else each host has its own
  options.sudo |= now.sudo;
  options.ask_sudo_password |= now.ask_sudo_password;
  options.ssh_options.insert(options.ssh_options.begin(), now.ssh_options.begin(),
                             now.ssh_options.end());
  const Options usual;
  if (now.ssh_backend != usual.ssh_backend)
    options.ssh_backend = now.ssh_backend;
  if (now.fanout != usual.fanout)
    options.fanout = now.fanout;
  if (now.connect_timeout != usual.connect_timeout)
    options.connect_timeout = now.connect_timeout;
  if (now.login_timeout != usual.login_timeout)
    options.login_timeout = now.login_timeout;
  if (now.bwlimit)
    options.bwlimit = now.bwlimit;
  options.wheels = now.wheels;
  options.policy = now.policy;
  options.ssh_config =
      now.ssh_config.empty() ? within(run.folder, options.ssh_config) : now.ssh_config;
  options.data = within(run.folder, options.data);
  options.state_dir = now.state_dir;
  options.break_lock = now.break_lock;
  options.until = now.until;
  options.yes = now.yes;
  options.message = now.message;
  if (!now.owner_group.empty())
    options.owner_group = now.owner_group;
  options.dry_run = now.dry_run;
  options.json = now.json;
  options.format = now.format;
  options.junit = now.junit;
  options.html = now.html;
  options.events = now.events;
  options.verbose = now.verbose;
  options.quiet = now.quiet;
  options.color = now.color;
  if (options.pip_mirror.find("://...@") != std::string::npos || !now.pip_mirror.empty())
    options.pip_mirror = now.pip_mirror;
  return options;
}

}  // namespace ds
