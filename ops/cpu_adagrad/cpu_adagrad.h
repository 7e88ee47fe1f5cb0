/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `cpu_adagrad`. With g the gradient, p the parameter and v the sum of squares, per
 * element, as in Duchi, Hazan and Singer 2011 (JMLR 12, figure 1, diagonal) and
 * torch.optim.Adagrad:
 *
 *   g = g + weight_decay * p        v = v + g^2        p = p - lr * g / (sqrt(v) + eps)
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"

/* One parameter with its gradient and sum, each a contiguous array of `size` elements, aligned to
 * its element type. `param_dtype` and `grad_dtype` are DS_OPS_FLOAT32, _FLOAT16 or _BFLOAT16;
 * `state_dtype` (the sum) is the parameter's or DS_OPS_FLOAT32. `param_copy`, unless it is NULL,
 * gets the new parameter too, as `copy_dtype` (one of the three), rounded once from the float32
 * result. With size 0 the pointers are not looked at. */
struct ds_ops_cpu_adagrad_tensor {
  void* params;
  const void* grads;
  void* exp_avg_sq;
  void* param_copy;
  int64_t size;
  int32_t param_dtype;
  int32_t grad_dtype;
  int32_t state_dtype;
  int32_t copy_dtype;
};

struct ds_ops_adagrad_options {
  double lr;           /* finite, >= 0 */
  double eps;          /* finite, >= 0 */
  double weight_decay; /* finite, >= 0 */
};

/* Takes one step for `count` tensors. Everything is checked before anything is written; an array
 * that is written may share memory with no other of the call.
 * `cpu_level`: 0 the best of this CPU, 1 baseline, 2 AVX2, 3 AVX-512; all give the same bits.
 * `threads`: the most that share the work; 0: as OpenMP has it (OMP_NUM_THREADS, the CPUs that the
 * thread may use).
 *
 * Arithmetic is float32 per element; float16 and bfloat16 are rounded to nearest even when stored.
 * From 65536 elements on the work is shared by OpenMP threads; a child that was forked after its
 * parent had used threads here works on one thread. */
DS_OPS_EXPORT int ds_ops_cpu_adagrad_step(const struct ds_ops_cpu_adagrad_tensor* tensors,
                                          int64_t count,
                                          const struct ds_ops_adagrad_options* options,
                                          int32_t cpu_level, int32_t threads);

/* The level that 0 stands for on this CPU: 1, 2 or 3. */
DS_OPS_EXPORT int ds_ops_cpu_adagrad_best_level(void);
