// SPDX-License-Identifier: Apache-2.0
#include "transport/session.h"

#include <fmt/format.h>

namespace ds {

std::string in_seconds(std::chrono::milliseconds time) {
  return fmt::format("{}", static_cast<double>(time.count()) / 1000);
}

std::string took_too_long(const Exec& exec) {
  return "the command took longer than " + in_seconds(exec.time_limit) + " s";
}

std::string printed_too_much(const Exec& exec) {
  return fmt::format("the command printed more than {} bytes", exec.output_limit);
}

std::string stood_still(std::chrono::milliseconds limit) {
  return "no byte of the upload moved in " + in_seconds(limit) + " s";
}

}  // namespace ds
