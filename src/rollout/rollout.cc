// SPDX-License-Identifier: Apache-2.0
#include "rollout/rollout.h"

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "rollout/rollout_state.h"
#include "rollout/waves.h"

namespace ds {
namespace {

/// One run of the phases over all hosts.
class Rollout {
 public:
  Rollout(const std::vector<ReleaseSet>& sets, const RolloutOptions& options, Transport& transport,
          Status& status)
      : sets_(sets),
        options_(options),
        records_(options.journal, options.run),
        transport_(transport),
        status_(status) {}

  RolloutResult run(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit);

 private:
  void go();
  void admit(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit);
  void do_phase(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts) {
    run_phase(phase, hosts, transport_, status_);
    records_.note(hosts);
  }
  /// The same of one that changes something there.
  void do_announced(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts) {
    records_.announce(hosts, HostState::ready, phase.name);
    do_phase(phase, hosts);
  }
  bool all_good() const;
  bool too_many_failed() const;
  std::vector<RolloutHost*> good_hosts();
  std::string who_failed() const;
  std::size_t most_parcels() const;
  using Step = std::function<void(const std::vector<RolloutHost*>&)>;
  void with_retries(std::vector<RolloutHost*> hosts, const Step& step);
  void stop_before_activation(const std::string& because);
  void recover();
  void prove_dead_man();
  void stage();
  void verify();
  void install_requirements();
  void confirm_unchanged();
  std::vector<RolloutHost*> movers();
  void end_early(const std::string& because);
  void settle(const std::string& because);
  void write_end(RolloutResult& result);

  const std::vector<ReleaseSet>& sets_;
  const RolloutOptions& options_;
  Records records_;
  Transport& transport_;
  Status& status_;
  std::vector<RolloutHost> hosts_;
  bool began_ = false;          ///< the first byte was sent: every host is good
  bool undefended_ = false;     ///< a host has no dead-man's switch, and the policy stops then
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
    entry.held.insert(facts->installed.sealed.begin(), facts->installed.sealed.end());
    hosts_.push_back(std::move(entry));
  }
}

bool Rollout::all_good() const {
  return std::all_of(hosts_.begin(), hosts_.end(), [](const RolloutHost& h) { return h.good; });
}

/// More than the policy lets fail in a run.
bool Rollout::too_many_failed() const {
  const auto failed = std::count_if(hosts_.begin(), hosts_.end(), [](const RolloutHost& host) {
    return host.takes_part && !host.good;
  });
  return static_cast<std::size_t>(failed) > options_.policy.most_failures(hosts_.size());
}

std::vector<RolloutHost*> Rollout::good_hosts() {
  std::vector<RolloutHost*> good;
  for (RolloutHost& host : hosts_) {
    if (host.takes_part && host.good)
      good.push_back(&host);
  }
  return good;
}

std::string Rollout::who_failed() const {
  std::vector<std::string> names;
  for (const RolloutHost& host : hosts_) {
    if (!host.good)
      names.push_back(host.outcome.host);
  }
  return some_of(names);
}

std::size_t Rollout::most_parcels() const {
  std::size_t most = 0;
  for (const ReleaseSet& set : sets_)
    most = std::max(most, set.parcels.size());
  return most;
}

/// Good hosts stay where they are and say why.
void Rollout::stop_before_activation(const std::string& because) {
  for (RolloutHost& host : hosts_) {
    if (!host.good)
      continue;
    if (host.outcome.state == HostState::ready && began_ && holds_all(host))
      host.outcome.state = HostState::staged;
    host.outcome.message = "nothing was activated, because " + because;
  }
}

/// What an earlier run left undecided is taken back first.
void Rollout::recover() {
  std::vector<RolloutHost*> undecided = good_hosts();
  std::erase_if(undecided, [](const RolloutHost* host) {
    return !host->facts->installed.activations.trial.has_value();
  });
  do_announced(recover_phase(), undecided);
}

bool moves(const RolloutHost& host) {
  return host.active != host.wanted;
}

/// A host that will move shows that it can go back by itself.
void Rollout::prove_dead_man() {
  std::vector<RolloutHost*> moving = movers();
  do_announced(show_outliving_phase(options_.run), moving);
  std::erase_if(moving, [](const RolloutHost* host) { return !host->good; });
  do_phase(is_outlived_phase(options_.run), moving);
  const bool proceed = options_.policy.without_dead_man == Policy::WithoutDeadMan::proceed;
  for (RolloutHost* host : moving) {
    if (!host->good || host->outlives)
      continue;
    const std::string why =
        "no dead-man: a process that was started there did not outlive its session, so that the "
        "host could not go back by itself; let processes of this user stay (loginctl "
        "enable-linger, no pam_slurm_adopt), or give a policy with without_dead_man: proceed";
    if (proceed) {
      status_.warning(host->outcome.host + ": " + why);
      continue;
    }
    undefended_ = true;
    host->good = false;
    host->outcome.state = HostState::skipped;
    host->outcome.step = "dead-man";
    host->outcome.message = why;
  }
}

/// A step that may be repeated, once more for those that were cut or ran out of time.
void Rollout::with_retries(std::vector<RolloutHost*> hosts, const Step& step) {
  for (int attempt = 0; !hosts.empty(); ++attempt) {
    step(hosts);
    std::erase_if(hosts, [](const RolloutHost* host) {
      return host->good || host->outcome.state != HostState::unreachable;
    });
    if (attempt == options_.policy.retries)
      return;
    for (RolloutHost* host : hosts) {
      host->good = true;
      host->outcome.state = HostState::ready;
      host->outcome.message.clear();
    }
  }
}

void Rollout::stage() {
  for (std::size_t at = 0; at < most_parcels(); ++at) {
    std::vector<RolloutHost*> lacking;
    for (RolloutHost* host : good_hosts()) {
      if (at < host->wanted.size() && !host->held.contains(host->wanted[at]))
        lacking.push_back(host);
    }
    records_.announce(lacking, HostState::ready, "stage");
    with_retries(lacking, [this, at](const std::vector<RolloutHost*>& hosts) {
      stage_parcel(at, false, hosts, options_, transport_, status_);
    });
    records_.note(lacking);
  }
}

/// A sealed release that is damaged and not in use is replaced, once.
void Rollout::verify() {
  const PhaseDescription verify = verify_phase(sets_, options_.policy, true);
  with_retries(good_hosts(),
               [&](const std::vector<RolloutHost*>& hosts) { do_phase(verify, hosts); });
  std::vector<RolloutHost*> mended;
  for (RolloutHost* host : good_hosts()) {
    if (host->damaged.empty())
      continue;
    mended.push_back(host);
    for (const std::string& sha256 : host->damaged)
      host->held.erase(sha256);
  }
  for (std::size_t at = 0; at < most_parcels(); ++at) {
    std::vector<RolloutHost*> lacking;
    for (RolloutHost* host : mended) {
      if (host->good && at < host->wanted.size() && host->damaged.contains(host->wanted[at]))
        lacking.push_back(host);
    }
    records_.announce(lacking, HostState::ready, "stage");
    with_retries(lacking, [this, at](const std::vector<RolloutHost*>& hosts) {
      stage_parcel(at, true, hosts, options_, transport_, status_);
    });
    records_.note(lacking);
  }
  std::erase_if(mended, [](const RolloutHost* host) { return !host->good; });
  do_phase(verify_phase(sets_, options_.policy, false), mended);
}

void Rollout::install_requirements() {
  std::vector<RolloutHost*> lacking = good_hosts();
  std::erase_if(lacking, [](const RolloutHost* host) { return host->lacking.empty(); });
  do_announced(requirements_phase(options_.pip_mirror), lacking);
}

/// Hosts that are at their release already show that it works, before another one moves.
void Rollout::confirm_unchanged() {
  std::vector<RolloutHost*> settled = good_hosts();
  std::erase_if(settled, [](const RolloutHost* host) { return moves(*host); });
  std::vector<RolloutHost*> without_hook = settled;
  std::erase_if(without_hook, [](const RolloutHost* host) { return host->facts->installed.hook; });
  do_announced(activate_phase(options_.run, options_.policy), without_hook);
  std::erase_if(settled, [](const RolloutHost* host) { return !host->good; });
  do_phase(confirm_phase(sets_, options_.policy), settled);
}

std::vector<RolloutHost*> Rollout::movers() {
  std::vector<RolloutHost*> moving = good_hosts();
  std::erase_if(moving, [](const RolloutHost* host) { return !moves(*host); });
  return moving;
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
  for (RolloutHost* host : good_hosts()) {
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
  const std::pair<void (Rollout::*)(), const char*> steps[] = {
      {&Rollout::recover, "could not go back to what it had before an earlier run"},
      {&Rollout::prove_dead_man, "has no dead-man's switch"},
      {&Rollout::stage, "could not stage it"},
      {&Rollout::verify, "could not stage it"},
      {&Rollout::install_requirements, "could not install what it requires"},
      {&Rollout::confirm_unchanged, "did not confirm what is active"}};
  for (const auto& [step, complaint] : steps) {
    (this->*step)();
    if (too_many_failed() || undefended_) {
      stop_before_activation(who_failed() + " " + complaint);
      return;
    }
  }
  // Every good host holds the release, whole. From here on hosts change.
  std::size_t failed = 0, unavailable = 0;
  for (const RolloutHost& host : hosts_) {
    failed += host.takes_part && !host.good;
    unavailable += host.takes_part && !host.good && is_lost(host.outcome.state);
  }
  waves_.emplace(movers(), limits_for(options_.policy, hosts_.size(), failed), unavailable, sets_,
                 options_, records_, transport_, status_);
  waves_->run();
  settle(waves_->because());
}

void Rollout::write_end(RolloutResult& result) {
  std::vector<RolloutHost*> all;
  for (RolloutHost& host : hosts_)
    all.push_back(&host);
  try {
    records_.finish(all);
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
    stop_before_activation(who_failed() + " cannot take it");
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
