// SPDX-License-Identifier: Apache-2.0
//
// Wheels that each host's own pip installs, for those whose rule is that all of site-packages comes
// from pip: no release, no dead-man's switch, no way back of ours. templates/by_pip.py is the
// hosts' side.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/interrupt.h"
#include "rollout/debts.h"
#include "rollout/pip_phases.h"
#include "rollout/records.h"

namespace ds {
namespace {

class PipInstallation {
 public:
  PipInstallation(const std::vector<ReleaseSet>& sets, const RolloutOptions& options,
                  Transport& transport, Status& status)
      : sets_(sets),
        options_(options),
        records_(options.journal, options.run),
        transport_(transport),
        status_(status),
        lock_(lock_phase(options, status)),
        manifests_(manifest_texts(sets)) {}

  RolloutResult run(const Inventory& inventory, const Fleet& fleet, const AuditReport& audit);

 private:
  std::vector<RolloutHost*> movers();
  std::vector<RolloutHost*> installed();
  std::string prepare();
  void check();
  void lock();
  void send();
  void install_requirements();
  void confirm_unchanged();
  void install();
  void verify();
  void confirm(const std::vector<RolloutHost*>& hosts, HostState again);
  void finish_pip(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts);
  void stop(const std::string& because);
  void settle();
  void attempt(RolloutResult& result);

  const std::vector<ReleaseSet>& sets_;
  const RolloutOptions& options_;
  Records records_;
  Transport& transport_;
  Status& status_;
  PhaseDescription lock_;
  SetTexts manifests_;
  std::vector<RolloutHost> hosts_;
  bool locked_out_ = false;  ///< of a host that another run holds
};

/// Those of them where something is to be installed.
std::vector<RolloutHost*> PipInstallation::movers() {
  std::vector<RolloutHost*> moving = good_hosts(hosts_);
  std::erase_if(moving,
                [](const RolloutHost* host) { return holds_all(*host) && host->lacking.empty(); });
  return moving;
}

/// Those where pip was and did well.
std::vector<RolloutHost*> PipInstallation::installed() {
  std::vector<RolloutHost*> hosts = good_hosts(hosts_);
  std::erase_if(hosts,
                [](const RolloutHost* host) { return host->outcome.state != HostState::active; });
  return hosts;
}

/// Why pip may begin on no host; empty: on good_hosts() it may.
std::string PipInstallation::prepare() {
  const struct {
    void (PipInstallation::*step)();
    const char* complaint;
  } steps[] = {{&PipInstallation::check, "cannot take it"},
               {&PipInstallation::lock, "could not be locked"},
               {&PipInstallation::send, "could not take it"},
               {&PipInstallation::install_requirements, "could not install what it requires"},
               {&PipInstallation::confirm_unchanged, "did not confirm what is installed"}};
  for (const auto& [step, complaint] : steps) {
    (this->*step)();
    const std::string because = leave_out(hosts_, options_);
    if (!because.empty())
      return because;
    if (too_many_failed(hosts_, options_.policy) || locked_out_)
      return who_failed(hosts_) + " " + complaint;
  }
  return {};
}

void PipInstallation::check() {
  const PhaseDescription phase = pip_lacking_phase(manifests_, options_.policy);
  with_retries(good_hosts(hosts_), options_.policy.retries, HostState::ready,
               [&](const std::vector<RolloutHost*>& hosts) {
                 run_phase(phase, hosts, transport_, status_);
               });
  records_.note(good_hosts(hosts_));
  hold_busy_back(movers(), options_.policy);
}

/// Hosts that have it all are not written to, so that they have no lock either.
void PipInstallation::lock() {
  const std::vector<RolloutHost*> hosts = movers();
  if (hosts.empty())
    return;
  locked_out_ = !take_locks(lock_, hosts, records_, transport_, status_);
  for (RolloutHost* host : hosts) {
    if (!host->good || (host->active.empty() && host->trial.empty()))
      continue;
    host->good = false;
    host->outcome.state = HostState::refused;
    host->outcome.step = "lock";
    host->outcome.message = "another run has activated a release there since the host was asked";
  }
  records_.note(hosts);
}

void PipInstallation::send() {
  for (std::size_t at = 0; at < most_parcels(sets_); ++at) {
    std::vector<RolloutHost*> lacking = movers();
    std::erase_if(lacking, [at](const RolloutHost* host) {
      return at >= host->wanted.size() || host->held.contains(host->wanted[at]);
    });
    records_.announce(lacking, HostState::ready, "send");
    const PhaseDescription phase = pip_send_phase(at, options_.policy);
    with_retries(lacking, options_.policy.retries, HostState::ready,
                 [&](const std::vector<RolloutHost*>& hosts) {
                   run_phase(phase, hosts, transport_, status_);
                 });
    records_.note(lacking);
  }
}

void PipInstallation::install_requirements() {
  std::vector<RolloutHost*> hosts = movers();
  std::erase_if(hosts, [](const RolloutHost* host) { return host->lacking.empty(); });
  const PhaseDescription phase = requirements_phase(options_.pip_mirror);
  records_.announce(hosts, HostState::ready, phase.name);
  run_phase(phase, hosts, transport_, status_);
  records_.note(hosts);
}

/// Hosts that have it already show that it works, before another one changes.
void PipInstallation::confirm_unchanged() {
  std::vector<RolloutHost*> settled = good_hosts(hosts_);
  std::erase_if(settled, [](const RolloutHost* host) { return !holds_all(*host); });
  confirm(settled, HostState::ready);
}

/// With retries, and the policy's own question.
void PipInstallation::confirm(const std::vector<RolloutHost*>& hosts, HostState again) {
  const PhaseDescription phase = confirm_phase(sets_, options_.policy, true);
  with_retries(hosts, options_.policy.retries, again, [&](const std::vector<RolloutHost*>& asked) {
    run_phase(phase, asked, transport_, status_);
  });
  if (!options_.policy.health.command.empty()) {
    for (RolloutHost* host : hosts) {
      host->confirmed = false;
      if (host->good)
        ask_health(*host, options_, transport_, [host] { host->confirmed = host->good; });
    }
    transport_.run();
  }
  records_.note(hosts);
}

/// An interrupt does not end pip half way: it is waited for, unless there is a second one.
void PipInstallation::finish_pip(const PhaseDescription& phase,
                                 const std::vector<RolloutHost*>& hosts) {
  status_.stage_started(phase.name, hosts.size());
  for (RolloutHost* host : hosts) {
    host->outcome.state = HostState::unknown;
    host->outcome.step = phase.name;
    host->outcome.message = "pip was begun there and its end was not waited for";
    status_.item_started(host->outcome.host);
    ask_host(phase, *host, transport_, [host, this](const std::string& word) {
      status_.item_finished(host->outcome.host, word, !host->good);
    });
  }
  bool interrupted = false;
  while (true) {
    try {
      transport_.run();
      break;
    } catch (const Interrupted&) {
      if (std::exchange(interrupted, true)) {
        forget_answers(hosts);
        throw;
      }
      clear_interrupt();
      status_.warning("pip is let finish where it has begun; a second Ctrl-C does not wait for it");
    } catch (...) {
      forget_answers(hosts);
      throw;
    }
  }
  status_.stage_finished();
  if (interrupted)
    throw Interrupted();
}

void PipInstallation::install() {
  std::vector<RolloutHost*> hosts = good_hosts(hosts_);
  std::erase_if(hosts, [](const RolloutHost* host) { return holds_all(*host); });
  if (hosts.empty())
    return;
  records_.announce(hosts, HostState::active, "install");
  finish_pip(pip_install_phase(options_.policy), hosts);
  records_.note(hosts);
}

void PipInstallation::verify() {
  const PhaseDescription phase = pip_verify_phase(manifests_, options_.policy);
  with_retries(installed(), options_.policy.retries, HostState::active,
               [&](const std::vector<RolloutHost*>& hosts) {
                 run_phase(phase, hosts, transport_, status_);
               });
  records_.note(good_hosts(hosts_));
}

/// The run ends here. Good hosts say how far they came.
void PipInstallation::stop(const std::string& because) {
  for (RolloutHost* host : good_hosts(hosts_)) {
    if (host->outcome.state == HostState::active)
      host->outcome.message = "pip installed it; it is not confirmed, because " + because;
    else if (host->outcome.state != HostState::unknown)
      host->outcome.message = "the wheel was not installed, because " + because;
  }
}

void PipInstallation::settle() {
  for (RolloutHost& host : hosts_) {
    if (host.takes_part && host.confirmed) {
      host.outcome.state = host.changed ? HostState::confirmed : HostState::unchanged;
      host.outcome.step = "confirm";
      host.outcome.message = host.remark;
      if (host.owes_proof)
        host.outcome.owed = {owed_proof};
    } else if (host.outcome.state == HostState::unknown && host.outcome.step == "install") {
      host.outcome.message += "; pip may be at work there still: once it has ended, deploy again";
    } else if (host.changed && !host.good) {
      host.outcome.message += "; what pip installed stays: ds-deploy has nothing to go back to";
    }
  }
}

void PipInstallation::attempt(RolloutResult& result) {
  try {
    const std::string because = prepare();
    if (!because.empty())
      return stop(because);
    install();
    verify();
    confirm(installed(), HostState::active);
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
  settle();
}

RolloutResult PipInstallation::run(const Inventory& inventory, const Fleet& fleet,
                                   const AuditReport& audit) {
  RolloutResult result;
  hosts_ = admit_hosts(inventory, fleet, audit, sets_, options_);
  std::vector<RolloutHost*> all;
  for (RolloutHost& host : hosts_) {
    host.held.clear();  // releases are none of pip's
    all.push_back(&host);
    if (host.writer == nullptr)
      continue;
    host.good = false;
    host.outcome.state = HostState::refused;
    host.outcome.step = "audit";
    host.outcome.message = fmt::format(
        "it has one environment with {0}, where only one pip may work: name that host alone, "
        "--limit {0}",
        host.outcome.writer);
  }
  const std::string because = why_none_begins(hosts_, options_);
  if (because.empty()) {
    attempt(result);
    give_locks_back(all, transport_);
    share_outcomes(hosts_, audit);
  } else {
    stop(because);
  }
  try {
    if (because.empty())
      note_debts(hosts_, options_, records_);
    records_.finish(all);
  } catch (const Error& error) {
    result.stopped = result.stopped.value_or(error);
  }
  for (RolloutHost& host : hosts_)
    result.hosts.push_back(std::move(host.outcome));
  return result;
}

}  // namespace

RolloutResult install_by_pip(const Inventory& inventory, const Fleet& fleet,
                             const AuditReport& audit, const std::vector<ReleaseSet>& sets,
                             const RolloutOptions& options, Transport& transport, Status& status) {
  return PipInstallation(sets, options, transport, status).run(inventory, fleet, audit);
}

}  // namespace ds
