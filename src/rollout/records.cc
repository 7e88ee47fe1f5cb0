// SPDX-License-Identifier: Apache-2.0
#include "rollout/records.h"

#include "base/error.h"

namespace ds {

template <typename Write>
void Records::attempt(Write&& write) {
  if (journal_ == nullptr)
    return;
  try {
    write();
  } catch (const Error&) {
    journal_ = nullptr;
    throw;
  }
}

void Records::add(const RolloutHost& host, HostState to, const std::string& step) {
  std::string& known = known_[host.outcome.host];
  TransitionRecord record;
  record.host = host.outcome.host;
  record.from = known;
  record.to = known = to_string(to);
  record.step = step;
  record.message = host.outcome.message;
  pending_.push_back(std::move(record));
}

void Records::announce(const std::vector<RolloutHost*>& hosts, HostState to,
                       const std::string& step) {
  if (hosts.empty() || journal_ == nullptr)
    return;
  for (const RolloutHost* host : hosts)
    add(*host, to, step);
  attempt([this] {
    journal_->announce(run_, pending_);
    pending_.clear();
  });
}

void Records::take_epoch(std::int64_t epoch) {
  attempt([this, epoch] { journal_->set_epoch(run_, epoch); });
}

void Records::note(const std::vector<RolloutHost*>& hosts) {
  if (journal_ == nullptr)
    return;
  for (const RolloutHost* host : hosts) {
    if (known_[host->outcome.host] != to_string(host->outcome.state))
      add(*host, host->outcome.state, host->outcome.step);
  }
}

void Records::decide(const std::vector<RolloutHost*>& hosts, const std::string& what,
                     const std::string& because) {
  if (hosts.empty())
    return;
  DecisionRecord decision;
  decision.what = what;
  decision.because = because;
  for (const RolloutHost* host : hosts)
    decision.hosts.push_back(host->outcome.host);
  attempt([&] { journal_->decide(run_, decision); });
}

void Records::note_releases(const std::vector<RolloutHost*>& owing,
                            const std::vector<RolloutHost*>& served) {
  std::map<std::string, std::vector<RolloutHost*>> groups;
  for (RolloutHost* host : owing)
    groups[hindrance_of(host->outcome)].push_back(host);
  for (const auto& [kind, group] : groups)
    decide(group, "leave-out", kind);
  decide(served, "served", "");
}

void Records::note_proofs(const std::vector<RolloutHost*>& hosts) {
  std::vector<RolloutHost*> owing, done;
  for (RolloutHost* host : hosts) {
    const std::string& name = host->outcome.host;
    if (host->owes_proof && unproven_.insert(name).second)
      owing.push_back(host);
    if (!host->owes_proof && unproven_.erase(name) > 0)
      done.push_back(host);
  }
  decide(owing, "owe-gpu-proof", "");
  decide(done, "owe-nothing", "");
}

void Records::finish(const std::vector<RolloutHost*>& hosts) {
  note(hosts);
  if (pending_.empty())
    return;
  attempt([this] {
    journal_->announce(run_, pending_);
    pending_.clear();
  });
}

}  // namespace ds
