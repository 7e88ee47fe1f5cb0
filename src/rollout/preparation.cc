// SPDX-License-Identifier: Apache-2.0
#include "rollout/preparation.h"

#include <algorithm>

#include "audit/audit.h"
#include "base/text.h"
#include "rollout/readers.h"

namespace ds {

std::string Preparation::run() {
  using Goal = RolloutOptions::Goal;
  const bool stages = !options_.sealed_there;
  const bool activates = options_.goal != Goal::staged;
  const bool changes = options_.goal != Goal::proven;
  const struct {
    bool wanted;
    void (Preparation::*step)();
    const char* complaint;
  } steps[] = {
      {changes, &Preparation::lock, "could not be locked"},
      {changes, &Preparation::prove_shared, "does not see the environment that it shares"},
      {changes, &Preparation::recover, "could not go back to what it had before an earlier run"},
      {activates && changes, &Preparation::prove_dead_man, "has no dead-man's switch"},
      {stages, &Preparation::stage, "could not stage it"},
      {stages, &Preparation::verify, "could not stage it"},
      {!stages, &Preparation::verify_sealed, "does not hold it whole"},
      {stages && activates, &Preparation::install_requirements,
       "could not install what it requires"},
      {activates, &Preparation::confirm_unchanged, "did not confirm what is active"}};
  for (const auto& [wanted, step, complaint] : steps) {
    if (!wanted)
      continue;
    (this->*step)();
    const std::string because = leave_out(hosts_, options_);
    if (!because.empty())
      return because;
    if (too_many_failed(hosts_, options_.policy) || locked_out_ || disagrees_ || is_undefended())
      return who_failed(hosts_) + " " + complaint;
  }
  return {};
}

bool moves(const RolloutHost& host) {
  return host.active != host.wanted;
}

std::vector<RolloutHost*> Preparation::movers() {
  std::vector<RolloutHost*> moving = good_writers(hosts_);
  std::erase_if(moving, [](const RolloutHost* host) { return !moves(*host); });
  return moving;
}

void Preparation::do_phase(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts) {
  run_phase(phase, hosts, transport_, status_);
  records_.note(hosts);
}

void Preparation::do_announced(const PhaseDescription& phase,
                               const std::vector<RolloutHost*>& hosts) {
  records_.announce(hosts, HostState::ready, phase.name);
  do_phase(phase, hosts);
}

/// A run that finds nothing to change takes no lock.
void Preparation::lock() {
  const std::vector<RolloutHost*> hosts = good_writers(hosts_);
  const bool stages = options_.goal == RolloutOptions::Goal::staged;
  const bool changes = std::any_of(hosts.begin(), hosts.end(), [&](const RolloutHost* host) {
    const std::string& group = options_.owner_group;
    if (!group.empty() && host->facts->installed.owner_group != group)
      return true;
    if (stages)
      return !holds_all(*host) || !host->trial.empty();
    const bool lacks_hook = !host->facts->installed.hook && !host->wanted.empty();
    return moves(*host) || !holds_all(*host) || !host->trial.empty() || lacks_hook ||
           !host->lacking.empty();
  });
  if (changes)
    take_lock(hosts);
}

void Preparation::take_lock(const std::vector<RolloutHost*>& hosts) {
  locked_out_ = !take_locks(lock_, hosts, records_, transport_, status_);
  locked_ = true;
}

/// The lock is the marker: who is said to have the same folder sees it there, nobody else does.
void Preparation::prove_shared() {
  if (!locked_)
    return;
  const std::vector<RolloutHost*> writers = good_writers(hosts_);
  std::vector<RolloutHost*> asked = readers_of(writers);
  std::copy_if(writers.begin(), writers.end(), std::back_inserter(asked),
               [](const RolloutHost* host) { return is_on_network(*host->facts); });
  do_phase(see_lock_phase(options_), asked);
  disagrees_ = std::any_of(asked.begin(), asked.end(), [](const RolloutHost* host) {
    return has_failed(*host) && hindrance_of(host->outcome).empty();
  });
}

/// What an earlier run left undecided is taken back first.
void Preparation::recover() {
  std::vector<RolloutHost*> undecided = good_writers(hosts_);
  std::erase_if(undecided, [](const RolloutHost* host) { return host->trial.empty(); });
  do_announced(recover_phase(), undecided);
}

/// A host that will move shows that it can go back by itself.
void Preparation::prove_dead_man() {
  std::vector<RolloutHost*> moving = movers();
  do_announced(show_outliving_phase(options_.run), moving);
  std::erase_if(moving, [](const RolloutHost* host) { return !host->good; });
  for (RolloutHost* host : moving) {
    host->program.reset();  // and its session with it
    transport_.hang_up(host->host->endpoint);
  }
  do_phase(is_outlived_phase(options_.run), moving);
  const Policy::Treatment& treatment = options_.policy.without_dead_man;
  for (RolloutHost* host : moving) {
    if (!host->good || host->outlives)
      continue;
    const std::string why =
        "no dead-man: a process that was started there did not outlive its session, so that the "
        "host could not go back by itself; let processes of this user stay (loginctl "
        "enable-linger, no pam_slurm_adopt), or give --without-dead-man proceed";
    if (treatment.what == Policy::Treatment::What::proceed) {
      status_.warning(host->outcome.host + ": " + why);
      continue;
    }
    host->good = false;
    host->outcome.state = HostState::skipped;
    host->outcome.step = "dead-man";
    host->outcome.message = why;
  }
}

/// A host that was to move could not go back by itself, and the policy neither proceeds nor leaves
/// it out.
bool Preparation::is_undefended() const {
  return std::any_of(hosts_.begin(), hosts_.end(), [](const RolloutHost& host) {
    return has_failed(host) && hindrance_of(host.outcome) == "without_dead_man";
  });
}

/// What each of `hosts` does not hold; `again`: in place of what lies there.
void Preparation::stage_on(const std::vector<RolloutHost*>& hosts, bool again) {
  for (std::size_t at = 0; at < most_parcels(sets_); ++at) {
    std::vector<RolloutHost*> lacking;
    for (RolloutHost* host : hosts) {
      if (host->good && at < host->wanted.size() && !host->held.contains(host->wanted[at]))
        lacking.push_back(host);
    }
    records_.announce(lacking, HostState::ready, "stage");
    with_retries(lacking, options_.policy.retries, HostState::ready,
                 [this, at, again](const std::vector<RolloutHost*>& asked) {
                   stage_parcel(at, again, asked, options_, transport_, status_);
                 });
    records_.note(lacking);
  }
}

void Preparation::stage() {
  stage_on(good_writers(hosts_), false);
}

/// A sealed release that is damaged and not in use is replaced, once.
void Preparation::verify() {
  const PhaseDescription verify = verify_phase(sets_, options_.policy, true);
  with_retries(good_writers(hosts_), options_.policy.retries, HostState::ready,
               [&](const std::vector<RolloutHost*>& hosts) { do_phase(verify, hosts); });
  std::vector<RolloutHost*> mended;
  for (RolloutHost* host : good_writers(hosts_)) {
    if (host->damaged.empty())
      continue;
    mended.push_back(host);
    for (const std::string& sha256 : host->damaged)
      host->held.erase(sha256);
  }
  if (!mended.empty() && !locked_)
    take_lock(good_writers(hosts_));
  if (locked_out_)
    return;
  stage_on(mended, true);
  std::erase_if(mended, [](const RolloutHost* host) { return !host->good; });
  do_phase(verify_phase(sets_, options_.policy, false), mended);
}

/// What is to be active again is there already.
void Preparation::verify_sealed() {
  const PhaseDescription verify = verify_sealed_phase(options_.policy);
  with_retries(movers(), options_.policy.retries, HostState::ready,
               [&](const std::vector<RolloutHost*>& hosts) { do_phase(verify, hosts); });
}

void Preparation::install_requirements() {
  std::vector<RolloutHost*> lacking = good_writers(hosts_);
  std::erase_if(lacking, [](const RolloutHost* host) { return host->lacking.empty(); });
  do_announced(requirements_phase(options_.pip_mirror), lacking);
}

/// Hosts that are at their release already show that it works, before another one moves.
void Preparation::confirm_unchanged() {
  std::vector<RolloutHost*> settled = good_hosts(hosts_);
  std::erase_if(settled, [](const RolloutHost* host) {
    const RolloutHost& writer = host->writer == nullptr ? *host : *host->writer;
    return moves(writer) || !writer.good;
  });
  std::vector<RolloutHost*> without_hook = settled, readers = settled;
  std::erase_if(readers, [](const RolloutHost* host) { return host->writer == nullptr; });
  std::erase_if(without_hook, [](const RolloutHost* host) {
    return host->facts->installed.hook || host->wanted.empty() || host->writer != nullptr;
  });
  if (options_.goal != RolloutOptions::Goal::proven)
    do_announced(activate_phase(options_), without_hook);
  do_phase(see_release_phase(options_.policy), readers);
  std::erase_if(settled, [](const RolloutHost* host) { return !host->good; });
  do_phase(confirm_phase(sets_, options_.policy), settled);
}

}  // namespace ds
