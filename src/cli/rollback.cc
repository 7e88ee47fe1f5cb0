// SPDX-License-Identifier: Apache-2.0
#include "cli/rollback.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/text.h"
#include "cli/held_releases.h"

namespace ds {
namespace {

using Releases = std::vector<std::string>;

/// What was confirmed before that which is active.
ReleaseTarget previous_of(const InstalledFacts& installed) {
  const Activations& notes = installed.activations;
  if (notes.trial)
    return {notes.trial->previous, {}};
  if (!notes.confirmed || notes.confirmed->releases != installed.active)
    return {{}, "it has no note of what was active before"};
  if (notes.confirmed->before.empty())
    return {{}, "nothing was confirmed there before what is active"};
  return {notes.confirmed->before.back(), {}};
}

ReleaseTarget release_there(const InstalledFacts& installed, const std::string& beginning) {
  ReleaseTarget target;
  for (const std::string& sha256 : installed.sealed) {
    if (sha256.starts_with(beginning))
      target.releases.push_back(sha256);
  }
  if (target.releases.empty())
    target.problem = "release " + clean_line(beginning, 64) + " is not there";
  if (target.releases.size() > 1)
    target.problem = "several releases there begin with " + clean_line(beginning, 64);
  return target;
}

void refuse_without_target(const std::map<std::string, std::vector<std::string>>& problems) {
  std::vector<std::string> texts, names;
  for (const auto& [problem, hosts] : problems) {
    texts.push_back(fold_hosts(hosts, 60) + ": " + problem);
    names.insert(names.end(), hosts.begin(), hosts.end());
  }
  if (!texts.empty()) {
    throw UsageError("nothing was changed: " + join(texts, "; "),
                     fmt::format("name another release with --to, or leave {} out with --exclude",
                                 names.size() == 1 ? "the host" : "these hosts"));
  }
}

/// Jobs must not see two releases at one time.
void refuse_mixed(const std::map<Releases, std::vector<std::string>>& hosts_by_target) {
  if (hosts_by_target.size() < 2)
    return;
  std::vector<std::string> texts;
  for (const auto& [releases, hosts] : hosts_by_target)
    texts.push_back(fold_hosts(hosts, 60) + " to " + release_name(releases));
  throw UsageError(
      "nothing was changed: hosts would go to different releases: " + join(texts, ", "),
      "name one with --to, or give --mixed");
}

/// "node[01-12]: 0123456789ab -> 89abcdef0123"
std::vector<std::string> moves_text(const Fleet& fleet, const HostReleases& wanted) {
  std::map<std::pair<Releases, Releases>, std::vector<std::string>> moves;
  for (const HostFacts& facts : fleet.hosts) {
    const auto to = wanted.find(facts.host);
    if (to != wanted.end())
      moves[{facts.installed.active, to->second}].push_back(facts.host);
  }
  std::vector<std::string> texts;
  for (const auto& [move, hosts] : moves) {
    texts.push_back(fmt::format("{}: {} -> {}", fold_hosts(hosts, 60), release_name(move.first),
                                release_name(move.second)));
  }
  return texts;
}

HostReleases targets(Session& session) {
  const Options& options = session.options();
  HostReleases wanted;
  std::map<std::string, std::vector<std::string>> problems;
  std::map<Releases, std::vector<std::string>> by_target;
  for (const HostFacts& facts : session.fleet().hosts) {
    if (facts.state != HostFacts::State::reached)
      continue;
    const ReleaseTarget target = target_of(facts, options.to);
    if (!target.problem.empty()) {
      problems[target.problem].push_back(facts.host);
      continue;
    }
    wanted[facts.host] = target.releases;
    by_target[target.releases].push_back(facts.host);
  }
  refuse_without_target(problems);
  if (!options.mixed)
    refuse_mixed(by_target);
  return wanted;
}

}  // namespace

ReleaseTarget target_of(const HostFacts& facts, const std::string& to) {
  if (to == "pip")
    return {};
  if (to.empty() || to == "previous")
    return previous_of(facts.installed);
  return release_there(facts.installed, to);
}

ExitStatus roll_back(Session& session) {
  Undertaking undertaking = begin_undertaking(session);
  undertaking.goal = RolloutOptions::Goal::rolled_back;
  undertaking.audited = !session.options().no_audit;
  ask_hosts(undertaking, session);
  const HostReleases wanted = targets(session);
  for (const std::string& move : moves_text(session.fleet(), wanted)) {
    if (undertaking.report.dry_run)
      undertaking.report.notes.push_back(move);
    else
      session.status().remark(move);
  }
  add_held(undertaking, wanted, session);
  undertaking.times.finished("records");
  return carry_out(undertaking, session);
}

}  // namespace ds
