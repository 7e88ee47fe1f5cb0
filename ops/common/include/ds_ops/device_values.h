/* SPDX-License-Identifier: Apache-2.0
 *
 * The values of an optimizer step that may lie on the GPU, so that a CUDA graph that holds the step
 * can be replayed with others. Plain C.
 */
#pragma once

#include <stdint.h>

enum { DS_OPS_STEP_INT64 = 0, DS_OPS_STEP_FLOAT32 = 1 };

/* Each pointer may be NULL. What lies on the GPU cannot be checked by the host: a step below 1 or
 * an lr that is not finite gives parameters that are not finite. */
struct ds_ops_device_values {
  void* const* steps;       /* host list: for each tensor the device address of its step, which
                               replaces the step of the options; NULL in it is not allowed */
  const float* lr;          /* replaces the lr of the options */
  const float* inv_scale;   /* multiplies each gradient as it is read */
  const int32_t* noop_flag; /* if any of its bits is set when the kernel runs, nothing is changed; a
                               float32 that is 0 or not will do */
  int32_t step_type;        /* DS_OPS_STEP_INT64 or _FLOAT32 (whole numbers) */
};
