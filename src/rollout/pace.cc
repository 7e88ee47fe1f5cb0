// SPDX-License-Identifier: Apache-2.0
#include "rollout/pace.h"

#include <algorithm>

#include "base/error.h"

namespace ds {

Pace::Pace(PaceLimits limits, std::size_t hosts, std::size_t unavailable)
    : limits_(limits), hosts_(hosts, Stand::waiting), before_(unavailable) {}

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

std::size_t Pace::unavailable() const {
  return before_ + number_of({Stand::activating, Stand::proving, Stand::proven, Stand::to_keep,
                              Stand::keeping, Stand::to_return, Stand::returning, Stand::stuck});
}

std::size_t Pace::waiting() const {
  return number_of({Stand::waiting});
}

bool Pace::busy() const {
  return number_of({Stand::activating, Stand::proving, Stand::keeping, Stand::returning}) > 0;
}

void Pace::fail() {
  stopped_ = stopped_ || ++failures_ > limits_.failures;
}

void Pace::activated(std::size_t host) {
  move(host, {Stand::activating}, Stand::proving);
}

void Pace::proven(std::size_t host) {
  move(host, {Stand::proving}, Stand::proven);
}

void Pace::failed(std::size_t host) {
  move(host, {Stand::activating, Stand::proving}, Stand::to_return);
  fail();
}

void Pace::kept(std::size_t host) {
  move(host, {Stand::keeping}, Stand::kept);
}

void Pace::expired(std::size_t host) {
  move(host, {Stand::keeping}, Stand::returned);
  fail();
}

void Pace::returned(std::size_t host) {
  move(host, {Stand::returning}, Stand::returned);
}

void Pace::stuck(std::size_t host) {
  if (hosts_.at(host) == Stand::keeping)
    fail();
  move(host, {Stand::keeping, Stand::returning}, Stand::stuck);
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
    if (stand == Stand::activating || stand == Stand::proving || stand == Stand::returning)
      stand = Stand::to_return;
  }
}

/// Once stopped: who is not decided goes back after an interrupt and where the policy takes all
/// back, then also who stays already. But where all go together nobody goes back any more once it
/// is decided: who did not hear of it can be brought forward.
void Pace::recall() {
  if (!stopped_)
    return;
  const bool undecided = interrupted_ || limits_.all_go_back;
  const bool decided = limits_.all_go_back && !limits_.together && !interrupted_;
  for (Stand& stand : hosts_) {
    if ((undecided && stand == Stand::proven) || (decided && stand == Stand::kept))
      stand = Stand::to_return;
  }
}

void Pace::decide() {
  const bool all_known = number_of({Stand::waiting, Stand::activating, Stand::proving}) == 0;
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

void Pace::begin_more(PaceOrders& orders) {
  std::size_t in_flight = number_of({Stand::activating, Stand::proving, Stand::proven,
                                     Stand::keeping, Stand::to_return, Stand::returning});
  std::size_t out = unavailable();
  for (std::size_t host = 0; host < hosts_.size() && !stopped_; ++host) {
    if (hosts_[host] != Stand::waiting)
      continue;
    if (in_flight >= limits_.in_flight || out >= limits_.unavailable)
      return;
    hosts_[host] = Stand::activating;
    orders.activate.push_back(host);
    ++in_flight;
    ++out;
  }
}

PaceOrders Pace::orders() {
  PaceOrders orders;
  recall();
  give(Stand::to_return, Stand::returning, orders.take_back);
  decide();
  give(Stand::to_keep, Stand::keeping, orders.keep);
  begin_more(orders);
  return orders;
}

}  // namespace ds
