/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `cpu_adam`. The formula is in ds_ops/adam_math.h.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"
#include "ds_ops/adam_options.h"

/* One parameter with its gradient and moments, each a contiguous array of `size` elements, aligned
 * to its element type. `param_dtype` and `grad_dtype` are DS_OPS_FLOAT32, _FLOAT16 or _BFLOAT16;
 * `state_dtype` (both moments) is the parameter's or DS_OPS_FLOAT32. `param_copy`, unless it is
 * NULL, gets the new parameter too, as `copy_dtype` (one of the three), rounded once from the
 * float32 result: what ZeRO-Offload uploads. With size 0 the pointers are not looked at. */
struct ds_ops_cpu_adam_tensor {
  void* params;
  const void* grads;
  void* exp_avg;
  void* exp_avg_sq;
  void* param_copy;
  int64_t size;
  int32_t param_dtype;
  int32_t grad_dtype;
  int32_t state_dtype;
  int32_t copy_dtype;
};

/* Takes one step for `count` tensors. Everything is checked before anything is written; an array
 * that is written may share memory with no other of the call.
 * `cpu_level`: 0 the best of this CPU, 1 baseline, 2 AVX2, 3 AVX-512; all give the same bits.
 * `threads`: the most that share the work; 0: as OpenMP has it (OMP_NUM_THREADS, the CPUs that the
 * thread may use).
 *
 * Arithmetic is float32 per element; float16 and bfloat16 are rounded to nearest even when stored.
 * From 65536 elements on the work is shared by OpenMP threads. A child that was forked after its
 * parent had used threads here works on one thread, because the threads of the parent's pool do not
 * exist in it. */
DS_OPS_EXPORT int ds_ops_cpu_adam_step(const struct ds_ops_cpu_adam_tensor* tensors, int64_t count,
                                       const struct ds_ops_adam_options* options, int32_t cpu_level,
                                       int32_t threads);

/* Undoes the step that was taken last, with the same options and the gradients of that step: the
 * formula solved for the old values. They come back but for rounding, see ds_ops.cpu_adam.rollback;
 * what was infinite or a NaN does not. DS_OPS_CANNOT_UNDO: a beta is 0, or AdamW's lr *
 * weight_decay is 1 or overflows, as float32. */
DS_OPS_EXPORT int ds_ops_cpu_adam_rollback(const struct ds_ops_cpu_adam_tensor* tensors,
                                           int64_t count, const struct ds_ops_adam_options* options,
                                           int32_t cpu_level, int32_t threads);

/* The level that 0 stands for on this CPU: 1, 2 or 3. */
DS_OPS_EXPORT int ds_ops_cpu_adam_best_level(void);
