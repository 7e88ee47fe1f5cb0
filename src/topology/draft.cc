// SPDX-License-Identifier: Apache-2.0
#include "topology/draft.h"

#include <cmath>
#include <map>
#include <numeric>
#include <queue>
#include <tuple>
#include <utility>

namespace ds {
namespace {

bool is_slow(const Peer& peer, double usual) {
  return peer.pace() <= usual / 2;
}

double median_pace(const std::vector<Peer>& peers, const std::vector<std::size_t>& hosts) {
  std::vector<double> paces;
  for (const std::size_t host : hosts)
    paces.push_back(peers[host].pace());
  const auto middle = paces.begin() + static_cast<std::ptrdiff_t>(paces.size() / 2);
  std::nth_element(paces.begin(), middle, paces.end());
  return *middle;
}

void sort_hosts(HostGroup& group, const std::vector<Peer>& peers, Nearest nearest) {
  group.usual_pace = median_pace(peers, group.hosts);
  const auto key = [&](std::size_t host) {
    const Peer& peer = peers[host];
    return std::tuple(is_slow(peer, group.usual_pace), nearest == Nearest::kept ? -peer.kept : 0,
                      -peer.pace(), -peer.up, -peer.down, -peer.kept, peer.network, host);
  };
  std::sort(group.hosts.begin(), group.hosts.end(),
            [&](std::size_t left, std::size_t right) { return key(left) < key(right); });
  group.network = peers[group.hosts.front()].network;
}

/// Hosts that can take one more child, those with the least depth first.
class Openings {
 public:
  Openings(const Draft& draft, const std::vector<std::size_t>& children, std::size_t most)
      : draft_(draft), children_(children), most_(most) {}

  void add(std::size_t host) {
    last_ = host;
    if (draft_.slots[host] == 0)
      return;
    open_.emplace(draft_.depths[host], added_++, host);
    relays_.push_back(host);
  }

  /// One with a free slot, or nothing.
  std::optional<std::size_t> free() {
    while (!open_.empty()) {
      const std::size_t host = std::get<2>(open_.top());
      if (children_[host] < draft_.slots[host])
        return host;
      open_.pop();
    }
    return std::nullopt;
  }

  /// Where no slot is free, the last ones take more than their slots: least hangs on them. Who was
  /// added last of all has no child yet.
  std::size_t any() {
    if (const auto host = free())
      return *host;
    while (!relays_.empty() && children_[relays_.back()] >= most_)
      relays_.pop_back();
    return relays_.empty() ? last_ : relays_.back();
  }

 private:
  using Opening = std::tuple<std::size_t, std::size_t, std::size_t>;  ///< depth, turn, host
  const Draft& draft_;
  const std::vector<std::size_t>& children_;
  std::size_t most_;
  std::priority_queue<Opening, std::vector<Opening>, std::greater<>> open_;
  std::size_t added_ = 0;
  std::vector<std::size_t> relays_;
  std::size_t last_ = coordinator;
};

class Drafter {
 public:
  Drafter(const std::vector<Peer>& peers, const DraftLimits& limits)
      : peers_(peers),
        limits_(limits),
        draft_(draft_star(peers.size())),
        children_(peers.size(), 0),
        all_(draft_, children_, limits.most_children) {
    draft_.order.clear();
    for (std::size_t host = 0; host < peers.size(); ++host) {
      if (!peers[host].relays)
        draft_.order.push_back(host);
    }
  }

  void add(const HostGroup& group) {
    Openings own(draft_, children_, limits_.most_children);
    for (std::size_t at = 0; at < group.hosts.size(); ++at) {
      const std::size_t host = group.hosts[at];
      const bool is_root = trees_ < limits_.trees && (at == 0 || !group.rack);
      trees_ += is_root;
      place(host, group, is_root ? coordinator : at > 0 ? own.any() : entry(group));
      own.add(host);
    }
    for (const std::size_t host : group.hosts) {
      all_.add(host);
      if (peers_[host].network)
        of_network(*peers_[host].network).add(host);
    }
  }

  Draft take() { return std::move(draft_); }

 private:
  Openings& of_network(std::size_t network) {
    return networks_.try_emplace(network, draft_, children_, limits_.most_children).first->second;
  }

  std::size_t entry(const HostGroup& group) {
    const auto near = group.network ? of_network(*group.network).free() : std::nullopt;
    return near ? *near : all_.any();
  }

  void place(std::size_t host, const HostGroup& group, std::size_t parent) {
    // A half is rounded down: one child of a usual host is none of a slow one.
    const double usual = peers_[host].pace() / group.usual_pace;
    const double slots = std::ceil(static_cast<double>(limits_.children) * usual - 0.5);
    draft_.slots[host] =
        static_cast<std::size_t>(std::min(slots, static_cast<double>(limits_.most_children)));
    draft_.parents[host] = parent;
    draft_.order.push_back(host);
    if (parent == coordinator)
      return;
    draft_.depths[host] = draft_.depths[parent] + 1;
    ++children_[parent];
  }

  const std::vector<Peer>& peers_;
  const DraftLimits& limits_;
  Draft draft_;
  std::vector<std::size_t> children_;
  std::size_t trees_ = 0;
  Openings all_;
  std::map<std::size_t, Openings> networks_;
};

}  // namespace

std::vector<HostGroup> make_groups(const std::vector<Peer>& peers, Nearest nearest) {
  std::map<std::tuple<std::string, std::optional<std::size_t>>, HostGroup> found;
  for (std::size_t host = 0; host < peers.size(); ++host) {
    const Peer& peer = peers[host];
    if (!peer.relays)
      continue;
    const bool rack = !peer.rack.empty();
    HostGroup& group = found[{peer.rack, rack ? std::nullopt : peer.network}];
    group.rack = rack;
    group.name = peer.rack;
    group.hosts.push_back(host);
  }
  std::vector<HostGroup> groups;
  for (auto& [name, group] : found) {
    sort_hosts(group, peers, nearest);
    groups.push_back(std::move(group));
  }
  std::stable_sort(
      groups.begin(), groups.end(), [&](const HostGroup& left, const HostGroup& right) {
        const auto key = [&](const HostGroup& group) {
          const double kept = nearest == Nearest::kept ? peers[group.hosts.front()].kept : 0;
          return std::tuple(-kept, -group.usual_pace, !group.rack,
                            -static_cast<double>(group.hosts.size()));
        };
        return key(left) < key(right);
      });
  return groups;
}

Draft draft_trees(const std::vector<Peer>& peers, const std::vector<HostGroup>& groups,
                  const DraftLimits& limits) {
  Drafter drafter(peers, limits);
  for (const HostGroup& group : groups)
    drafter.add(group);
  return drafter.take();
}

Draft draft_star(std::size_t hosts) {
  Draft draft;
  draft.parents.assign(hosts, coordinator);
  draft.depths.assign(hosts, 0);
  draft.slots.assign(hosts, 0);
  draft.order.resize(hosts);
  std::iota(draft.order.begin(), draft.order.end(), 0);
  return draft;
}

}  // namespace ds
