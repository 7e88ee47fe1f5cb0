// SPDX-License-Identifier: Apache-2.0
#include "topology/predict.h"

#include <span>

namespace ds {
namespace {

/// The children of each host and of the coordinator, one list after the other.
class Families {
 public:
  explicit Families(const Draft& draft) : begins_(draft.parents.size() + 2, 0) {
    for (const std::size_t parent : draft.parents)
      ++begins_[index_of(parent) + 1];
    for (std::size_t at = 1; at < begins_.size(); ++at)
      begins_[at] += begins_[at - 1];
    children_.resize(draft.parents.size());
    std::vector<std::size_t> next(begins_);
    for (std::size_t host = 0; host < draft.parents.size(); ++host)
      children_[next[index_of(draft.parents[host])]++] = host;
  }

  std::span<std::size_t> of(std::size_t parent) {
    const std::size_t at = index_of(parent);
    return std::span(children_).subspan(begins_[at], begins_[at + 1] - begins_[at]);
  }

 private:
  std::size_t index_of(std::size_t parent) const {
    return parent == coordinator ? begins_.size() - 2 : parent;
  }

  std::vector<std::size_t> begins_, children_;
};

class Prediction {
 public:
  Prediction(const std::vector<Peer>& peers, const Draft& draft, const Timing& timing)
      : peers_(peers),
        timing_(timing),
        shares_(peers.size()),
        takes_(peers.size()),
        begun_(peers.size()),
        done_(peers.size()) {
    Families families(draft);
    deal_out(timing.uplink, families.of(coordinator));
    for (const std::size_t host : draft.order) {
      deal_out(peers[host].up, families.of(host));
      if (draft.parents[host] == coordinator)
        from_coordinator(host);
      else
        from_host(host, draft.parents[host]);
    }
  }

  std::vector<double> take() { return std::move(done_); }

 private:
  /// Fair shares of `up` while all receive (D. Bertsekas and R. Gallager, Data Networks, 6.5.2);
  /// who has all then leaves its share to the others, as large as theirs are. So a sender that is
  /// busy until the end sends all bytes in just their sum / up.
  void deal_out(double up, std::span<std::size_t> receivers) {
    std::sort(receivers.begin(), receivers.end(), [this](std::size_t left, std::size_t right) {
      return peers_[left].down < peers_[right].down;
    });
    double left_over = up, together = 0;
    std::size_t waiting = receivers.size();
    for (const std::size_t host : receivers) {
      shares_[host] = std::min(peers_[host].down, left_over / static_cast<double>(waiting--));
      left_over -= shares_[host];
      together += shares_[host];
    }
    std::sort(receivers.begin(), receivers.end(),
              [this](std::size_t left, std::size_t right) { return alone(left) < alone(right); });
    double sent = 0;
    for (const std::size_t host : receivers) {
      takes_[host] =
          std::max((sent + alone(host) * together) / up, peers_[host].lacks / peers_[host].down);
      sent += peers_[host].lacks;
      together -= shares_[host];
    }
  }

  double alone(std::size_t host) const { return peers_[host].lacks / shares_[host]; }

  double first_chunk(std::size_t host) const {
    return std::min(timing_.chunk, peers_[host].lacks) / shares_[host];
  }

  void from_coordinator(std::size_t host) {
    const double start = peers_[host].relays ? timing_.set_up_seconds : 0;
    done_[host] = start + takes_[host];
    begun_[host] = std::min(start + first_chunk(host), done_[host]);
  }

  void from_host(std::size_t host, std::size_t parent) {
    begun_[host] = done_[host] = timing_.set_up_seconds;
    if (peers_[host].lacks <= 0)
      return;
    const double passed_on = first_chunk(host) + timing_.hop_seconds;
    const double there = there_at(parent, peers_[host].kept);
    done_[host] = std::max(there + timing_.hop_seconds + takes_[host], done_[parent] + passed_on);
    begun_[host] = std::min(there + passed_on, done_[host]);
  }

  /// When a host has what comes after the stream's first `bytes`.
  double there_at(std::size_t host, double bytes) const {
    const Peer& peer = peers_[host];
    if (bytes < peer.kept)
      return timing_.set_up_seconds;
    return begun_[host] + (done_[host] - begun_[host]) * (bytes - peer.kept) / peer.lacks;
  }

  const std::vector<Peer>& peers_;
  const Timing& timing_;
  std::vector<double> shares_, takes_;  ///< of each host at its source: bytes in a second; seconds
  std::vector<double> begun_, done_;    ///< when its first new chunk, and its last byte, is there
};

}  // namespace

std::vector<double> predict_seconds(const std::vector<Peer>& peers, const Draft& draft,
                                    const Timing& timing) {
  return Prediction(peers, draft, timing).take();
}

double seconds_at_best(const std::vector<Peer>& peers, double uplink) {
  double all = 0, up = uplink, slowest = 0;
  double sent_by_coordinator = 0;  ///< to those that do not relay, and once what no other has
  std::optional<double> least;
  for (const Peer& peer : peers) {
    all += peer.lacks;
    slowest = std::max(slowest, peer.lacks / peer.down);
    if (peer.relays) {
      up += peer.up;
      least = std::min(least.value_or(peer.lacks), peer.lacks);
    } else {
      sent_by_coordinator += peer.lacks;
    }
  }
  sent_by_coordinator += least.value_or(0);
  return std::max({sent_by_coordinator / uplink, slowest, all / up});
}

}  // namespace ds
