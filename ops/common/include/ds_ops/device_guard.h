// SPDX-License-Identifier: Apache-2.0
//
// The current CUDA device, switched for a scope.
#pragma once

#include <cuda_runtime_api.h>

#include "ds_ops/abi.h"

namespace ds_ops {

/// A cudaError_t as a code of the C ABI. Clears the runtime's record of it, so that the caller's
/// next cudaGetLastError does not report ours.
inline int cuda_code(cudaError_t error) {
  if (error == cudaSuccess) {
    return DS_OPS_OK;
  }
  cudaGetLastError();
  return DS_OPS_CUDA + static_cast<int>(error);
}

class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    code_ = cuda_code(cudaGetDevice(&previous_));
    if (code_ != DS_OPS_OK || previous_ == device) {
      return;
    }
    code_ = cuda_code(cudaSetDevice(device));
    switched_ = code_ == DS_OPS_OK;
  }
  ~DeviceGuard() {
    if (switched_) {
      cudaSetDevice(previous_);
    }
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

  /// DS_OPS_OK if the device is the current one.
  int code() const { return code_; }

 private:
  int previous_ = 0;
  int code_ = DS_OPS_OK;
  bool switched_ = false;
};

}  // namespace ds_ops
