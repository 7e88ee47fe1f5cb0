// SPDX-License-Identifier: Apache-2.0
//
// Takes releases, or all that is there of ours, off hosts: templates/remove.py.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "rollout/readers.h"
#include "rollout/records.h"
#include "rollout/rollout_state.h"

namespace ds {
namespace {

using nlohmann::json;

/// "/opt/venv/bin/x: it belongs to another user"
std::string stays_text(const json& answer) {
  std::vector<std::string> texts;
  for (const json& item : answer.at("stays")) {
    texts.push_back(clean_line(item.at("what").get<std::string>(), 300) + ": " +
                    clean_line(item.at("because").get<std::string>(), 300));
  }
  return join(texts, "; ");
}

}  // namespace

PhaseDescription remove_phase(const std::vector<std::string>& releases,
                              const RolloutOptions& options) {
  PhaseDescription phase;
  phase.name = "remove";
  phase.done_word = "removed";
  phase.time_limit = std::chrono::minutes(10);
  json chosen = nullptr;
  if (!releases.empty())
    chosen = releases;
  phase.command = [chosen, all_asked = options.also_shared](const RolloutHost&) {
    return PhaseCommand{{{"phase", "remove"}, {"releases", chosen}, {"all_asked", all_asked}}, {}};
  };
  phase.accept = [all = releases.empty()](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    const std::size_t removed = answer.at("removed").size(), files = answer.at("files").size();
    const std::string stays = stays_text(answer);
    host.outcome.state = removed + files > 0 ? HostState::removed : HostState::unchanged;
    host.outcome.step = "remove";
    host.outcome.message = fmt::format("{} removed, {}{}{}{}", count(removed, "release"),
                                       human_bytes(answer.at("bytes").get<std::uint64_t>()),
                                       all ? ", and all else that is ds-deploy's" : "",
                                       stays.empty() ? "" : "; left: ", stays);
  };
  return phase;
}

namespace {

bool holds_nothing(const InstalledFacts& installed) {
  const Activations& notes = installed.activations;
  return installed.sealed.empty() && installed.active.empty() && !installed.hook && !notes.trial &&
         !notes.confirmed && !notes.rolled_back && notes.problems.empty() && !installed.lock &&
         installed.epoch == 0;
}

/// Of `chosen`, those that `installed` has.
std::vector<std::string> those_there(const InstalledFacts& installed,
                                     const std::vector<std::string>& chosen) {
  std::vector<std::string> there = installed.sealed;
  std::erase_if(there, [&chosen](const std::string& sha256) {
    return std::find(chosen.begin(), chosen.end(), sha256) == chosen.end();
  });
  return there;
}

/// " (0123456789ab, 89abcdef0123)", or nothing.
std::string names_of(const std::vector<std::string>& releases) {
  std::string names;
  for (const std::string& sha256 : releases)
    names += (names.empty() ? " (" : ", ") + sha256.substr(0, 12);
  return names.empty() ? names : names + ")";
}

/// Why the host would refuse, as far as its facts tell; or nothing.
std::string refusal_of(const InstalledFacts& installed, const std::vector<std::string>& chosen) {
  std::vector<std::string> needed = installed.active;
  if (const std::optional<Activation>& trial = installed.activations.trial) {
    needed.insert(needed.end(), trial->releases.begin(), trial->releases.end());
    needed.insert(needed.end(), trial->previous.begin(), trial->previous.end());
  }
  for (const std::string& sha256 : needed) {
    if (std::find(chosen.begin(), chosen.end(), sha256) != chosen.end()) {
      return fmt::format(
          "release {} is active, or named by an activation that is not decided; "
          "first: ds-deploy rollback",
          sha256.substr(0, 12));
    }
  }
  return {};
}

/// "what is active (0123456789ab) gives way to what pip installed; would be removed: 2 releases
/// (...), ..."
std::string leaving_text(const RolloutHost& host, const json& answer) {
  std::vector<std::string> texts;
  if (!host.trial.empty())
    texts.emplace_back("an activation that is not decided goes back");
  if (!host.active.empty())
    texts.push_back("what is active" + names_of(host.active) + " gives way to what pip installed");
  const std::vector<std::string> releases = releases_of(answer, "removed");
  const std::string stays = stays_text(answer);
  texts.push_back(fmt::format("would be removed: {}{}, notes, history, launchers and hook, {}",
                              count(releases.size(), "release"), names_of(releases),
                              human_bytes(answer.at("bytes").get<std::uint64_t>())));
  if (!stays.empty())
    texts.push_back("left: " + stays);
  return join(texts, "; ");
}

}  // namespace

void look_at_all(const std::vector<RolloutHost*>& hosts, const RolloutOptions& options,
                 Transport& transport, Status& status) {
  PhaseDescription phase;
  phase.name = "look";
  phase.time_limit = std::chrono::minutes(10);
  phase.command = [all_asked = options.also_shared](const RolloutHost&) {
    return PhaseCommand{
        {{"phase", "remove"}, {"releases", nullptr}, {"look", true}, {"all_asked", all_asked}}, {}};
  };
  phase.accept = [](RolloutHost& host, const json& answer) {
    if (!answer.value("ok", false))
      return;
    host.outcome.step = "remove";
    if (answer.at("nothing").get<bool>()) {
      host.outcome.state = HostState::unchanged;
      host.takes_part = false;
      host.owes_proof = false;
    } else {
      host.outcome.message = leaving_text(host, answer);
    }
  };
  run_phase(phase, hosts, transport, status);
  for (RolloutHost* host : hosts) {
    if (host->outcome.step == phase.name)
      host->outcome.step = "remove";
  }
}

std::vector<HostOutcome> predict_leaving(const Inventory& inventory, const Fleet& fleet,
                                         const AuditReport& audit,
                                         const std::vector<ReleaseSet>& sets,
                                         const RolloutOptions& options, Transport& transport,
                                         Status& status) {
  std::vector<RolloutHost> hosts = admit_hosts(inventory, fleet, audit, sets, options);
  leave_out(hosts, options);
  look_at_all(good_writers(hosts), options, transport, status);
  for (RolloutHost* host : good_hosts(hosts)) {
    const std::optional<LockFacts>& lock = host->facts->installed.lock;
    if (lock && lock->holder != "ended")
      host->outcome.message += fmt::format("; locked now by run {} of {}", lock->run, lock->who);
  }
  settle_readers(hosts, RolloutOptions::Goal::removed);
  share_outcomes(hosts, audit);
  std::vector<HostOutcome> outcomes;
  for (RolloutHost& host : hosts)
    outcomes.push_back(std::move(host.outcome));
  return outcomes;
}

std::vector<HostOutcome> predict_removal(const Fleet& fleet, const AuditReport& audit,
                                         const std::vector<std::string>& releases) {
  std::vector<HostOutcome> outcomes;
  for (const HostFacts& facts : fleet.hosts) {
    const InstalledFacts& installed = facts.installed;
    HostOutcome& outcome = outcomes.emplace_back(judge(facts, audit_of(audit, facts.host), {}));
    if (outcome.state != HostState::ready && outcome.state != HostState::unchanged)
      continue;
    const std::vector<std::string> there = those_there(installed, releases);
    outcome.step = "remove";
    outcome.message = refusal_of(installed, releases);
    if (!outcome.message.empty()) {
      outcome.state = HostState::failed;
    } else if (there.empty()) {
      outcome.state = HostState::unchanged;
    } else {
      outcome.state = HostState::ready;
      outcome.message =
          fmt::format("would be removed: {}{}", count(there.size(), "release"), names_of(there));
    }
  }
  return outcomes;
}

RolloutResult remove_releases(const Inventory& inventory, const Fleet& fleet,
                              const AuditReport& audit, const std::vector<std::string>& releases,
                              const RolloutOptions& options, Transport& transport, Status& status) {
  std::vector<RolloutHost> hosts = admit_hosts(inventory, fleet, audit, {}, options);
  Records records(options.journal, options.run);
  const PhaseDescription lock = lock_phase(options, status),
                         remove = remove_phase(releases, options);
  std::vector<RolloutHost*> good;
  for (RolloutHost* host : good_writers(hosts)) {
    if (holds_nothing(host->facts->installed))
      host->outcome.state = HostState::unchanged;
    else
      good.push_back(host);
  }
  RolloutResult result;
  try {
    const bool all = take_locks(lock, good, records, transport, status);
    std::erase_if(good, [all](const RolloutHost* host) { return !host->good || !all; });
    records.announce(good, HostState::ready, remove.name);
    run_phase(remove, good, transport, status);
    records.finish(good);
  } catch (const Interrupted&) {
    result.interrupted = true;
  } catch (const Error& error) {
    result.stopped = error;
  }
  for (RolloutHost& host : hosts)
    host.program.reset();
  settle_readers(hosts, RolloutOptions::Goal::removed);
  share_outcomes(hosts, audit);
  for (RolloutHost& host : hosts)
    result.hosts.push_back(std::move(host.outcome));
  return result;
}

}  // namespace ds
