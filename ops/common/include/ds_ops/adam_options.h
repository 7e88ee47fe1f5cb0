/* SPDX-License-Identifier: Apache-2.0
 *
 * The hyperparameters of one Adam step, as every Adam op takes them. Plain C.
 */
#pragma once

#include <stdint.h>

enum { DS_OPS_ADAM_L2 = 0, DS_OPS_ADAM_DECOUPLED = 1 };

struct ds_ops_adam_options {
  double lr;               /* finite, >= 0 */
  double beta1;            /* in [0, 1) */
  double beta2;            /* in [0, 1) */
  double eps;              /* finite, >= 0 */
  double weight_decay;     /* finite, >= 0 */
  int64_t step;            /* 1 for the first step */
  int32_t mode;            /* DS_OPS_ADAM_L2 (Adam) or DS_OPS_ADAM_DECOUPLED (AdamW) */
  int32_t bias_correction; /* 0: the moments are used as they are */
};
