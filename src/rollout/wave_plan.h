// SPDX-License-Identifier: Apache-2.0
//
// In which order hosts change, and how many of them before the next ones begin.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "rollout/pace.h"
#include "rollout/rollout.h"

namespace ds {

struct WavePlan {
  std::vector<std::size_t> order;    ///< of the hosts that move, by their numbers
  std::vector<std::size_t> classes;  ///< of each in that order, numbered from 0
  /// How many have begun by the end of each wave, the last of them all. Empty: there are no waves.
  std::vector<std::size_t> ends;
  std::size_t canary = 0;  ///< the first so many stand for all: one of each class
};

/// What tells hosts apart that another one could not stand for: class_of() and what they get.
std::string class_of(const HostFacts& host, const std::vector<std::string>& wanted);

/// `classes`: of each host that moves, in the inventory's order; `targeted`: hosts of the run, of
/// which the policy's shares are. By a canary the first of each class goes first.
WavePlan plan_waves(const std::vector<std::string>& classes, const Policy& policy,
                    std::size_t targeted);

/// Of a run over `hosts`, of which `failed` have failed already.
PaceLimits limits_for(const Policy& policy, const WavePlan& plan, std::size_t hosts,
                      std::size_t failed);

/// How long a wave of so many hosts takes, of which so many go `at_once`; that of a canary with its
/// watching and its way back. 0: not known.
double seconds_of_wave(std::size_t hosts, std::size_t at_once, bool canary, const Policy& policy,
                       const MoveTimes& times);

}  // namespace ds
