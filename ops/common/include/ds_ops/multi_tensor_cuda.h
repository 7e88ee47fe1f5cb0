// SPDX-License-Identifier: Apache-2.0
//
// What the host side of multi-tensor ops asks of CUDA.
#pragma once

#include "ds_ops/find_device.h"
#include "ds_ops/multi_tensor.h"

namespace ds_ops {

/// Where `device` is -1, sets it to the GPU that owns all arrays of the lists; it stays -1 if none
/// has elements.
template <int Columns>
int find_device(const TensorLists<Columns>& lists, int32_t& device) {
  if (device != -1) {
    return DS_OPS_OK;
  }
  for (int64_t i = 0; i < lists.count; ++i) {
    for (int column = 0; lists.sizes[i] > 0 && column < Columns; ++column) {
      const int code =
          lists.columns[column] == nullptr ? DS_OPS_OK : join_device(lists.at(column, i), device);
      if (code != DS_OPS_OK) {
        return code;
      }
    }
  }
  return DS_OPS_OK;
}

}  // namespace ds_ops
