// SPDX-License-Identifier: Apache-2.0
//
// In which order hosts change, and how many of them before the next ones begin.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace ds {

struct WavePlan {
  std::vector<std::size_t> order;    ///< of the hosts that move, by their numbers
  std::vector<std::size_t> classes;  ///< of each in that order, numbered from 0
  /// How many have begun by the end of each wave, the last of them all. Empty: there are no waves.
  std::vector<std::size_t> ends;
  std::size_t canary = 0;  ///< the first so many stand for all: one of each class
};

/// `classes`: of each host that moves, in the inventory's order; `targeted`: hosts of the run, of
/// which the policy's shares are. By a canary the first of each class goes first.
WavePlan plan_waves(const std::vector<std::string>& classes, const Policy& policy,
                    std::size_t targeted);

}  // namespace ds
