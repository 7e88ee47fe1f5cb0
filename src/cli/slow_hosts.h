// SPDX-License-Identifier: Apache-2.0
//
// Hosts whose self-tests passed, but slower than on others of their kind.
#pragma once

#include <string>
#include <vector>

#include "facts/facts.h"
#include "report/report.h"
#include "rollout/rollout.h"

namespace ds {

/// "slower than their class: n07 (matmul 1.31 s, median 0.98 s)", or nothing. Named is a host whose
/// seconds are more than 20 % and 0.1 s above the median of its class (class_of), or whose GB/s are
/// more than 20 % below it, where at least four hosts of the class have the figure.
std::string slower_than_class(const Fleet& fleet, const std::vector<HostOutcome>& hosts);

/// As a note of the report, about its hosts.
void note_slow_hosts(Report& report, const Fleet& fleet);

}  // namespace ds
