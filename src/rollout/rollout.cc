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
  bool all_good() const;
  void stop_before_activation(const std::string& because);
  void end_early(const std::string& because);
  void settle_rollback();
  void settle(const std::string& because);
  void clean();
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

/// Where a run went back to an earlier release, a host that did not come there has failed.
void Rollout::settle_rollback() {
  for (RolloutHost& host : hosts_) {
    if (!host.takes_part || host.outcome.state != HostState::rolled_back)
      continue;
    host.outcome.state = HostState::failed;
    host.outcome.step = "rollback";
    host.outcome.message = "it is where it was: " + host.outcome.message;
  }
}

/// Good hosts at the end: confirmed, or unchanged when no phase wrote anything. Hosts that nobody
/// asked keep their state and say why.
void Rollout::settle(const std::string& because) {
  const bool back = options_.goal == RolloutOptions::Goal::rolled_back;
  if (back)
    settle_rollback();
  for (RolloutHost* host : good_hosts(hosts_)) {
    if (host->outcome.state == HostState::rolled_back ||
        (back && host->outcome.state == HostState::failed))
      continue;
    if (host->confirmed) {
      host->outcome.state = !host->changed ? HostState::unchanged
                            : back         ? HostState::rolled_back
                                           : HostState::confirmed;
      host->outcome.step = back ? "rollback" : "confirm";
      host->outcome.message = host->remark;
    } else {
      host->outcome.state = back ? HostState::skipped : HostState::staged;
      host->outcome.message =
          "not activated, because " + (because.empty() ? "too many hosts are out" : because);
    }
  }
}

/// What is old goes where all is well; that it could not costs nothing.
void Rollout::clean() {
  std::vector<RolloutHost*> hosts = good_hosts(hosts_);
  std::erase_if(hosts, [](const RolloutHost* host) {
    return !host->confirmed || !host->changed || !host->program || !host->program->open();
  });
  std::vector<HostOutcome> outcomes;
  for (const RolloutHost* host : hosts)
    outcomes.push_back(host->outcome);
  records_.announce(hosts, HostState::confirmed, "clean");
  run_phase(clean_phase(options_.keep), hosts, transport_, status_);
  for (std::size_t at = 0; at < hosts.size(); ++at) {
    hosts[at]->outcome = std::move(outcomes[at]);
    hosts[at]->good = true;
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
    unavailable +=
        host.takes_part && !host.good && (is_lost(host.outcome.state) || !host.trial.empty());
  }
  waves_.emplace(preparation_.movers(), limits_for(options_.policy, hosts_.size(), failed),
                 unavailable, sets_, options_, records_, transport_, status_);
  waves_->run();
  if (options_.goal == RolloutOptions::Goal::confirmed)
    clean();
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
  hosts_ = admit_hosts(inventory, fleet, audit, sets_, options_);
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
