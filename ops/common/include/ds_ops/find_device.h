// SPDX-License-Identifier: Apache-2.0
//
// The GPU of a call that does not name one.
#pragma once

#include "ds_ops/cuda_helpers.h"

namespace ds_ops {

/// Where `device` is -1, sets it to the GPU that owns all of `pointers`, null ones aside; it stays
/// -1 where all are null. DS_OPS_WRONG_DEVICE: two GPUs, or no device memory.
template <int N>
int find_device(const void* const (&pointers)[N], int32_t& device) {
  if (device != -1) {
    return DS_OPS_OK;
  }
  for (const void* pointer : pointers) {
    if (pointer == nullptr) {
      continue;
    }
    int32_t owner = -1;
    const int code = ds_ops_cuda_pointer_device(pointer, &owner);
    if (code != DS_OPS_OK) {
      return code;
    }
    if (device != -1 && owner != device) {
      return DS_OPS_WRONG_DEVICE;
    }
    device = owner;
  }
  return DS_OPS_OK;
}

}  // namespace ds_ops
