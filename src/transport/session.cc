// SPDX-License-Identifier: Apache-2.0
#include "transport/session.h"

#include <fmt/format.h>

namespace ds {

std::string in_seconds(std::chrono::milliseconds time) {
  return fmt::format("{}", static_cast<double>(time.count()) / 1000);
}

}  // namespace ds
