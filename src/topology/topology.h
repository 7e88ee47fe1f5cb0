// SPDX-License-Identifier: Apache-2.0
//
// Who gets a stream from whom: all from the coordinator (a star), or hosts from each other in
// chains or trees while they receive it themselves. Pure: what is known of the hosts in, a plan
// out.
//
// Hosts are numbers, their places in TopologyRequest::hosts. A host has a beginning of the stream
// at each moment, in whole chunks, and passes on what it has; it has one source at a time.
//
// What is predicted, for a host with the parent p:
//
//   share  what p sends to it: p's `up`, dealt out fairly among p's children (max-min: one that
//          cannot take its part leaves it to the others), and no more than its own `down`
//   begun  when its first chunk is there: when p has that, + chunk / share + hop
//   done   the later of: when p has its first chunk, + hop + its bytes at its share;
//                        when p is done, + chunk / share + hop
//
// With equal hosts that is bytes / rate + (hosts - 1) x (chunk / rate + hop) for a chain, and
// k x bytes / rate + depth x (k x chunk / rate + hop) for k children each (P. Sanders and
// J. F. Sibeyn, A bandwidth latency tradeoff for broadcast and reduction, 2003). Hosts that relay
// begin `set_up_seconds` later than those that do not. The bound is that of R. Kumar and K. W.
// Ross, Peer-assisted file distribution: the minimum distribution time, 2006.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ds {

constexpr double assumed_link = 125e6;            ///< bytes in a second where nothing is known
constexpr double assumed_hop_seconds = 0.005;     ///< to check a chunk and pass it on
constexpr double assumed_set_up_seconds = 0.4;    ///< one more exchange, an agent's start, TLS
constexpr std::size_t assumed_most_children = 8;  ///< of one host, and trees of the coordinator
constexpr std::size_t most_fallbacks = 6;         ///< of one host, the coordinator not counted
constexpr double least_saving = 0.05;             ///< of the star's time; less counts as a tie

struct TopologyHost {
  /// Of its interfaces, with the length of the network's prefix: "10.1.2.3/24", "fd00::3/64". What
  /// cannot be read, leads to the host itself or the next cable only (loopback, link-local), or is
  /// also another host's (a container bridge) says nothing.
  std::vector<std::string> addresses;
  std::string rack;        ///< its rack or its switch; empty: not known
  std::uint64_t kept = 0;  ///< bytes of the stream's beginning that it has
  /// Bytes in a second that it sent or got in earlier runs, so that its agent, its disk and TLS are
  /// in them. What is 0, or no number at all, is not known.
  double up = 0, down = 0;
  bool relays = true;  ///< no: it gets all from the coordinator, and passes nothing on
};

struct TopologyRequest {
  std::uint64_t bytes = 0;  ///< of the stream
  std::uint64_t chunk = 1 << 20;
  double uplink = 0;  ///< bytes in a second that the coordinator sends, over SSH; 0: unknown
  double link = assumed_link;  ///< stands for each rate that is not known
  double hop_seconds = assumed_hop_seconds;
  double set_up_seconds = assumed_set_up_seconds;
  std::size_t most_children = assumed_most_children;  ///< at least 1
  std::vector<TopologyHost> hosts;
};

/// Where a host stands.
struct TopologyPlace {
  std::optional<std::size_t> parent;  ///< nothing: the coordinator
  /// Whom to go on with if the parent fails, in this order, and after them the coordinator. Each of
  /// them, like the parent, is nearer to the coordinator (`depth`) than this host: however many
  /// hosts change to whichever of theirs, none gets its bytes from itself.
  std::vector<std::size_t> fallbacks;
  /// Whose parent this host is, and whom it calls where they cannot call it. Ascending.
  std::vector<std::size_t> children;
  std::size_t depth = 0;  ///< hosts between it and the coordinator
  double seconds = 0;     ///< predicted from the start of staging to its last byte
};

struct TopologyPlan {
  enum class Shape { star, trees };
  Shape shape = Shape::star;
  std::vector<TopologyPlace> places;  ///< of each host
  std::size_t trees = 0;              ///< hosts that relay and get the stream from the coordinator
  std::size_t most_children = 0;      ///< of any one host; 1: the trees are chains
  std::size_t most_hops = 0;          ///< the greatest depth, and one
  double seconds = 0;                 ///< predicted until the last host has its last byte
  double star_seconds = 0;            ///< the same of a star
  double bound_seconds = 0;           ///< no way of sending is faster: the links do not carry more
  std::string explanation;            ///< one line for people
};

/// The star unless trees are predicted to be faster by more than `least_saving`; of trees the
/// fastest of 1 .. most_children trees with 1 .. most_children children of a usual host. A host
/// with half of what is usual in its rack, or less, has fewer or none, one with more has more. A
/// rack is entered once, except for hosts that do not relay; hosts without a rack keep to their
/// network. A host whose own link makes it as slow as the star gets its bytes from the coordinator
/// too; then trees count as faster if the last host is no later, and hosts have all sooner on
/// average. The same request gives the same plan, and the order of the hosts decides between equals
/// alone.
TopologyPlan plan_topology(const TopologyRequest& request);

}  // namespace ds
