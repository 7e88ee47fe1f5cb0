// SPDX-License-Identifier: Apache-2.0
#include "rollout/pace.h"

#include <algorithm>

#include "base/error.h"

namespace ds {

Pace::Pace(PaceLimits limits, std::size_t hosts, std::size_t unavailable)
    : limits_(std::move(limits)), hosts_(hosts, Stand::waiting), before_(unavailable) {}

void Pace::move(std::size_t host, std::vector<Stand> from, Stand to) {
  Stand& stand = hosts_.at(host);
  if (std::find(from.begin(), from.end(), stand) == from.end())
    throw Error("a host of the rollout did what nobody had asked it to");
  stand = to;
}

std::size_t Pace::number_of(std::vector<Stand> stands) const {
  return static_cast<std::size_t>(std::count_if(hosts_.begin(), hosts_.end(), [&](Stand stand) {
    return std::find(stands.begin(), stands.end(), stand) != stands.end();
  }));
}

std::size_t Pace::in_flight() const {
  return out_of_work_.size() +
         number_of({Stand::preparing, Stand::prepared, Stand::activating, Stand::proving,
                    Stand::proven, Stand::to_keep, Stand::keeping, Stand::to_return,
                    Stand::returning, Stand::to_rehearse, Stand::rehearsing});
}

std::size_t Pace::unavailable() const {
  return before_ + in_flight() + number_of({Stand::stuck});
}

std::size_t Pace::waiting() const {
  return number_of({Stand::waiting});
}

bool Pace::busy() const {
  return number_of({Stand::preparing, Stand::activating, Stand::proving, Stand::keeping,
                    Stand::returning, Stand::rehearsing}) > 0;
}

std::vector<std::size_t> Pace::baking() const {
  std::vector<std::size_t> watched;
  for (std::size_t host = 0; host < hosts_.size(); ++host) {
    if (hosts_[host] == Stand::baking)
      watched.push_back(host);
  }
  return watched;
}

void Pace::fail(std::size_t host) {
  const bool too_many = ++failures_ > limits_.failures;
  if (limits_.class_stops)
    failed_classes_.insert(limits_.classes.at(host));
  if (!too_many && host >= limits_.canary)
    return;
  if (!limits_.class_stops || (too_many && failed_classes_.size() > 1))
    stopped_ = true;
  else
    stopped_classes_.insert(limits_.classes[host]);
}

bool Pace::stopped(std::size_t host) const {
  return stopped_ || (limits_.class_stops && stopped_classes_.contains(limits_.classes[host]));
}

bool Pace::is_rehearsed(std::size_t host) const {
  return stopped_ || !limits_.rehearses || host >= limits_.canary || rehearsed_.contains(host);
}

void Pace::prepared(std::size_t host) {
  move(host, {Stand::preparing}, Stand::prepared);
}

void Pace::passed(std::size_t host) {
  move(host, {Stand::preparing}, Stand::returned);
}

void Pace::refused(std::size_t host) {
  passed(host);
  fail(host);
}

bool Pace::is_settled(std::size_t host) const {
  const Stand stand = hosts_.at(host);
  return stand == Stand::kept || stand == Stand::baking || stand == Stand::returned;
}

void Pace::activated(std::size_t host) {
  move(host, {Stand::activating}, Stand::proving);
}

void Pace::proven(std::size_t host) {
  move(host, {Stand::proving}, is_rehearsed(host) ? Stand::proven : Stand::to_rehearse);
}

void Pace::failed(std::size_t host) {
  move(host, {Stand::activating, Stand::proving}, Stand::to_return);
  fail(host);
}

void Pace::kept(std::size_t host) {
  const bool bakes = limits_.bakes && host < limits_.canary;
  move(host, {Stand::keeping}, bakes ? Stand::baking : Stand::kept);
}

void Pace::expired(std::size_t host) {
  move(host, {Stand::keeping}, Stand::returned);
  fail(host);
}

void Pace::returned(std::size_t host) {
  if (hosts_.at(host) == Stand::rehearsing) {
    rehearsed_.insert(host);
    hosts_[host] = Stand::waiting;
    return;
  }
  move(host, {Stand::returning}, Stand::returned);
}

void Pace::stuck(std::size_t host) {
  if (hosts_.at(host) != Stand::returning)
    fail(host);
  move(host, {Stand::keeping, Stand::returning, Stand::rehearsing}, Stand::stuck);
}

void Pace::giving_back(std::size_t host) {
  out_of_work_.insert(host);
}

void Pace::given_back(std::size_t host) {
  out_of_work_.erase(host);
}

void Pace::baked(std::size_t host) {
  move(host, {Stand::baking}, Stand::kept);
}

void Pace::spoiled(std::size_t host) {
  move(host, {Stand::baking}, Stand::to_return);
  fail(host);
}

void Pace::untold(std::size_t host) {
  move(host, {Stand::keeping}, Stand::proven);
}

void Pace::interrupt() {
  stopped_ = interrupted_ = true;
}

void Pace::abandon() {
  for (Stand& stand : hosts_) {
    if (stand == Stand::keeping)
      stand = Stand::to_keep;
    if (stand == Stand::preparing)
      stand = Stand::returned;
    if (stand == Stand::activating || stand == Stand::proving || stand == Stand::returning ||
        stand == Stand::to_rehearse || stand == Stand::rehearsing)
      stand = Stand::to_return;
  }
}

/// Once stopped: who is not decided goes back after an interrupt and where the policy takes all
/// back, then also who stays already. But where all go together nobody goes back any more once it
/// is decided: who did not hear of it can be brought forward.
void Pace::recall() {
  for (std::size_t host = 0; host < hosts_.size() && limits_.prepares; ++host) {
    if (hosts_[host] == Stand::prepared && stopped(host))
      hosts_[host] = Stand::returned;
  }
  if (!stopped_)
    return;
  const bool undecided = interrupted_ || limits_.all_go_back;
  const bool decided = limits_.all_go_back && !limits_.together && !interrupted_;
  for (Stand& stand : hosts_) {
    const bool stays = stand == Stand::kept || stand == Stand::baking;
    if ((undecided && stand == Stand::proven) || (decided && stays) || stand == Stand::to_rehearse)
      stand = Stand::to_return;
    else if (stand == Stand::baking)
      stand = Stand::kept;  // nobody waits for it any more
  }
}

void Pace::decide() {
  const bool all_known = number_of({Stand::waiting, Stand::preparing, Stand::prepared,
                                    Stand::activating, Stand::proving}) == 0;
  if (limits_.together && !all_known)
    return;
  std::replace(hosts_.begin(), hosts_.end(), Stand::proven, Stand::to_keep);
}

void Pace::give(Stand from, Stand to, std::vector<std::size_t>& list) {
  for (std::size_t host = 0; host < hosts_.size(); ++host) {
    if (hosts_[host] != from)
      continue;
    hosts_[host] = to;
    list.push_back(host);
  }
}

/// Hosts that may begin: a wave is over once none of its hosts can begin, or is not decided.
Pace::Range Pace::open_wave() const {
  std::size_t begin = 0;
  for (const std::size_t end : limits_.waves) {
    for (std::size_t host = begin; host < end; ++host) {
      const Stand stand = hosts_[host];
      const bool over = stand == Stand::kept || stand == Stand::returned || stand == Stand::stuck ||
                        (stand == Stand::waiting && stopped(host));
      if (!over)
        return {begin, end};
    }
    begin = end;
  }
  return {begin, hosts_.size()};
}

std::size_t Pace::about_to_begin() const {
  const Range wave = open_wave();
  std::size_t waiting = 0;
  bool begun = false;
  for (std::size_t host = wave.begin; host < wave.end; ++host) {
    if (hosts_[host] != Stand::waiting || rehearsed_.contains(host))
      begun = true;
    else if (!stopped(host))
      ++waiting;
  }
  if (stopped_ || held_)
    return 0;
  if (limits_.waves.empty() && !limits_.together)  // each host begins for itself
    return std::min<std::size_t>(waiting, 1);
  return begun ? 0 : waiting;
}

void Pace::begin_more(PaceOrders& orders) {
  std::size_t flying = in_flight(), out = unavailable();
  const Range wave = open_wave();
  for (std::size_t host = wave.begin; host < wave.end && !stopped_ && !held_; ++host) {
    if (hosts_[host] != Stand::waiting || stopped(host))
      continue;
    if (flying >= limits_.in_flight || out >= limits_.unavailable)
      return;
    const bool prepares = limits_.prepares && !rehearsed_.contains(host);
    hosts_[host] = prepares ? Stand::preparing : Stand::activating;
    (prepares ? orders.prepare : orders.activate).push_back(host);
    ++flying;
    ++out;
  }
}

PaceOrders Pace::orders() {
  PaceOrders orders;
  recall();
  give(Stand::to_return, Stand::returning, orders.take_back);
  give(Stand::to_rehearse, Stand::rehearsing, orders.rehearse);
  decide();
  give(Stand::to_keep, Stand::keeping, orders.keep);
  // Where all go together, nobody's time to confirm runs while others are still prepared.
  if (!limits_.together || number_of({Stand::waiting, Stand::preparing}) == 0)
    give(Stand::prepared, Stand::activating, orders.activate);
  begin_more(orders);
  return orders;
}

}  // namespace ds
