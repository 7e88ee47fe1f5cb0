/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `spatial_inference`: biases added to images whose channels lie next to each other
 * (NHWC).
 *
 *   out = activation + bias                                  other and other_bias are NULL
 *   out = (activation + bias) + other                        other_bias is NULL
 *   out = (activation + bias) + (other + other_bias)
 *
 * `activation`, `other` and `out` are `rows` (N * H * W) times `channels` elements, `bias` and
 * `other_bias` are `channels` elements, all of `dtype` (DS_OPS_FLOAT32, _FLOAT16, _BFLOAT16) and
 * aligned to it. `out` may be `activation` or `other` itself; else it shares memory with none.
 *
 * Every addition is float32, in the order of the parentheses; the result is rounded once, to
 * nearest even. GPU and CPU give the same bits, but for the payload of a NaN.
 *
 * A size of 0 is no error, and pointers are not looked at. DS_OPS_BIAS_WITHOUT_OTHER: `other_bias`
 * without `other`. An error is found before anything is written.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"

/* Queues the work; pointers are memory of one GPU. `device` is its ordinal; -1 finds it, and checks
 * every pointer, with the driver. `stream` is a cudaStream_t; NULL is the default stream. A code
 * above DS_OPS_CUDA is a cudaError_t; an error of the kernel itself shows up in a later CUDA call.
 * The memory must live until the work is done. The current CUDA device is restored. */
DS_OPS_EXPORT int ds_ops_spatial_inference_bias_add(int32_t device, void* out,
                                                    const void* activation, const void* bias,
                                                    const void* other, const void* other_bias,
                                                    int64_t rows, int64_t channels, int32_t dtype,
                                                    void* stream);

/* The same in the memory of the CPU; OpenMP threads share it from 131072 elements on. */
DS_OPS_EXPORT int ds_ops_spatial_inference_bias_add_cpu(void* out, const void* activation,
                                                        const void* bias, const void* other,
                                                        const void* other_bias, int64_t rows,
                                                        int64_t channels, int32_t dtype);
