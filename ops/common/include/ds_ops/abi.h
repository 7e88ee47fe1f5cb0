/* SPDX-License-Identifier: Apache-2.0
 *
 * What every op library shares at its C border: how functions are exported, what they return, and
 * how element types are named. Plain C, so that any language can read it.
 *
 * Rules of the border: a function returns one of the codes below and throws nothing; a library
 * keeps no state between calls but in objects that the caller makes and frees; pointers belong to
 * the caller and are not kept; every library exports ds_ops_error_text. Codes and numbers below
 * never change their meaning.
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
#define DS_OPS_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define DS_OPS_EXPORT
#endif

enum {
  DS_OPS_OK = 0,
  DS_OPS_NULL_POINTER = 1,
  DS_OPS_BAD_SIZE = 2,
  DS_OPS_SIZE_MISMATCH = 3,
  DS_OPS_BAD_DTYPE = 4,
  DS_OPS_BAD_DTYPE_PAIR = 5,
  DS_OPS_MISALIGNED = 6,
  DS_OPS_BAD_STEP = 7,
  DS_OPS_BAD_LR = 8,
  DS_OPS_BAD_BETAS = 9,
  DS_OPS_BAD_EPS = 10,
  DS_OPS_BAD_WEIGHT_DECAY = 11,
  DS_OPS_BAD_MODE = 12,
  DS_OPS_BAD_CPU_LEVEL = 13,
  DS_OPS_CPU_LEVEL_MISSING = 14,
  DS_OPS_BAD_CHUNK_SIZE = 15,
  DS_OPS_WRONG_DEVICE = 16,
  DS_OPS_OVERLAP = 17,
  DS_OPS_BAD_GROUPS = 20,
  DS_OPS_BAD_BITS = 21,
  DS_OPS_BAD_QUANTIZATION = 22,
  DS_OPS_BAD_ROUNDING = 23,
  DS_OPS_BAD_SWIZZLE = 24,
  DS_OPS_BAD_ERROR_BETA = 25,
  DS_OPS_BAD_SHARDS = 26,
  /* A code above this, up to 3000, is this number plus a cudaError_t. */
  DS_OPS_CUDA = 1000,
  /* A code above this is this number plus an errno. */
  DS_OPS_ERRNO = 3000
};

enum { DS_OPS_FLOAT32 = 0, DS_OPS_FLOAT16 = 1, DS_OPS_BFLOAT16 = 2, DS_OPS_FLOAT64 = 3 };

/* A sentence without a full stop for any code; valid for ever, never NULL. */
DS_OPS_EXPORT const char* ds_ops_error_text(int code);
