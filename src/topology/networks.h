// SPDX-License-Identifier: Apache-2.0
//
// Which hosts are on one network, by the addresses of their interfaces.
#pragma once

#include <optional>
#include <vector>

#include "topology/topology.h"

namespace ds {

/// For each host the network that it has in common with most others, as a number from 0, in the
/// order of the networks' addresses; nothing where it has none in common with any.
std::vector<std::optional<std::size_t>> home_networks(const std::vector<TopologyHost>& hosts);

}  // namespace ds
