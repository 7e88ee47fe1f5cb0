// SPDX-License-Identifier: Apache-2.0
//
// What is known of a host before anything is sent, and the words for it.
#include <algorithm>
#include <map>

#include "base/text.h"
#include "rollout/participation.h"
#include "rollout/readers.h"
#include "rollout/rollout_state.h"

namespace ds {

using nlohmann::json;

namespace {

std::string first_failure(const HostAudit& audit) {
  for (const Finding& finding : audit.findings) {
    if (finding.severity == Severity::ok)
      continue;
    return finding.because + (finding.fix.empty() ? "" : "; " + finding.fix);
  }
  return "the audit refused it";
}

}  // namespace

const ReleaseSet* set_of(const std::vector<ReleaseSet>& sets, const std::string& host) {
  const ReleaseSet* others = nullptr;
  for (const ReleaseSet& set : sets) {
    if (set.hosts.empty())
      others = &set;
    if (std::find(set.hosts.begin(), set.hosts.end(), host) != set.hosts.end())
      return &set;
  }
  return others;
}

std::vector<std::string> wanted_releases(const ReleaseSet* set) {
  std::vector<std::string> wanted;
  for (const Parcel& parcel : set == nullptr ? std::vector<Parcel>() : set->parcels)
    wanted.push_back(parcel.wheel->sha256);
  return wanted;
}

std::vector<std::string> wanted_on(const std::vector<ReleaseSet>& sets, const std::string& host) {
  return wanted_releases(set_of(sets, host));
}

bool is_for_gpus(const ReleaseSet& set) {
  return std::any_of(set.parcels.begin(), set.parcels.end(),
                     [](const Parcel& parcel) { return parcel.for_gpus; });
}

const HostAudit* audit_of(const AuditReport& audit, const std::string& host) {
  const auto found =
      std::find_if(audit.hosts.begin(), audit.hosts.end(),
                   [&host](const HostAudit& candidate) { return candidate.host == host; });
  return found == audit.hosts.end() ? nullptr : &*found;
}

/// What facts and audit say of a host before anything is sent.
HostOutcome judge(const HostFacts& facts, const HostAudit* audit,
                  const std::vector<std::string>& wanted) {
  HostOutcome outcome;
  outcome.host = facts.host;
  outcome.release = join(facts.installed.active, "+");
  if (audit != nullptr && audit->writer != facts.host)
    outcome.writer = audit->writer;
  outcome.seconds["facts"] = facts.seconds;
  if (facts.state != HostFacts::State::reached) {
    const bool refused = facts.state == HostFacts::State::login_refused ||
                         facts.state == HostFacts::State::key_refused;
    outcome.state = refused ? HostState::refused : HostState::unreachable;
    outcome.key_refused = facts.state == HostFacts::State::key_refused;
    outcome.step = facts.state == HostFacts::State::failed ? "facts" : "connect";
    outcome.message = facts.problem;
  } else if (audit == nullptr || audit->verdict != Verdict::ready) {
    outcome.state = HostState::refused;
    outcome.step = "audit";
    outcome.message = audit == nullptr ? "it was not audited" : first_failure(*audit);
  } else {
    // What is on trial goes back.
    const bool there =
        !wanted.empty() && facts.installed.active == wanted && !facts.installed.activations.trial;
    outcome.state = there ? HostState::unchanged : HostState::ready;
    outcome.step = "audit";
  }
  return outcome;
}

std::vector<RolloutHost> admit_hosts(const Inventory& inventory, const Fleet& fleet,
                                     const AuditReport& audit, const std::vector<ReleaseSet>& sets,
                                     const RolloutOptions& options) {
  std::vector<RolloutHost> hosts;
  for (const Host& host : inventory.hosts) {
    const HostFacts* facts = fleet.find(host.name);
    if (facts == nullptr)
      throw Error("there are no facts of host " + host.name);
    const HostAudit* verdict = audit_of(audit, host.name);
    RolloutHost entry;
    entry.host = &host;
    entry.facts = facts;
    entry.python = target_python(host, options.probe);
    entry.set = set_of(sets, host.name);
    if (entry.set == nullptr && !sets.empty())
      throw Error("no wheel is for host " + host.name);
    entry.owner_group = options.owner_group;
    entry.wanted = wanted_releases(entry.set);
    entry.outcome = judge(*facts, verdict, entry.wanted);
    entry.good =
        entry.outcome.state == HostState::ready || entry.outcome.state == HostState::unchanged;
    entry.takes_part = verdict == nullptr || verdict->same_target_as.empty();
    if (verdict != nullptr)
      entry.lacking = verdict->to_install;
    entry.active = facts->installed.active;
    if (facts->installed.activations.trial)
      entry.trial = facts->installed.activations.trial->id;
    entry.held.insert(facts->installed.sealed.begin(), facts->installed.sealed.end());
    entry.spares_gpus = !facts->gpus.empty() && !are_gpus_free(*facts);
    entry.owes_proof = entry.takes_part && options.unproven.contains(host.name);
    hosts.push_back(std::move(entry));
  }
  join_readers(hosts);
  return hosts;
}

std::vector<Candidate> candidates(std::vector<RolloutHost>& hosts) {
  std::vector<Candidate> all;
  for (RolloutHost& host : hosts)
    all.push_back({&host.outcome, host.facts});
  return all;
}

void hold_busy_back(const std::vector<RolloutHost*>& moving, const Policy& policy) {
  std::vector<Candidate> all;
  for (RolloutHost* host : moving)
    all.push_back({&host->outcome, host->facts});
  hold_busy_back(all, policy);
  for (RolloutHost* host : moving)
    host->good &= host->outcome.state != HostState::skipped;
}

std::string leave_out(std::vector<RolloutHost>& hosts, const RolloutOptions& options) {
  using Goal = RolloutOptions::Goal;
  const char* owed = options.goal == Goal::proven    ? owed_proof
                     : options.goal == Goal::removed ? ""
                                                     : owed_release;
  return leave_out(candidates(hosts), options.policy, owed);
}

std::string why_none_begins(std::vector<RolloutHost>& hosts, const RolloutOptions& options) {
  const std::string because = leave_out(hosts, options);
  if (options.goal == RolloutOptions::Goal::removed)
    return because;  // each host leaves by itself
  const std::string others = who_failed(hosts);
  return because.empty() && !others.empty() ? others + " cannot take it" : because;
}

bool has_failed(const RolloutHost& host) {
  return host.takes_part && !host.good && !host.outcome.left_out;
}

std::vector<RolloutHost*> good_hosts(std::vector<RolloutHost>& hosts) {
  std::vector<RolloutHost*> good;
  for (RolloutHost& host : hosts) {
    if (host.takes_part && host.good)
      good.push_back(&host);
  }
  return good;
}

std::vector<RolloutHost*> good_writers(std::vector<RolloutHost>& hosts) {
  std::vector<RolloutHost*> writers = good_hosts(hosts);
  std::erase_if(writers, [](const RolloutHost* host) { return host->writer != nullptr; });
  return writers;
}

bool too_many_failed(const std::vector<RolloutHost>& hosts, const Policy& policy) {
  const auto failed = std::count_if(hosts.begin(), hosts.end(),
                                    [](const RolloutHost& host) { return has_failed(host); });
  return static_cast<std::size_t>(failed) > policy.most_failures(hosts.size());
}

std::size_t most_parcels(const std::vector<ReleaseSet>& sets) {
  std::size_t most = 0;
  for (const ReleaseSet& set : sets)
    most = std::max(most, set.parcels.size());
  return most;
}

void add_remark(RolloutHost& host, const std::string& text) {
  if (host.remark.find(text) == std::string::npos)
    host.remark += (host.remark.empty() ? "" : "; ") + text;
}

void set_active(RolloutHost& host, std::vector<std::string> active) {
  host.active = std::move(active);
  host.outcome.release = join(host.active, "+");
  host.outcome.state = host.trial.empty() && !moves(host) ? HostState::unchanged : HostState::ready;
}

bool is_lost(HostState state) {
  return state == HostState::unreachable || state == HostState::unknown ||
         state == HostState::refused;
}

void share_outcomes(std::vector<RolloutHost>& hosts, const AuditReport& audit) {
  for (RolloutHost& host : hosts) {
    if (host.takes_part)
      continue;
    const HostAudit* verdict = audit_of(audit, host.outcome.host);
    for (const RolloutHost& first : hosts) {
      if (first.outcome.host != verdict->same_target_as)
        continue;
      const std::string name = host.outcome.host;
      host.outcome = first.outcome;
      host.outcome.host = name;
      host.outcome.sent_bytes = 0;
      host.outcome.message = "the same environment as " + first.outcome.host +
                             (first.outcome.message.empty() ? "" : ": " + first.outcome.message);
    }
  }
}

std::string who_failed(const std::vector<RolloutHost>& hosts) {
  std::vector<std::string> names;
  for (const RolloutHost& host : hosts) {
    if (!host.good && !host.outcome.left_out)
      names.push_back(host.outcome.host);
  }
  return some_of(names);
}

bool holds_all(const RolloutHost& host) {
  return std::all_of(host.wanted.begin(), host.wanted.end(),
                     [&host](const std::string& sha256) { return host.held.contains(sha256); });
}

std::string to_string(HostState state) {
  switch (state) {
    case HostState::ready:
      return "ready";
    case HostState::staged:
      return "staged";
    case HostState::active:
      return "active";
    case HostState::confirmed:
      return "confirmed";
    case HostState::unchanged:
      return "unchanged";
    case HostState::refused:
      return "refused";
    case HostState::unreachable:
      return "unreachable";
    case HostState::failed:
      return "failed";
    case HostState::rolled_back:
      return "rolled-back";
    case HostState::skipped:
      return "skipped";
    case HostState::removed:
      return "removed";
    case HostState::unknown:
      return "unknown";
  }
  return "unknown";
}

json manifest_of(const Wheel& wheel) {
  json files = json::array();
  for (const WheelEntry& entry : wheel.entries) {
    files.push_back({{"path", entry.path},
                     {"size", entry.size},
                     {"mode", entry.mode},
                     {"sha256", entry.sha256}});
  }
  return json{{"schema", "ds-deploy.manifest/1"},
              {"wheel",
               {{"file", wheel.file.filename().string()},
                {"sha256", wheel.sha256},
                {"bytes", wheel.bytes}}},
              {"files", files}};
}

std::string manifest_json(const Wheel& wheel) {
  return manifest_of(wheel).dump();
}

SharedText shared_text(const json& value) {
  return std::make_shared<const std::string>(value.dump());
}

RolloutHost host_to_ask(const Host& host, const ProbeOptions& probe) {
  RolloutHost asked;
  asked.host = &host;
  asked.outcome.host = host.name;
  asked.python = target_python(host, probe);
  return asked;
}

std::deque<RolloutHost> ask_each(const PhaseDescription& phase, const Inventory& inventory,
                                 const ProbeOptions& probe,
                                 const std::function<bool(const Host&)>& meant,
                                 Transport& transport, Status& status) {
  std::deque<RolloutHost> hosts;
  std::vector<RolloutHost*> asked;
  for (const Host& host : inventory.hosts) {
    if (meant(host))
      asked.push_back(&hosts.emplace_back(host_to_ask(host, probe)));
  }
  run_phase(phase, asked, transport, status);
  return hosts;
}

Prediction predict(const Fleet& fleet, const AuditReport& audit,
                   const std::vector<ReleaseSet>& sets, const Policy& policy) {
  std::map<std::string, const HostAudit*> audits;
  for (const HostAudit& one : audit.hosts)
    audits.emplace(one.host, &one);
  Prediction prediction;
  for (const HostFacts& facts : fleet.hosts) {
    const auto audited = audits.find(facts.host);
    prediction.hosts.push_back(judge(facts, audited == audits.end() ? nullptr : audited->second,
                                     wanted_releases(set_of(sets, facts.host))));
  }
  std::vector<Candidate> hosts;
  for (std::size_t at = 0; at < fleet.hosts.size(); ++at)
    hosts.push_back({&prediction.hosts[at], &fleet.hosts[at]});
  hold_busy_back(hosts, policy);
  prediction.stopped = leave_out(hosts, policy);
  return prediction;
}

}  // namespace ds
