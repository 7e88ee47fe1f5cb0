// SPDX-License-Identifier: Apache-2.0
//
// A host of a request with nothing unknown any more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "topology/topology.h"

namespace ds {

struct Peer {
  double kept = 0, lacks = 0;  ///< bytes; together the stream
  double up = 0, down = 0;     ///< bytes in a second
  bool relays = true;
  std::string rack;
  std::optional<std::size_t> network;

  /// What it can pass on as it comes.
  double pace() const { return std::min(up, down); }
};

/// Stands for the coordinator where a host's number is expected.
constexpr std::size_t coordinator = std::numeric_limits<std::size_t>::max();

/// Who gets the stream from whom.
struct Draft {
  std::vector<std::size_t> parents;  ///< of each host
  std::vector<std::size_t> depths;
  /// Children that a host takes while others have room; one with none takes them last of all.
  std::vector<std::size_t> slots;
  std::vector<std::size_t> order;  ///< all hosts, a parent before its children
};

}  // namespace ds
