// SPDX-License-Identifier: Apache-2.0
#include "topology/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/text.h"
#include "topology/draft.h"
#include "topology/networks.h"
#include "topology/predict.h"

namespace ds {
namespace {

// Of the hosts that a host falls back to: more ways round a failed parent than up the tree alone.
constexpr std::size_t most_uncles = 2;
// By so much a prediction is not to be trusted; then other things count.
constexpr double hardly = 0.01;

double known_or(double rate, double assumed) {
  return std::isfinite(rate) && rate >= 1 ? rate : assumed;
}

std::vector<Peer> make_peers(const TopologyRequest& request) {
  const std::vector<std::optional<std::size_t>> networks = home_networks(request.hosts);
  std::vector<Peer> peers;
  for (std::size_t at = 0; at < request.hosts.size(); ++at) {
    const TopologyHost& host = request.hosts[at];
    Peer& peer = peers.emplace_back();
    peer.kept = static_cast<double>(std::min(host.kept, request.bytes));
    peer.lacks = static_cast<double>(request.bytes) - peer.kept;
    peer.up = known_or(host.up, request.link);
    peer.down = known_or(host.down, request.link);
    peer.relays = host.relays;
    peer.rack = host.rack;
    peer.network = networks[at];
  }
  return peers;
}

struct Candidate {
  Draft draft;
  std::vector<double> seconds;  ///< of each host
};

/// When the last host has all, and when a host has on average.
struct Score {
  double last = 0, mean = 0;
};

Score score_of(const std::vector<double>& seconds) {
  if (seconds.empty())
    return {};
  return {
      *std::max_element(seconds.begin(), seconds.end()),
      std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size())};
}

/// 1, 2, 3 .. 8, 16, 32 .. `most`.
std::vector<std::size_t> counts_up_to(std::size_t most) {
  std::vector<std::size_t> counts;
  for (std::size_t count = 1; count < most; count += count < 8 ? 1 : count)
    counts.push_back(count);
  counts.push_back(most);
  return counts;
}

Candidate make_star(std::vector<Peer> peers, const Timing& timing) {
  for (Peer& peer : peers)
    peer.relays = false;
  Draft draft = draft_star(peers.size());
  return {draft, predict_seconds(peers, draft, timing)};
}

std::size_t trees_of(const std::vector<Peer>& peers, const Draft& draft) {
  std::size_t trees = 0;
  for (std::size_t host = 0; host < peers.size(); ++host)
    trees += peers[host].relays && draft.parents[host] == coordinator;
  return trees;
}

std::size_t most_trees(const std::vector<HostGroup>& groups) {
  std::size_t trees = 0;
  for (const HostGroup& group : groups)
    trees += group.rack ? 1 : group.hosts.size();
  return trees;
}

/// What there is to choose from, with fewer trees first, then with fewer children.
struct Option {
  const std::vector<HostGroup>* groups = nullptr;
  DraftLimits limits;
  Score score;
};

/// The fastest; of several with hardly a difference that whose hosts have all sooner on average,
/// and then the first.
const Option& best_of(const std::vector<Option>& options) {
  double last = options.front().score.last;
  for (const Option& option : options)
    last = std::min(last, option.score.last);
  const Option* best = nullptr;
  for (const Option& option : options) {
    if (option.score.last <= last * (1 + hardly) &&
        (best == nullptr || option.score.mean < best->score.mean * (1 - hardly)))
      best = &option;
  }
  return *best;
}

Candidate best_trees(const std::vector<Peer>& peers, const Timing& timing,
                     std::size_t most_children) {
  std::vector<std::vector<HostGroup>> orders = {make_groups(peers, Nearest::fast)};
  if (std::any_of(peers.begin(), peers.end(), [](const Peer& peer) { return peer.kept > 0; }))
    orders.push_back(make_groups(peers, Nearest::kept));
  const std::vector<std::size_t> counts = counts_up_to(most_children);
  std::vector<Option> options;
  for (const std::vector<HostGroup>& groups : orders) {
    for (const std::size_t trees : counts) {
      if (trees > most_trees(groups))
        break;
      for (const std::size_t children : counts) {
        Option& option =
            options.emplace_back(Option{&groups, {trees, children, most_children}, {}});
        const Draft draft = draft_trees(peers, groups, option.limits);
        option.score = score_of(predict_seconds(peers, draft, timing));
      }
    }
  }
  const Option& best = best_of(options);
  Candidate candidate{draft_trees(peers, *best.groups, best.limits), {}};
  candidate.seconds = predict_seconds(peers, candidate.draft, timing);
  return candidate;
}

/// The parent's parent first, then its siblings, for each child others of them, then whoever is
/// farther up.
std::vector<std::size_t> fallbacks_of(std::size_t host, const Draft& draft,
                                      const std::vector<std::vector<std::size_t>>& siblings) {
  std::vector<std::size_t> fallbacks;
  const std::size_t parent = draft.parents[host];
  if (parent == coordinator)
    return fallbacks;
  std::size_t above = draft.parents[parent];
  if (above != coordinator)
    fallbacks.push_back(above);
  const std::vector<std::size_t>& uncles =
      siblings[above == coordinator ? siblings.size() - 1 : above];
  std::size_t chosen = 0;
  for (std::size_t turn = 0; turn < uncles.size() && chosen < most_uncles; ++turn) {
    const std::size_t uncle = uncles[(host + turn) % uncles.size()];
    if (uncle == parent || draft.slots[uncle] == 0)
      continue;
    fallbacks.push_back(uncle);
    ++chosen;
  }
  while (above != coordinator && draft.parents[above] != coordinator &&
         fallbacks.size() < most_fallbacks) {
    above = draft.parents[above];
    fallbacks.push_back(above);
  }
  return fallbacks;
}

void fill_places(TopologyPlan& plan, const Candidate& candidate) {
  const Draft& draft = candidate.draft;
  std::vector<std::vector<std::size_t>> children(draft.parents.size() + 1);
  for (std::size_t host = 0; host < draft.parents.size(); ++host) {
    const std::size_t parent = draft.parents[host];
    children[parent == coordinator ? draft.parents.size() : parent].push_back(host);
  }
  plan.places.resize(draft.parents.size());
  for (std::size_t host = 0; host < plan.places.size(); ++host) {
    TopologyPlace& place = plan.places[host];
    if (draft.parents[host] != coordinator)
      place.parent = draft.parents[host];
    place.fallbacks = fallbacks_of(host, draft, children);
    place.depth = draft.depths[host];
    place.seconds = candidate.seconds[host];
    plan.most_hops = std::max(plan.most_hops, place.depth + 1);
    plan.most_children = std::max(plan.most_children, children[host].size());
  }
  for (std::size_t host = 0; host < plan.places.size(); ++host)
    plan.places[host].children = std::move(children[host]);
  plan.seconds = score_of(candidate.seconds).last;
}

std::string explain_star(const TopologyPlan& plan, std::optional<double> trees_seconds) {
  return fmt::format("{} from the coordinator, {}; {}", count(plan.places.size(), "host"),
                     human_seconds(plan.seconds),
                     trees_seconds
                         ? fmt::format("relaying would take {}", human_seconds(*trees_seconds))
                         : "too few hosts could relay to others");
}

std::string explain_trees(const TopologyPlan& plan, const std::vector<Peer>& peers) {
  std::set<std::string> racks;
  std::size_t direct = 0;
  for (const Peer& peer : peers) {
    direct += !peer.relays;
    if (peer.relays && !peer.rack.empty())
      racks.insert(peer.rack);
  }
  std::string text = count(peers.size() - direct, "host");
  if (!racks.empty())
    text += " of " + count(racks.size(), "rack");
  text += " in " + count(plan.trees, plan.most_children <= 1 ? "chain" : "tree");
  if (plan.most_children > 1)
    text += fmt::format(" of up to {} children", plan.most_children);
  text += ", " + count(plan.most_hops, "hop");
  if (direct > 0)
    text += fmt::format(", {} from the coordinator", count(direct, "host"));
  return text + fmt::format(", {}; star {}, no way is faster than {}", human_seconds(plan.seconds),
                            human_seconds(plan.star_seconds), human_seconds(plan.bound_seconds));
}

/// Where one host's own link alone makes it as slow as the star, that is no reason for a star.
void set_slow_apart(std::vector<Peer>& peers, double star_seconds) {
  for (Peer& peer : peers)
    peer.relays &= peer.lacks / peer.down < star_seconds * (1 - least_saving);
}

bool is_worth_it(const Score& trees, const Score& star) {
  const double enough = 1 - least_saving;
  return trees.last < star.last * enough ||
         (trees.last <= star.last && trees.mean < star.mean * enough);
}

}  // namespace

TopologyPlan plan_topology(const TopologyRequest& request) {
  std::vector<Peer> peers = make_peers(request);
  Timing timing{.uplink = known_or(request.uplink, request.link),
                .chunk = static_cast<double>(std::max<std::uint64_t>(request.chunk, 1)),
                .hop_seconds = request.hop_seconds,
                .set_up_seconds = request.set_up_seconds};
  const Candidate star = make_star(peers, timing);
  const Score star_score = score_of(star.seconds);
  TopologyPlan plan;
  plan.star_seconds = star_score.last;
  plan.bound_seconds = seconds_at_best(peers, timing.uplink);
  set_slow_apart(peers, star_score.last);
  if (std::count_if(peers.begin(), peers.end(), [](const Peer& peer) { return peer.relays; }) < 2) {
    fill_places(plan, star);
    plan.explanation = explain_star(plan, std::nullopt);
    return plan;
  }
  const Candidate trees =
      best_trees(peers, timing, std::max<std::size_t>(request.most_children, 1));
  const Score score = score_of(trees.seconds);
  if (!is_worth_it(score, star_score)) {
    fill_places(plan, star);
    plan.explanation = explain_star(plan, score.last);
    return plan;
  }
  plan.shape = TopologyPlan::Shape::trees;
  fill_places(plan, trees);
  plan.trees = trees_of(peers, trees.draft);
  plan.explanation = explain_trees(plan, peers);
  return plan;
}

}  // namespace ds
