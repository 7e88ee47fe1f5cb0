// SPDX-License-Identifier: Apache-2.0
//
// The GPU of a call that does not name one.
#pragma once

#include "ds_ops/cuda_helpers.h"

namespace ds_ops {

/// Takes the GPU that owns `pointer` for `device`, if that is -1. DS_OPS_WRONG_DEVICE: it is
/// another one, or the pointer is no device memory.
inline int join_device(const void* pointer, int32_t& device) {
  int32_t owner = -1;
  const int code = ds_ops_cuda_pointer_device(pointer, &owner);
  if (code != DS_OPS_OK) {
    return code;
  }
  if (device != -1 && owner != device) {
    return DS_OPS_WRONG_DEVICE;
  }
  device = owner;
  return DS_OPS_OK;
}

/// Where `device` is -1, sets it to the GPU that owns all of `pointers`, null ones aside; it stays
/// -1 where all are null. DS_OPS_WRONG_DEVICE: two GPUs, or no device memory.
template <int N>
int find_device(const void* const (&pointers)[N], int32_t& device) {
  if (device != -1) {
    return DS_OPS_OK;
  }
  for (const void* pointer : pointers) {
    const int code = pointer == nullptr ? DS_OPS_OK : join_device(pointer, device);
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  return DS_OPS_OK;
}

}  // namespace ds_ops
