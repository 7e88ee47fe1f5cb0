// SPDX-License-Identifier: Apache-2.0
//
// What the host side of multi-tensor ops asks of CUDA.
#pragma once

#include "ds_ops/cuda_helpers.h"
#include "ds_ops/multi_tensor.h"

namespace ds_ops {

/// The GPU that owns all arrays of the lists, by the driver; -1 if there is none with elements.
template <int Columns>
int find_device(const TensorLists<Columns>& lists, int32_t& device) {
  device = -1;
  for (int64_t i = 0; i < lists.count; ++i) {
    for (int column = 0; lists.sizes[i] > 0 && column < Columns; ++column) {
      int32_t owner = -1;
      if (lists.columns[column] == nullptr) {
        continue;
      }
      int code = ds_ops_cuda_pointer_device(lists.at(column, i), &owner);
      if (code != DS_OPS_OK) {
        return code;
      }
      if (device != -1 && owner != device) {
        return DS_OPS_WRONG_DEVICE;
      }
      device = owner;
    }
  }
  return DS_OPS_OK;
}

}  // namespace ds_ops
