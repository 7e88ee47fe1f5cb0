// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "transport/transport.h"

namespace ds {

/// What a command reads before a file.
inline std::string text_of(const ExecInput& input) {
  return (input.head ? *input.head : "") + input.bytes + (input.tail ? *input.tail : "");
}

}  // namespace ds
