// SPDX-License-Identifier: Apache-2.0
#include "rollout/rollout.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/interrupt.h"
#include "rollout/debts.h"
#include "rollout/preparation.h"
#include "rollout/readers.h"
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

std::vector<std::string> classes_of(const std::vector<RolloutHost*>& hosts) {
  std::vector<std::string> classes;
  for (const RolloutHost* host : hosts)
    classes.push_back(class_of(*host->facts, host->wanted));
  return classes;
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
        preparation_(hosts_, sets, options, records_, transport, status),
        lock_(lock_phase(options, status)) {}

  RolloutResult run(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit);

 private:
  void go();
  std::string admit();  ///< why nobody may begin
  void stop_before_activation(const std::string& because);
  void end_early(const std::string& because);
  void settle_rollback();
  void owe_proof(RolloutHost& host);
  void settle(const std::string& stopped = {});
  std::vector<RolloutHost*> proofless(std::vector<RolloutHost*> hosts);
  void clean();
  std::string take_all_away();
  void settle_removal(const std::string& stopped);
  bool removes() const { return options_.goal == RolloutOptions::Goal::removed; }
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
  PhaseDescription lock_;       ///< where nothing else took it
  bool takes_away_ = false;     ///< from here on hosts may have lost some of what is ours
};

std::string Rollout::admit() {
  std::vector<RolloutHost*> moving = hosts_of(hosts_);
  const bool stages = options_.goal == RolloutOptions::Goal::staged;
  std::erase_if(moving, [stages](const RolloutHost* host) {
    return !host->good || (holds_all(*host) && (stages || !moves(*host)));
  });
  hold_busy_back(moving, options_.policy);
  return why_none_begins(hosts_, options_);
}

/// Good hosts stay where they are and say why.
void Rollout::stop_before_activation(const std::string& because) {
  for (RolloutHost& host : hosts_) {
    if (!host.good || (removes() && !host.takes_part))
      continue;
    if (removes())
      host.outcome.state = HostState::ready;
    else if (host.outcome.state == HostState::ready && began_ && holds_all(host))
      host.outcome.state = HostState::staged;
    if (!because.empty())
      host.outcome.message =
          fmt::format("nothing was {}, because {}", removes() ? "removed" : "activated", because);
  }
}

/// The run ends here, for a reason that is no host's. Whoever was activated goes back.
void Rollout::end_early(const std::string& because) {
  if (!waves_) {
    stop_before_activation(because);
    return;
  }
  if (takes_away_)
    return;  // all are decided, and nobody waits for one that is slow to remove
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

void Rollout::owe_proof(RolloutHost& host) {
  host.outcome.owed = {owed_proof};
  if (options_.goal != RolloutOptions::Goal::proven) {
    host.outcome.message += (host.outcome.message.empty() ? "" : "; ") +
                            std::string("its GPUs are in use, or may be, and were not tried");
    return;
  }
  const std::string users = users_of(*host.facts);
  host.outcome.state = HostState::skipped;
  host.outcome.step = "busy";
  host.outcome.message = !users.empty() ? "in use by " + users
                         : host.facts->gpus.empty()
                             ? "it shows no GPU now"
                             : "its GPUs may be in use: they do not tell which processes they have";
}

/// Hosts that are at what pip installed part with all that is ours; or why they do not.
std::string Rollout::take_all_away() {
  std::vector<RolloutHost*> hosts = good_writers(hosts_);
  std::erase_if(hosts, [](const RolloutHost* host) { return !host->confirmed; });
  const bool locked = std::any_of(hosts.begin(), hosts.end(),
                                  [](const RolloutHost* host) { return host->lock != nullptr; });
  if (!locked && !take_locks(lock_, hosts, records_, transport_, status_))
    return who_failed(hosts_) + " could not be locked";
  std::erase_if(hosts, [](const RolloutHost* host) { return !host->good; });
  takes_away_ = true;
  records_.announce(hosts, HostState::removed, "remove");
  const PhaseDescription remove = remove_phase({}, options_);
  with_retries(hosts, options_.policy.retries, HostState::ready,
               [&](const std::vector<RolloutHost*>& asked) {
                 run_phase(remove, asked, transport_, status_);
               });
  for (RolloutHost* host : hosts) {
    if (!host->good && host->changed)
      host->outcome.message += "; it is at what pip installed";
  }
  return {};
}

void Rollout::settle_removal(const std::string& stopped) {
  settle_rollback();
  for (RolloutHost* host : good_writers(hosts_)) {
    HostOutcome& outcome = host->outcome;
    if (outcome.state == HostState::removed || outcome.state == HostState::failed)
      continue;
    outcome.step = "remove";
    if (host->confirmed && (host->changed || takes_away_)) {
      outcome.state = HostState::unknown;
      outcome.message = "it is at what pip installed, and not all that is ds-deploy's is gone";
    } else {
      outcome.state = HostState::skipped;
      outcome.message = "nothing was removed";
    }
    const std::string because =
        !stopped.empty() || host->confirmed ? stopped : waves_->because_for(*host);
    outcome.message += because.empty() ? "" : ", because " + because;
  }
}

/// Good hosts at the end: confirmed, or unchanged when no phase wrote anything. Hosts that nobody
/// asked keep their state and say why.
void Rollout::settle(const std::string& stopped) {
  if (removes()) {
    settle_removal(stopped);
    return;
  }
  const bool back = options_.goal == RolloutOptions::Goal::rolled_back;
  if (back)
    settle_rollback();
  for (RolloutHost* host : good_writers(hosts_)) {
    if (host->outcome.state == HostState::rolled_back ||
        (back && host->outcome.state == HostState::failed))
      continue;
    if (!host->unconfirmed.empty()) {
      host->outcome.state = HostState::failed;
      host->outcome.step = "confirm";
      host->outcome.message = host->unconfirmed + "; others with this environment confirmed it";
    } else if (host->confirmed) {
      host->outcome.state = !host->changed ? HostState::unchanged
                            : back         ? HostState::rolled_back
                                           : HostState::confirmed;
      host->outcome.step = back ? "rollback" : "confirm";
      host->outcome.message = host->remark;
      if (host->owes_proof)
        owe_proof(*host);
    } else {
      host->outcome.state = back ? HostState::skipped : HostState::staged;
      const std::string because = stopped.empty() ? waves_->because_for(*host) : stopped;
      host->outcome.message =
          "not activated, because " + (because.empty() ? "too many hosts are out" : because);
    }
  }
}

/// Those that cannot be shown to work by their GPUs owe that before they move.
std::vector<RolloutHost*> Rollout::proofless(std::vector<RolloutHost*> hosts) {
  std::erase_if(hosts, [](RolloutHost* host) {
    host->owes_proof = host->spares_gpus && is_for_gpus(*host->set);
    return !host->owes_proof;
  });
  return hosts;
}

/// What is old goes where all is well; that it could not costs nothing.
void Rollout::clean() {
  std::vector<RolloutHost*> hosts = good_writers(hosts_);
  std::erase_if(hosts, [](const RolloutHost* host) {
    return !host->confirmed || !host->changed || !host->program || !host->program->open();
  });
  std::vector<HostOutcome> outcomes;
  for (const RolloutHost* host : hosts)
    outcomes.push_back(host->outcome);
  records_.announce(hosts, HostState::confirmed, "clean");
  run_phase(clean_phase(options_), hosts, transport_, status_);
  for (std::size_t at = 0; at < hosts.size(); ++at) {
    hosts[at]->outcome = std::move(outcomes[at]);
    hosts[at]->good = true;
  }
}

void Rollout::go() {
  began_ = true;
  records_.note_proofs(hosts_of(hosts_));
  if (removes())
    look_at_all(good_writers(hosts_), options_, transport_, status_);
  std::string because =
      run_hook_of_run(options_.policy.hooks.run_start, "run_start", options_, transport_);
  if (because.empty())
    because = preparation_.run();
  if (!because.empty() || options_.goal == RolloutOptions::Goal::staged) {
    stop_before_activation(because);
    return;
  }
  // Every good host holds the release, whole. From here on hosts change.
  const std::vector<RolloutHost*> moving = preparation_.movers();
  std::vector<RolloutHost*> changing = readers_of(moving);
  changing.insert(changing.end(), moving.begin(), moving.end());
  records_.note_proofs(proofless(std::move(changing)));
  std::size_t failed = 0, unavailable = 0;
  for (const RolloutHost& host : hosts_) {
    failed += has_failed(host);
    unavailable += host.takes_part && !host.good && hindrance_of(host.outcome) != "incompatible" &&
                   (is_lost(host.outcome.state) || !host.trial.empty());
  }
  const WavePlan plan = plan_waves(classes_of(moving), options_.policy, hosts_.size());
  std::vector<RolloutHost*> in_order;
  for (const std::size_t host : plan.order)
    in_order.push_back(moving[host]);
  waves_.emplace(in_order, limits_for(options_.policy, plan, hosts_.size(), failed), unavailable,
                 sets_, options_, records_, transport_, status_);
  waves_->run();
  if (options_.goal == RolloutOptions::Goal::confirmed)
    clean();
  settle(removes() ? take_all_away() : "");
}

void Rollout::write_end(RolloutResult& result) {
  try {
    if (began_)
      note_debts(hosts_, options_, records_);
    records_.finish(hosts_of(hosts_));
  } catch (const Error& error) {
    result.stopped = result.stopped.value_or(error);
  }
}

RolloutResult Rollout::run(const Inventory& inventory, const Fleet& fleet,
                           const AuditReport& audit) {
  RolloutResult result;
  hosts_ = admit_hosts(inventory, fleet, audit, sets_, options_);
  for (const DrainRecord& drain : options_.drained) {
    for (RolloutHost& host : hosts_) {
      if (host.takes_part && host.outcome.host == drain.host) {
        host.drained = true;
        host.drained_by = drain.run;
        host.drain_before = drain.before;
      }
    }
  }
  // From here on no host is added.
  const auto stop = [this](const std::string& because) {
    end_early(because);
    if (waves_)
      settle(because);
  };
  const std::string because = admit();
  if (!because.empty()) {
    stop_before_activation(because);
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
  }
  settle_readers(hosts_, options_.goal);
  for (RolloutHost& host : hosts_) {
    if (host.writer != nullptr && host.good && host.confirmed && host.owes_proof)
      owe_proof(host);
  }
  end_hooks(hosts_, began_, options_, records_, transport_, status_);
  if (began_)
    share_outcomes(hosts_, audit);
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
