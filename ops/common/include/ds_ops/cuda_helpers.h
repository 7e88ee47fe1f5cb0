/* SPDX-License-Identifier: Apache-2.0
 *
 * What every CUDA op exports, so that a caller needs no other CUDA library. Every function restores
 * the current CUDA device. Plain C.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"

DS_OPS_EXPORT int ds_ops_cuda_device_count(int32_t* count);
DS_OPS_EXPORT int ds_ops_cuda_malloc(int32_t device, uint64_t bytes, void** pointer);
DS_OPS_EXPORT int ds_ops_cuda_free(int32_t device, void* pointer);
/* Copies between host and device, in any direction; returns when the copy is done. */
DS_OPS_EXPORT int ds_ops_cuda_copy(int32_t device, void* to, const void* from, uint64_t bytes);
/* Waits for a stream. */
DS_OPS_EXPORT int ds_ops_cuda_synchronize(int32_t device, void* stream);
/* The GPU that owns `pointer`; DS_OPS_WRONG_DEVICE if it is no device memory. */
DS_OPS_EXPORT int ds_ops_cuda_pointer_device(const void* pointer, int32_t* device);
