// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fleet {

/// Finds the end of the client's first SSH_MSG_NEWKEYS in what it sends: an identification line,
/// then packets in the clear (RFC 4253, sections 4.2, 6 and 7.3). How long its lists of algorithms
/// are depends on its version; what follows does not.
class FirstKeys {
 public:
  bool over() const { return over_; }
  size_t wanted() const { return wanted_; }  ///< bytes up to the next border, 1 at least
  /// Takes `wanted()` bytes of the stream at most.
  void pass(std::string_view bytes);

 private:
  std::string part_;  ///< of the line, or of the packet, so far
  size_t wanted_ = 1;
  bool greeted_ = false;
  bool over_ = false;
};

}  // namespace fleet
