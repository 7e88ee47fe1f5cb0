// SPDX-License-Identifier: Apache-2.0
#include "rollout/rollout.h"

#include <algorithm>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "rollout/preparation.h"
#include "rollout/rollout_state.h"
#include "rollout/waves.h"

namespace ds {
namespace {

std::vector<RolloutHost*> hosts_of(std::vector<RolloutHost>& hosts) {
  std::vector<RolloutHost*> all;
  for (RolloutHost& host : hosts)
    all.push_back(&host);
  return all;
}

/// One run of the phases over all hosts.
class Rollout {
 public:
  Rollout(const std::vector<ReleaseSet>& sets, const RolloutOptions& options, Transport& transport,
          Status& status)
      : sets_(sets),
        options_(options),
        records_(options.journal, options.run),
        transport_(transport),
        status_(status),
        preparation_(hosts_, sets, options, records_, transport, status) {}

  RolloutResult run(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit);

 private:
  void go();
  void admit(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit);
  bool all_good() const;
  void stop_before_activation(const std::string& because);
  void end_early(const std::string& because);
  void settle(const std::string& because);
  void write_end(RolloutResult& result);

  const std::vector<ReleaseSet>& sets_;
  const RolloutOptions& options_;
  Records records_;
  Transport& transport_;
  Status& status_;
  std::vector<RolloutHost> hosts_;
  Preparation preparation_;
  bool began_ = false;          ///< the first byte was sent: every host is good
  std::optional<Waves> waves_;  ///< hosts change from here on
};

void Rollout::admit(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit) {
  for (const Host& host : inventory.hosts) {
    const HostFacts* facts = fleet.find(host.name);
    if (facts == nullptr)
      throw Error("there are no facts of host " + host.name);
    const HostAudit* verdict = audit_of(audit, host.name);
    RolloutHost entry;
    entry.host = &host;
    entry.facts = facts;
    entry.python = target_python(host, options_.probe);
    entry.set = set_of(sets_, host.name);
    if (entry.set == nullptr)
      throw Error("no wheel is for host " + host.name);
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
    hosts_.push_back(std::move(entry));
  }
}

bool Rollout::all_good() const {
  return std::all_of(hosts_.begin(), hosts_.end(), [](const RolloutHost& h) { return h.good; });
}

/// Good hosts stay where they are and say why.
void Rollout::stop_before_activation(const std::string& because) {
  for (RolloutHost& host : hosts_) {
    if (!host.good)
      continue;
    if (host.outcome.state == HostState::ready && began_ && holds_all(host))
      host.outcome.state = HostState::staged;
    if (!because.empty())
      host.outcome.message = "nothing was activated, because " + because;
  }
}

/// The run ends here, for a reason that is no host's. Whoever was activated goes back.
void Rollout::end_early(const std::string& because) {
  if (!waves_) {
    stop_before_activation(because);
    return;
  }
  const auto give_up = [this](const std::string& why) {
    for (RolloutHost& host : hosts_) {
      if (!host.takes_part || !host.activated || host.outcome.step == "rollback")
        continue;
      host.good = false;
      host.outcome.state = HostState::unknown;
      host.outcome.step = "rollback";
      host.outcome.message += "; going back failed: " + why;
    }
  };
  try {
    clear_interrupt();
    try {
      waves_->take_back(because);
    } catch (const Error&) {
      // The journal, mostly: hosts go back without it.
      waves_->take_back(because);
    }
  } catch (const Interrupted&) {
    give_up("it was interrupted");
  } catch (const Error& error) {
    give_up(error.what());
  } catch (const std::exception& error) {
    give_up(error.what());
  }
}

/// Good hosts at the end: confirmed, or unchanged when no phase wrote anything. Hosts that nobody
/// asked keep their state and say why.
void Rollout::settle(const std::string& because) {
  for (RolloutHost* host : preparation_.good_hosts()) {
    if (host->outcome.state == HostState::rolled_back)
      continue;
    if (host->confirmed) {
      host->outcome.state = host->changed ? HostState::confirmed : HostState::unchanged;
      host->outcome.step = "confirm";
      host->outcome.message.clear();
    } else {
      host->outcome.state = HostState::staged;
      host->outcome.message =
          "not activated, because " + (because.empty() ? "too many hosts are out" : because);
    }
  }
}

void Rollout::go() {
  began_ = true;
  const std::string because = preparation_.run();
  if (!because.empty() || options_.goal == RolloutOptions::Goal::staged) {
    stop_before_activation(because);
    return;
  }
  // Every good host holds the release, whole. From here on hosts change.
  std::size_t failed = 0, unavailable = 0;
  for (const RolloutHost& host : hosts_) {
    failed += host.takes_part && !host.good;
    unavailable += host.takes_part && !host.good && is_lost(host.outcome.state);
  }
  waves_.emplace(preparation_.movers(), limits_for(options_.policy, hosts_.size(), failed),
                 unavailable, sets_, options_, records_, transport_, status_);
  waves_->run();
  settle(waves_->because());
}

void Rollout::write_end(RolloutResult& result) {
  try {
    records_.finish(hosts_of(hosts_));
  } catch (const Error& error) {
    result.stopped = result.stopped.value_or(error);
  }
}

RolloutResult Rollout::run(const Inventory& inventory, const Fleet& fleet,
                           const AuditReport& audit) {
  RolloutResult result;
  admit(inventory, fleet, audit);
  // From here on no host is added.
  const auto stop = [this](const std::string& because) {
    end_early(because);
    if (waves_)
      settle(because);
  };
  if (!all_good()) {
    stop_before_activation(who_failed(hosts_) + " cannot take it");
  } else {
    try {
      go();
    } catch (const Interrupted&) {
      result.interrupted = true;
      stop("the run was interrupted");
    } catch (const Error& error) {
      result.stopped = error;
      stop("the run was stopped: " + error.what());
    } catch (const std::exception& error) {
      result.stopped = Error(error.what());
      stop(std::string("the run was stopped: ") + error.what());
    }
    give_locks_back(hosts_of(hosts_), transport_);
    share_outcomes(hosts_, audit);
  }
  write_end(result);
  for (RolloutHost& host : hosts_)
    result.hosts.push_back(std::move(host.outcome));
  return result;
}

}  // namespace

RolloutResult roll_out(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit,
                       const std::vector<ReleaseSet>& sets, const RolloutOptions& options,
                       Transport& transport, Status& status) {
  return Rollout(sets, options, transport, status).run(inventory, fleet, audit);
}

}  // namespace ds
