// SPDX-License-Identifier: Apache-2.0
//
// Trees of hosts: racks first, the fast ones near the root.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "topology/peer.h"

namespace ds {

/// Hosts that get the stream from each other before they look elsewhere.
struct HostGroup {
  bool rack = false;                   ///< else hosts of one network, or of none that is known
  std::string name;                    ///< of the rack
  std::vector<std::size_t> hosts;      ///< that relay, in the order in which they get their places
  std::optional<std::size_t> network;  ///< of the first
  double usual_pace = 0;               ///< of the median
};

enum class Nearest { fast, kept };  ///< to the root: who is fast, or who has most of the stream

/// In the order in which they get their places. A host whose pace is half of its group's usual one
/// or less comes last in it.
std::vector<HostGroup> make_groups(const std::vector<Peer>& peers, Nearest nearest);

struct DraftLimits {
  std::size_t trees = 1;
  std::size_t children = 1;  ///< of a host of usual pace
  std::size_t most_children = 1;
};

/// A group that is a rack has one host whose parent is outside of it. Hosts that do not relay are
/// the coordinator's. There are fewer trees than asked for if there are not so many groups.
Draft draft_trees(const std::vector<Peer>& peers, const std::vector<HostGroup>& groups,
                  const DraftLimits& limits);

/// All hosts are the coordinator's.
Draft draft_star(std::size_t hosts);

}  // namespace ds
