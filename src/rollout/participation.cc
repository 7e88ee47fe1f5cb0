// SPDX-License-Identifier: Apache-2.0
#include "rollout/participation.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/text.h"

namespace ds {
namespace {

using What = Policy::Treatment::What;

std::vector<HostOutcome*> hindered(const std::vector<Candidate>& hosts, const std::string& kind) {
  std::vector<HostOutcome*> found;
  for (const Candidate& host : hosts) {
    if (hindrance_of(*host.outcome) == kind)
      found.push_back(host.outcome);
  }
  return found;
}

std::string names_of(const std::vector<HostOutcome*>& hosts) {
  std::vector<std::string> names;
  for (const HostOutcome* host : hosts)
    names.push_back(host->host);
  return some_of(names);
}

void mark(const std::vector<HostOutcome*>& hosts, bool left_out, const std::string& owed) {
  for (HostOutcome* host : hosts) {
    host->left_out = left_out;
    host->owed.clear();
    if (left_out && !owed.empty())
      host->owed.push_back(owed);
  }
}

const std::string& writer_of(const HostOutcome& host) {
  return host.writer.empty() ? host.host : host.writer;
}

void hold_back(HostOutcome& host, const std::string& because) {
  host.state = HostState::skipped;
  host.step = "busy";
  host.message = because;
}

std::string words_for(const std::string& kind) {
  return kind == "without_dead_man" ? "without a dead-man's switch" : kind;
}

}  // namespace

std::string hindrance_of(const HostOutcome& host) {
  const bool early = host.step == "connect" || host.step == "facts" || host.step == "lock";
  if (host.key_refused || host.lock_held)
    return {};
  if (host.state == HostState::unreachable && early)
    return "unreachable";
  if (host.state == HostState::refused && host.step == "connect")
    return "unreachable";
  if (host.state == HostState::refused && host.step == "audit")
    return "incompatible";
  if (host.state == HostState::skipped && (host.step == "busy" || host.step == "drain"))
    return "busy";
  if (host.state == HostState::skipped && host.step == "dead-man")
    return "without_dead_man";
  return {};
}

void hold_busy_back(const std::vector<Candidate>& hosts, const Policy& policy) {
  if (policy.busy.what == What::proceed)
    return;
  std::map<std::string, std::string> users_of_shared;  // by the host that writes the environment
  for (const Candidate& host : hosts) {
    const std::string users = users_of(*host.facts);
    if (host.outcome->state != HostState::ready || users.empty())
      continue;
    hold_back(*host.outcome, "in use by " + users);
    users_of_shared.emplace(writer_of(*host.outcome),
                            host.outcome->host + " is in use by " + users);
  }
  for (const Candidate& host : hosts) {
    const auto used = users_of_shared.find(writer_of(*host.outcome));
    if (host.outcome->state == HostState::ready && used != users_of_shared.end())
      hold_back(*host.outcome, "it has one environment with others, and " + used->second);
  }
}

std::string leave_out(const std::vector<Candidate>& hosts, const Policy& policy,
                      const std::string& owed) {
  std::vector<HostOutcome*> marked;
  std::string because;
  for (const TreatmentKey& key : treatment_keys()) {
    const Policy::Treatment& treatment = policy.*key.place;
    const std::vector<HostOutcome*> found = hindered(hosts, key.name);
    if (treatment.what != What::leave_out || found.empty())
      continue;
    const std::size_t most = policy.most_left_out(treatment, hosts.size());
    if (found.size() > most) {
      because = fmt::format("{} {} {} ({}), and the policy leaves out {} at most",
                            count(found.size(), "host"), found.size() == 1 ? "is" : "are",
                            words_for(key.name), names_of(found), most);
      continue;
    }
    mark(found, true, owed);
    marked.insert(marked.end(), found.begin(), found.end());
  }
  if (!because.empty())
    mark(marked, false, {});
  return because;
}

}  // namespace ds
