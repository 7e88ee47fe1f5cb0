// SPDX-License-Identifier: Apache-2.0
//
// How long a draft takes; the formulas are in topology.h.
#pragma once

#include <vector>

#include "topology/peer.h"

namespace ds {

struct Timing {
  double uplink = 0;  ///< bytes in a second
  double chunk = 0;   ///< bytes
  double hop_seconds = 0;
  double set_up_seconds = 0;
};

/// For each host the seconds until it has its last byte.
std::vector<double> predict_seconds(const std::vector<Peer>& peers, const Draft& draft,
                                    const Timing& timing);

/// What the links allow: bytes that the coordinator alone can send, what one host has to take in,
/// and all bytes over all links that send.
double seconds_at_best(const std::vector<Peer>& peers, double uplink);

}  // namespace ds
