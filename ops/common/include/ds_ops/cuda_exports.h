// SPDX-License-Identifier: Apache-2.0
//
// Defines what every CUDA op exports beside its own functions: ds_ops/cuda_helpers.h and
// ds_ops_error_text. One source of each op includes it.
#pragma once

#include "ds_ops/cuda_helpers.h"
#include "ds_ops/device_guard.h"
#include "ds_ops/error_text.h"

using ds_ops::cuda_code;
using ds_ops::DeviceGuard;

int ds_ops_cuda_device_count(int32_t* count) {
  if (count == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  int found = 0;
  int code = cuda_code(cudaGetDeviceCount(&found));
  *count = code == DS_OPS_OK ? found : 0;
  return code;
}

int ds_ops_cuda_malloc(int32_t device, uint64_t bytes, void** pointer) {
  if (pointer == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  *pointer = nullptr;
  DeviceGuard guard(device);
  return guard.code() != DS_OPS_OK ? guard.code() : cuda_code(cudaMalloc(pointer, bytes));
}

int ds_ops_cuda_free(int32_t device, void* pointer) {
  DeviceGuard guard(device);
  return guard.code() != DS_OPS_OK ? guard.code() : cuda_code(cudaFree(pointer));
}

int ds_ops_cuda_copy(int32_t device, void* to, const void* from, uint64_t bytes) {
  if (bytes > 0 && (to == nullptr || from == nullptr)) {
    return DS_OPS_NULL_POINTER;
  }
  DeviceGuard guard(device);
  return guard.code() != DS_OPS_OK ? guard.code()
                                   : cuda_code(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
}

int ds_ops_cuda_synchronize(int32_t device, void* stream) {
  DeviceGuard guard(device);
  return guard.code() != DS_OPS_OK
             ? guard.code()
             : cuda_code(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
}

int ds_ops_cuda_pointer_device(const void* pointer, int32_t* device) {
  if (pointer == nullptr || device == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  cudaPointerAttributes attributes;
  int code = cuda_code(cudaPointerGetAttributes(&attributes, pointer));
  if (code != DS_OPS_OK) {
    return code;
  }
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
    return DS_OPS_WRONG_DEVICE;
  }
  *device = attributes.device;
  return DS_OPS_OK;
}

const char* ds_ops_error_text(int code) {
  return code > DS_OPS_CUDA ? cudaGetErrorString(static_cast<cudaError_t>(code - DS_OPS_CUDA))
                            : ds_ops::error_text(code);
}
