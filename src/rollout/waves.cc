// SPDX-License-Identifier: Apache-2.0
#include "rollout/waves.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "audit/audit.h"
#include "base/text.h"

namespace ds {

namespace {

/// "05:30", on the coordinator's clock
std::string clock_time(std::chrono::system_clock::time_point at) {
  return fmt::format("{:%H:%M}", fmt::localtime(std::chrono::system_clock::to_time_t(at)));
}

constexpr std::chrono::seconds between_looks{60};  ///< at the canary, while it is watched

std::int64_t looks_at_canary(const Policy& policy) {
  return std::max<std::int64_t>(policy.bake / between_looks, 1);
}

}  // namespace

Waves::Waves(const std::vector<RolloutHost*>& hosts, const PaceLimits& limits,
             std::size_t unavailable, const std::vector<ReleaseSet>& sets,
             const RolloutOptions& options, Records& records, Transport& transport, Status& status)
    : options_(options),
      records_(records),
      transport_(transport),
      status_(status),
      at_once_(limits.at_once()),
      pace_(limits, hosts.size(), unavailable),
      activate_(activate_phase(options)),
      confirm_(confirm_phase(sets, options.policy)),
      keep_(keep_phase(options.run)),
      rehearsal_(rollback_phase(options.run, "the way back was tried")),
      readers_(sets, options, transport) {
  for (RolloutHost* host : hosts) {
    // Should an answer be lost, this is what the host goes back to.
    host->previous = host->active;
    movers_.push_back({host});
  }
}

std::string Waves::because_for(const RolloutHost& host) const {
  for (std::size_t at = 0; at < movers_.size(); ++at) {
    if (movers_[at].host == &host && !pace_.stopped() && pace_.stopped(at))
      return because_of_class_.at(pace_.class_of(at)) +
             ", of the same class: " + class_of(*host.facts);
  }
  return because_.empty() ? held_because_ : because_;
}

void Waves::run() {
  if (movers_.empty())
    return;
  status_.stage_started("activate", movers_.size());
  run_all();
  status_.stage_finished();
}

void Waves::run_all() {
  try {
    go_on();
    transport_.run();
    while (!pace_.baking().empty()) {
      watch();
      transport_.run();
    }
  } catch (...) {
    for (const Mover& mover : movers_)
      forget_answers({mover.host});
    throw;
  }
}

void Waves::take_back(const std::string& because) {
  because_ = because;
  pace_.abandon();
  pace_.interrupt();
  for (Mover& mover : movers_)
    mover.attempts = 0;
  run_all();
  status_.stage_finished();
}

std::vector<RolloutHost*> Waves::hosts_of(const std::vector<std::size_t>& numbers) const {
  std::vector<RolloutHost*> hosts;
  for (const std::size_t at : numbers)
    hosts.push_back(movers_[at].host);
  return hosts;
}

/// A decision that could not be written is none: nobody stays by it.
void Waves::record(const PaceOrders& orders) {
  try {
    records_.decide(hosts_of(orders.take_back), "roll-back", because_);
    records_.announce(hosts_of(orders.take_back), HostState::rolled_back, "rollback");
    records_.decide(hosts_of(orders.keep), "confirm", "");
  } catch (const Error&) {
    for (const std::size_t at : orders.keep)
      pace_.untold(at);
    throw;
  }
  records_.announce(hosts_of(orders.prepare), HostState::staged, "prepare");
  records_.announce(hosts_of(orders.rehearse), HostState::rolled_back, "rehearse");
  records_.announce(hosts_of(orders.keep), HostState::confirmed, "keep");
  records_.announce(hosts_of(orders.activate), HostState::active, "activate");
}

/// Begins what there is to begin, each kind of it announced as one.
void Waves::go_on() {
  mind_the_time();
  hold_if_late();
  give_back();
  const PaceOrders orders = pace_.orders();
  record(orders);
  decided_ = decided_ || !orders.keep.empty();
  if (!began_ && !orders.activate.empty())
    began_ = std::chrono::steady_clock::now();
  for (const std::size_t at : orders.prepare)
    prepare(at);
  for (const std::size_t at : orders.activate) {
    RolloutHost& host = *movers_[at].host;
    host.activated = true;
    status_.item_started(host.outcome.host);
    begin(Move::activate, activate_, at);
  }
  for (const std::size_t at : orders.keep)
    begin(Move::keep, keep_, at);
  for (const std::size_t at : orders.rehearse)
    begin(Move::rehearse, rehearsal_, at);
  give_back();
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

void Waves::prepare(std::size_t at) {
  RolloutHost& host = *movers_[at].host;
  status_.item_started(host.outcome.host);
  prepare_unit(host, options_, records_, transport_, [this, at, &host](Prepared prepared) {
    if (prepared == Prepared::yes) {
      pace_.prepared(at);
    } else if (prepared == Prepared::left_alone) {
      for (RolloutHost* one : unit_of(host)) {
        one->outcome.left_out = !one->good;
        one->outcome.owed = {owed_release};
      }
      pace_.passed(at);
    } else {
      blame(at);
      pace_.refused(at);
    }
    if (!host.good)
      show(at, host.outcome.message);
    go_on();
  });
}

/// Hosts that were prepared, once it is decided what becomes of them.
void Waves::give_back() {
  for (std::size_t at = 0; at < movers_.size() && pace_.prepares(); ++at) {
    RolloutHost& host = *movers_[at].host;
    if ((!host.drained && !host.prepared) || host.given_back || !pace_.is_settled(at))
      continue;
    pace_.giving_back(at);
    give_unit_back(host, options_, records_, transport_, [this, at] {
      pace_.given_back(at);
      go_on();
    });
  }
}

/// One that gave no answer is asked again, but not to activate: it may have done so.
bool Waves::again(Move move, std::size_t at) {
  const Mover& mover = movers_[at];
  return move != Move::activate && mover.host->outcome.state == HostState::unknown &&
         mover.attempts <= options_.policy.retries;
}

/// Where all go together: hosts go back by themselves once their time is over, so that it is no
/// more the time to say that they stay.
void Waves::mind_the_time() {
  const bool together = options_.policy.strategy == Policy::Strategy::all_at_once;
  if (!together || decided_ || !began_)
    return;
  const auto margin = std::min<std::chrono::milliseconds>(std::chrono::seconds(10),
                                                          options_.policy.confirm_timeout / 10);
  if (std::chrono::steady_clock::now() + margin < *began_ + options_.policy.confirm_timeout)
    return;
  because_ = fmt::format("to confirm took nearly as long as confirm_timeout, {} s",
                         options_.policy.confirm_timeout.count());
  pace_.interrupt();
  decided_ = true;
}

/// What comes next begins only if it ends in time, as far as this run's hosts tell how long it
/// takes, or those of an earlier one.
void Waves::hold_if_late() {
  if (!options_.until || pace_.about_to_begin() == 0)
    return;
  const MoveTimes seen = times_of(took_);
  const bool canary = options_.policy.strategy == Policy::Strategy::canary && !began_;
  const double seconds = seconds_of_wave(pace_.about_to_begin(), at_once_, canary, options_.policy,
                                         seen.longest > 0 ? seen : options_.times);
  const auto end = std::chrono::system_clock::now() +
                   std::chrono::seconds(static_cast<std::int64_t>(std::ceil(seconds)));
  if (end <= *options_.until)
    return;
  pace_.hold();
  held_because_ = fmt::format("it would have ended at {}, after {} (--until)", clock_time(end),
                              clock_time(*options_.until));
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
      if (asks_more(at, [this, at, &host] {
            proved(at, host.good ? "confirmed" : "failed: " + host.outcome.message);
          }))
        return;
      proved(at, word);
      break;
    case Move::watch:
      if (asks_more(at, [this, at] { watched(at); }))
        return;
      watched(at);
      break;
    case Move::rehearse:
      rehearsed(at);
      break;
    case Move::keep:
      if (host.outcome.state == HostState::rolled_back) {
        blame(at);
        pace_.expired(at);
      } else if (host.good) {
        took_.push_back(host.outcome.seconds);
        pace_.kept(at);
      } else {
        host.outcome.state = HostState::unknown;
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

/// The policy's own question, and hosts that share the environment; then `then` comes. False where
/// there is neither.
bool Waves::asks_more(std::size_t at, std::function<void()> then) {
  RolloutHost& host = *movers_[at].host;
  const bool health = host.good && !options_.policy.health.command.empty();
  if (!health && host.readers.empty())
    return false;
  const auto others = [this, &host, then = std::move(then)] {
    readers_.confirm(host, [this, then] {
      then();
      go_on();
    });
  };
  if (health)
    ask_health(host, options_, transport_, others);
  else
    others();
  return true;
}

/// False where more hosts than may do not confirm what one of them wrote: those are to blame.
bool Waves::judge(std::size_t at) {
  RolloutHost& host = *movers_[at].host;
  std::vector<RolloutHost*> failed = unit_of(host);
  const std::size_t all = failed.size();
  std::erase_if(failed, [](const RolloutHost* one) { return one->good; });
  if (failed.empty())
    return true;
  if (all > 1 && failed.size() <= options_.policy.most_shared_failures(all)) {
    if (!host.good)
      host.unconfirmed = host.outcome.message;
    host.good = true;
    return true;
  }
  for (RolloutHost* one : failed)
    blame(*one, at);
  return false;
}

/// It can go back when it is told; now it goes forward again.
void Waves::rehearsed(std::size_t at) {
  RolloutHost& host = *movers_[at].host;
  if (!host.good) {
    blame(at);
    pace_.stuck(at);
    return;
  }
  host.confirmed = false;
  host.outcome.state = HostState::staged;
  host.outcome.message.clear();
  add_remark(host, "went back and forward again, as a trial");
  pace_.returned(at);
}

/// Those that stay for the first are asked again and again before others follow.
void Waves::watch() {
  const std::int64_t looks = looks_at_canary(options_.policy);
  if (looks_++ == 0)
    status_.remark("the canary is watched for " +
                   human_seconds(static_cast<double>(options_.policy.bake.count())));
  transport_.attend(options_.policy.bake / looks);
  for (const std::size_t at : pace_.baking())
    begin(Move::watch, confirm_, at);
}

void Waves::watched(std::size_t at) {
  RolloutHost& host = *movers_[at].host;
  if (!judge(at)) {
    host.confirmed = false;
    pace_.spoiled(at);
  } else if (looks_ == looks_at_canary(options_.policy)) {
    pace_.baked(at);
  }
}

void Waves::proved(std::size_t at, const std::string& word) {
  if (judge(at)) {
    const bool rehearses = !pace_.is_rehearsed(at);
    pace_.proven(at);
    if (!rehearses)
      show(at, word);
  } else {
    pace_.failed(at);
  }
}

/// Others go back because of it.
void Waves::blame(RolloutHost& host, std::size_t at) {
  host.culprit = true;
  culprits_.push_back(host.outcome.host);
  const std::string& step = host.outcome.step;
  const char* what = step == "activate" || step == "lock"       ? "could not activate it"
                     : step == "health"                         ? "is not healthy"
                     : step == "drain" || step == "before_host" ? "could not be prepared"
                                                                : "did not confirm";
  because_ = some_of(culprits_) + " " + what;
  because_of_class_[pace_.class_of(at)] = host.outcome.host + " " + what;
}

void Waves::show(std::size_t at, const std::string& word) {
  if (!std::exchange(movers_[at].shown, true))
    status_.item_finished(movers_[at].host->outcome.host, word, !movers_[at].host->good);
}

}  // namespace ds
