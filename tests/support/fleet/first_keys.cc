// SPDX-License-Identifier: Apache-2.0
#include "support/fleet/first_keys.h"

#include <algorithm>

namespace fleet {
namespace {

constexpr size_t kHead = 4;         // the length of what follows
constexpr size_t kMessageType = 5;  // behind the head and the padding's length
constexpr char kNewKeys = 21;

size_t big_endian(std::string_view bytes) {
  size_t value = 0;
  for (const char byte : bytes)
    value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

}  // namespace

void FirstKeys::pass(std::string_view bytes) {
  part_ += bytes;
  wanted_ -= bytes.size();
  if (wanted_ > 0)
    return;
  if (!greeted_) {
    greeted_ = part_.back() == '\n';
    wanted_ = greeted_ ? kHead : 1;
  } else if (part_.size() == kHead) {
    wanted_ = std::max<size_t>(big_endian(part_), 1);
    return;
  } else {
    over_ = part_.size() > kMessageType && part_[kMessageType] == kNewKeys;
    wanted_ = kHead;
  }
  if (greeted_)
    part_.clear();
}

}  // namespace fleet
