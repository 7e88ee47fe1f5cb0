// SPDX-License-Identifier: Apache-2.0
#include "cli/pip_mode.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "base/text.h"
#include "report/report.h"

namespace ds {
namespace {

void refuse_policy(const Policy& policy) {
  if (policy.text.empty())
    return;
  if (policy.strategy != Policy::Strategy::all_at_once) {
    throw UsageError(
        fmt::format("--mode pip cannot honour strategy: {}: all hosts are installed on at once",
                    policy.strategy == Policy::Strategy::canary ? "canary" : "rolling"),
        "write strategy: all-at-once, or take hosts a few at a time with --limit");
  }
  if (!(policy.hooks == Policy::Hooks{})) {
    throw UsageError("--mode pip cannot honour hooks: it changes no host by itself",
                     "drain the hosts beforehand, and leave the hooks out");
  }
  if (policy.on_failure == Policy::OnFailure::roll_back_all) {
    throw UsageError(
        "--mode pip cannot honour on_failure: roll-back-all, the default of a policy: nobody goes "
        "back",
        "write on_failure: stop, or leave --policy out");
  }
}

}  // namespace

bool is_by_pip(const Options& options) {
  return options.mode == "pip";
}

bool is_by_pip(const RunRecord& origin) {
  std::string mode;
  for (std::size_t at = 0; at < origin.words.size(); ++at) {
    const std::string& word = origin.words[at];
    if (word.starts_with("--mode="))
      mode = word.substr(7);
    else if (word == "--mode" && at + 1 < origin.words.size())
      mode = origin.words[at + 1];
  }
  return mode == "pip";
}

void refuse_beside_pip(const Policy& policy, Session& session) {
  refuse_policy(policy);
  std::map<std::string, std::vector<std::string>> hosts;  // by what is there
  for (const HostFacts& facts : session.fleet().hosts) {
    const InstalledFacts& installed = facts.installed;
    if (!installed.active.empty())
      hosts["release " + short_names(installed.active) + " is active"].push_back(facts.host);
    else if (installed.activations.trial)
      hosts["an activation is not decided"].push_back(facts.host);
  }
  if (hosts.empty())
    return;
  std::vector<std::string> said;
  for (const auto& [what, names] : hosts)
    said.push_back(what + " on " + fold_hosts(names, 60));
  throw UsageError(
      "--mode pip: " + join(said, "; ") + ", and would hide what pip installs",
      "take it off first: ds-deploy rollback --to pip, with the same hosts; or leave --mode out");
}

}  // namespace ds
