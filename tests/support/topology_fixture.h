// SPDX-License-Identifier: Apache-2.0
//
// Requests for a plan of who gets a stream from whom, and such a plan as text.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "topology/topology.h"

namespace ds {

constexpr double mbit = 125'000;  ///< bytes in a second

/// 50 MB in chunks of 1 MB, the coordinator at 200 Mbit/s, hosts of which nothing is known.
inline TopologyRequest topology_request(std::size_t hosts) {
  TopologyRequest request;
  request.bytes = 50'000'000;
  request.chunk = 1'000'000;
  request.uplink = 200 * mbit;
  request.hosts.resize(hosts);
  return request;
}

/// Parents by number, "-" for the coordinator: "- 0 0 1".
inline std::string parents_of(const TopologyPlan& plan) {
  std::string text;
  for (const TopologyPlace& place : plan.places)
    text += (text.empty() ? "" : " ") +
            (place.parent ? std::to_string(*place.parent) : std::string("-"));
  return text;
}

}  // namespace ds
