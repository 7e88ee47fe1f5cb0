/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `fused_adam`. The formula is in ds_ops/adam_math.h. A code above DS_OPS_CUDA is a
 * cudaError_t; ds_ops_error_text knows it. Every function restores the current CUDA device.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"
#include "ds_ops/adam_options.h"
#include "ds_ops/device_values.h"

/* One step for `count` tensors with as few launches as possible: one for each 600 or so (70 if the
 * library was built by a CUDA before 13). The four lists hold device pointers; entry i of each is
 * an array of sizes[i] elements of `dtype` (DS_OPS_FLOAT32, _FLOAT16, _BFLOAT16, _FLOAT64), aligned
 * to it; none may overlap another (looked for within a tensor). Arrays at multiples of 16 bytes are
 * the fastest. With size 0 pointers are not looked at.
 *
 * Arithmetic is float32, for FLOAT64 it is double; float16 and bfloat16 are rounded to nearest
 * even when stored. `values` may be NULL. `chunk_size` is the number of elements that one block of
 * threads works on, rounded up to a multiple of 16; 0: by the sizes. `device` is the GPU's ordinal;
 * -1 finds it, and checks every pointer, with the driver. `stream` is a cudaStream_t; NULL is the
 * default stream.
 *
 * Returns once the work is queued: an error of the kernel itself shows up in a later CUDA call.
 * It allocates nothing and waits for nothing, so that a CUDA graph may hold it. The lists are read
 * before it returns, the device memory must live until the work is done. */
DS_OPS_EXPORT int ds_ops_fused_adam_step(int32_t device, int64_t count, void* const* grads,
                                         void* const* params, void* const* exp_avg,
                                         void* const* exp_avg_sq, const int64_t* sizes,
                                         int32_t dtype, const struct ds_ops_adam_options* options,
                                         const struct ds_ops_device_values* values,
                                         int32_t chunk_size, void* stream);
