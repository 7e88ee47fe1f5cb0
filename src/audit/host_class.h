// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "facts/facts.h"

namespace ds {

/// What a wheel runs on there, in a line: "8 NVIDIA H100, driver 580.65.06, glibc 2.36,
/// Python 3.11, torch 2.6.0+cu124". Hosts that say the same are of one class: what one of them
/// shows of a wheel, the others would. Clean text.
std::string class_of(const HostFacts& host);

}  // namespace ds
