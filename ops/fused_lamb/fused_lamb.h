/* SPDX-License-Identifier: Apache-2.0
 *
 * C ABI of the op `fused_lamb`. The formula is in lamb_math.h. A code above DS_OPS_CUDA is a
 * cudaError_t; ds_ops_error_text knows it. Every function restores the current CUDA device.
 */
#pragma once

#include <stdint.h>

#include "ds_ops/abi.h"
#include "ds_ops/device_values.h"

/* Where the bias of the moments is corrected: nowhere; in the moments, as in the paper; or, as
 * DeepSpeed does, in the step size alone (lr * sqrt(1 - beta2^t) / (1 - beta1^t)), so that the
 * trust ratio and eps see the moments as they are. */
enum { DS_OPS_LAMB_UNCORRECTED = 0, DS_OPS_LAMB_CORRECTED = 1, DS_OPS_LAMB_CORRECTED_STEP = 2 };

struct ds_ops_lamb_options {
  double lr;           /* finite, >= 0 */
  double beta1;        /* in [0, 1) */
  double beta2;        /* in [0, 1) */
  double eps;          /* finite, >= 0 */
  double weight_decay; /* finite, >= 0 */
  double min_coeff;    /* >= 0: the trust ratio is no smaller */
  double max_coeff;    /* >= min_coeff, may be infinite: nor larger */
  double grad_scale;   /* finite, > 0: gradients are divided by it */
  int64_t step;        /* 1 for the first step */
  int32_t correction;  /* DS_OPS_LAMB_... */
  int32_t eps_inside;  /* not 0: eps is added to exp_avg_sq under the root, not to the root */
};

/* What a step works on. The lists hold device pointers; entry i of each is an array of sizes[i]
 * elements, aligned to its type; none may overlap another (looked for within a tensor). Arrays at
 * multiples of 16 bytes are the fastest. With size 0 pointers are not looked at. */
struct ds_ops_lamb_arrays {
  int64_t count;
  void* const* grads;  /* read */
  void* const* params; /* changed, as the next two */
  void* const* exp_avg;
  void* const* exp_avg_sq;
  void* const* params_copy; /* written: the new parameter as copy_dtype; the list may be NULL */
  const int64_t* sizes;
  int32_t dtype;           /* of params, exp_avg, exp_avg_sq */
  int32_t grad_dtype;      /* `dtype`; for FLOAT32 also FLOAT16 or BFLOAT16 */
  int32_t copy_dtype;      /* FLOAT16 or BFLOAT16, for a `dtype` of FLOAT32 only */
  float* trust_ratios;     /* device, written: `count` of them; may be NULL */
  void* workspace;         /* device, written: nothing of it need be kept between steps */
  int64_t workspace_bytes; /* ds_ops_fused_lamb_workspace or more */
};

/* Bytes of workspace for tensors of these sizes: two sums for every chunk. */
DS_OPS_EXPORT int ds_ops_fused_lamb_workspace(int64_t count, const int64_t* sizes, int32_t dtype,
                                              int32_t chunk_size, int64_t* bytes);

/* One step. Two launches for each 550 tensors or so (60 if the library was built by a CUDA before
 * 13). Arithmetic and sums are float32, for FLOAT64 they are double; float16 and bfloat16 are
 * rounded to nearest even when stored, and the update is made of the moments as they are stored.
 *
 * The sums are formed in an order that depends only on sizes, chunk size and alignment: the same
 * call gives the same bits.
 *
 * `values`, `chunk_size` (but for its default, which keeps sums short), `device` and `stream` are
 * those of ds_ops_fused_adam_step. If the flag of `values` says that nothing is to be changed, the
 * trust ratios are left as they are. Returns once the work is queued; allocates nothing and waits
 * for nothing. */
DS_OPS_EXPORT int ds_ops_fused_lamb_step(int32_t device, const struct ds_ops_lamb_arrays* arrays,
                                         const struct ds_ops_lamb_options* options,
                                         const struct ds_ops_device_values* values,
                                         int32_t chunk_size, void* stream);
