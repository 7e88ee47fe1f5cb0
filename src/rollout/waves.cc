// SPDX-License-Identifier: Apache-2.0
#include "rollout/waves.h"

#include <fmt/format.h>

#include "base/text.h"

namespace ds {

namespace {

PaceLimits limits_for(const RolloutOptions& options, std::size_t hosts, std::size_t unavailable) {
  return options.limits.value_or(
      PaceLimits{.in_flight = hosts, .unavailable = hosts + unavailable});
}

}  // namespace

Waves::Waves(std::vector<RolloutHost*> hosts, std::size_t unavailable,
             const std::vector<ReleaseSet>& sets, const RolloutOptions& options,
             Transport& transport, Status& status)
    : options_(options),
      transport_(transport),
      status_(status),
      pace_(limits_for(options, hosts.size(), unavailable), hosts.size(), unavailable),
      activate_(activate_phase(options.run, options.confirm_timeout)),
      confirm_(confirm_phase(sets, options.confirm_limit)),
      keep_(keep_phase(options.run)) {
  for (RolloutHost* host : hosts)
    movers_.push_back({host});
}

void Waves::run() {
  if (movers_.empty())
    return;
  status_.stage_started("activate", movers_.size());
  go_on();
  transport_.run();
  status_.stage_finished();
}

void Waves::take_back(const std::string& because) {
  because_ = because;
  pace_.abandon();
  pace_.interrupt();
  for (Mover& mover : movers_)
    mover.attempts = 0;
  go_on();
  transport_.run();
  status_.stage_finished();
}

/// Begins what there is to begin.
void Waves::go_on() {
  const PaceOrders orders = pace_.orders();
  for (const std::size_t at : orders.activate) {
    RolloutHost& host = *movers_[at].host;
    // Should the answer be lost, this is what the host goes back to.
    host.previous = host.active;
    host.activated = true;
    status_.item_started(host.outcome.host);
    begin(Move::activate, activate_, at);
  }
  for (const std::size_t at : orders.keep)
    begin(Move::keep, keep_, at);
  if (orders.take_back.empty())
    return;
  const PhaseDescription& rollback =
      rollbacks_.emplace_back(rollback_phase(options_.run, because_));
  for (const std::size_t at : orders.take_back) {
    RolloutHost& host = *movers_[at].host;
    if (!host.culprit)
      host.outcome.message = "it had to go back, because " + because_;
    begin(Move::take_back, rollback, at);
  }
}

void Waves::begin(Move move, const PhaseDescription& phase, std::size_t at) {
  RolloutHost& host = *movers_[at].host;
  host.good = true;
  ++movers_[at].attempts;
  ask_host(phase, host, transport_, [this, move, &phase, at](const std::string& word) {
    if (!movers_[at].host->good && again(move, at))
      begin(move, phase, at);
    else
      ended(move, at, word);
  });
}

/// One that gave no answer is asked once more; it proves itself as often as the policy says.
bool Waves::again(Move move, std::size_t at) {
  const int tries = move == Move::prove ? 1 + options_.retries : move == Move::keep ? 2 : 1;
  return movers_[at].attempts < tries;
}

void Waves::ended(Move move, std::size_t at, const std::string& word) {
  RolloutHost& host = *movers_[at].host;
  movers_[at].attempts = 0;
  switch (move) {
    case Move::activate:
      if (host.good) {
        pace_.activated(at);
        begin(Move::prove, confirm_, at);
        return;
      }
      blame(at);
      pace_.failed(at);
      break;
    case Move::prove:
      if (host.good) {
        pace_.proven(at);
        show(at, word);
      } else {
        blame(at);
        pace_.failed(at);
      }
      break;
    case Move::keep:
      if (host.outcome.state == HostState::rolled_back) {
        blame(at);
        pace_.expired(at);
      } else if (host.good) {
        pace_.kept(at);
      } else {
        host.outcome.message += "; it goes back by itself, unless it heard that it was confirmed";
        pace_.stuck(at);
      }
      break;
    case Move::take_back:
      host.good ? pace_.returned(at) : pace_.stuck(at);
      show(at, word);
      break;
  }
  go_on();
}

/// Others go back because of it.
void Waves::blame(std::size_t at) {
  RolloutHost& host = *movers_[at].host;
  host.culprit = true;
  culprits_.push_back(host.outcome.host);
  const char* what = host.outcome.step == "activate" ? "could not activate it" : "did not confirm";
  because_ = some_of(culprits_) + " " + what;
}

void Waves::show(std::size_t at, const std::string& word) {
  if (!std::exchange(movers_[at].shown, true))
    status_.item_finished(movers_[at].host->outcome.host, word, !movers_[at].host->good);
}

}  // namespace ds
