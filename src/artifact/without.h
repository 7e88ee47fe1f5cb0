// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

namespace ds {

/// What of the first is not in the second, in its order.
template <typename Value>
std::vector<Value> without(const std::vector<Value>& all, const std::vector<Value>& common) {
  std::vector<Value> out;
  std::copy_if(all.begin(), all.end(), std::back_inserter(out), [&common](const Value& value) {
    return std::find(common.begin(), common.end(), value) == common.end();
  });
  return out;
}

}  // namespace ds
