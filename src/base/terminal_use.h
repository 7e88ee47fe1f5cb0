// SPDX-License-Identifier: Apache-2.0
//
// Who asks something on the terminal says so while it does: nobody else writes to it or reads from
// it then.
#pragma once

#include <atomic>

namespace ds {

class TerminalUse {
 public:
  TerminalUse() { ++users(); }
  ~TerminalUse() { --users(); }
  TerminalUse(const TerminalUse&) = delete;
  TerminalUse& operator=(const TerminalUse&) = delete;
  static bool any() { return users() > 0; }

 private:
  static std::atomic<int>& users() {
    static std::atomic<int> number{0};
    return number;
  }
};

}  // namespace ds
