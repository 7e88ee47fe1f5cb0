/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `cpu_adam`. The formula is in ds_ops/adam_math.h.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"
#include "ds_ops/adam_options.h"

/* One parameter with its gradient and moments, each a contiguous array of `size` elements, aligned
 * to its element type; none may overlap another. `param_dtype` is DS_OPS_FLOAT32, _FLOAT16 or
 * _BFLOAT16; `grad_dtype` and `state_dtype` (both moments) are the same or DS_OPS_FLOAT32. With
 * size 0 the pointers are not looked at. */
struct ds_ops_cpu_adam_tensor {
  void* params;
  const void* grads;
  void* exp_avg;
  void* exp_avg_sq;
  int64_t size;
  int32_t param_dtype;
  int32_t grad_dtype;
  int32_t state_dtype;
};

/* Takes one step for `count` tensors. Everything is checked before anything is written.
 * `cpu_level`: 0 the best of this CPU, 1 baseline, 2 AVX2, 3 AVX-512; all give the same bits.
 *
 * Arithmetic is float32 per element; float16 and bfloat16 are rounded to nearest even when stored.
 * From 65536 elements on the work is shared by OpenMP threads (OMP_NUM_THREADS). A child that was
 * forked after its parent had used threads here works on one thread, because the threads of the
 * parent's pool do not exist in it. */
DS_OPS_EXPORT int ds_ops_cpu_adam_step(const struct ds_ops_cpu_adam_tensor* tensors, int64_t count,
                                       const struct ds_ops_adam_options* options,
                                       int32_t cpu_level);

/* The level that 0 stands for on this CPU: 1, 2 or 3. */
DS_OPS_EXPORT int ds_ops_cpu_adam_best_level(void);
