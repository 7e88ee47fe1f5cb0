// SPDX-License-Identifier: Apache-2.0
#include "cli/contradictions.h"

#include <fmt/format.h>

#include "audit/audit.h"
#include "base/error.h"
#include "base/text.h"

namespace ds {

namespace {

bool has_form_of_job(const std::string& id) {
  return id.find_first_not_of("0123456789_+") == std::string::npos;
}

void refuse_pip_without_meaning(const Options& options) {
  if (options.mode != "pip")
    return;
  if (options.command == "stage") {
    throw UsageError(
        "stage --mode pip: what pip installs is there at once, so that nothing can be "
        "staged",
        "ds-deploy deploy --mode pip, or leave --mode out");
  }
  if (options.keep || options.keep_days) {
    throw UsageError("--keep and --mode pip contradict each other: pip keeps no releases",
                     "give one of them");
  }
}

}  // namespace

void refuse_contradictions(const Options& options) {
  refuse_pip_without_meaning(options);
  if (options.local_only && !options.hostfiles.empty()) {
    throw UsageError("--local_only and --hostfile contradict each other", "give one of them");
  }
  if (!options.slurm_job.empty() && (options.local_only || !options.hostfiles.empty())) {
    throw UsageError("--slurm-job names the hosts, and so does --hostfile or --local_only",
                     "give one of them");
  }
  if (!has_form_of_job(options.slurm_job)) {
    throw UsageError(
        fmt::format("--slurm-job '{}' is no id of a job", clean_line(options.slurm_job, 80)),
        "write its number, such as 4711 or 4711_3");
  }
  if (options.json && !options.format.empty() && options.format != "json") {
    throw UsageError("--json and --format " + options.format + " contradict each other",
                     "give one of them");
  }
  const bool page_printed = options.html == "-", cases_printed = options.junit == "-";
  if ((page_printed || cases_printed) && (options.json || !options.format.empty())) {
    throw UsageError("the standard output can take one form of the report",
                     "name a file where '-' stands, or leave --json and --format out");
  }
  if (page_printed && cases_printed) {
    throw UsageError("the standard output can take one form of the report",
                     "name a file for --html or for --junit");
  }
  if (options.verbose && options.quiet) {
    throw UsageError("--verbose and --quiet contradict each other", "give one of them");
  }
  if (options.command == "audit" && options.wheels.empty() && !options.installed) {
    throw UsageError("audit: no wheel was named", "name one, or give --installed");
  }
  if (!options.source.empty() && !options.ops.empty()) {
    throw UsageError(
        "--source and --ops contradict each other: one wheel is built from one of them",
        "give one of them");
  }
  if (options.source.empty() && !options.environments.empty()) {
    throw UsageError("--env is for building a foreign tree", "name the tree with --source");
  }
  if (options.source.empty() && !options.explain_flags.empty()) {
    throw UsageError("--explain-flags is for ops of a foreign tree", "name the tree with --source");
  }
  if (!options.facts.empty() && !options.save_facts.empty()) {
    throw UsageError("--facts and --save-facts contradict each other", "give one of them");
  }
  if (!options.pip_mirror.empty() && options.pip_mirror.find("://") == std::string::npos) {
    throw UsageError(fmt::format("--pip_mirror '{}' is no URL", clean_line(options.pip_mirror)),
                     "write it as in https://mirror.example/simple");
  }
  for (const std::string& text : options.ignore)
    parse_ignored(text);
  if (options.command == "remove" && options.files.empty() != options.all) {
    throw UsageError(
        "remove: " + std::string(options.all ? "--all and a release contradict each other"
                                             : "no release was named"),
        "name releases, or give --all");
  }
  if (options.command == "remove" && !options.all && !options.treatments.empty()) {
    throw UsageError("a release that is removed is not active, so that nothing hinders a host",
                     "leave --unreachable, --busy and the like out, or give --all");
  }
  if (options.owed &&
      (options.local_only || !options.hostfiles.empty() || !options.slurm_job.empty())) {
    throw UsageError("--owed goes by the journal, which has the hosts",
                     "choose among them with --limit or --exclude");
  }
  if (options.command == "pin" && !options.facts.empty()) {
    throw UsageError("--facts replays what hosts said once; a release is kept on hosts that answer",
                     "leave --facts out");
  }
  const bool changes =
      options.command == "deploy" || options.command == "stage" || options.command == "rollback";
  if (changes && !options.facts.empty() && !options.dry_run) {
    throw UsageError("--facts replays what hosts said once; hosts are changed on fresh facts only",
                     "add --dry-run, or leave --facts out");
  }
}

void refuse_unknown(const std::string& word, const std::vector<std::string>& known) {
  if (word.ends_with(".whl")) {
    throw UsageError(fmt::format("'{}' stands alone", clean_line(word)),
                     "write --wheel before each wheel, or name wheels after 'audit' or 'inspect'");
  }
  const bool option = word.starts_with("-");
  std::vector<std::string> alike;
  for (const std::string& name : known) {
    if (name.starts_with("-") == option)
      alike.push_back(name);
  }
  const std::string hint = suggestion(word.substr(0, word.find('=')), alike);
  throw UsageError(fmt::format("unknown {} '{}'", option ? "option" : "command", clean_line(word)),
                   hint.empty() ? "try 'ds-deploy --help'" : hint);
}

}  // namespace ds
