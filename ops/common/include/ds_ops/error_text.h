// SPDX-License-Identifier: Apache-2.0
//
// The texts of the codes in abi.h. An op's ds_ops_error_text calls this one.
#pragma once

#include "ds_ops/abi.h"

namespace ds_ops {

inline const char* error_text(int code) {
  switch (code) {
    case DS_OPS_OK:
      return "success";
    case DS_OPS_NULL_POINTER:
      return "a pointer is null";
    case DS_OPS_BAD_SIZE:
      return "a size or count is negative or too large";
    case DS_OPS_SIZE_MISMATCH:
      return "the sizes of the parts do not fit the flat buffer";
    case DS_OPS_BAD_DTYPE:
      return "the op does not know this element type";
    case DS_OPS_BAD_DTYPE_PAIR:
      return "the op does not support this combination of element types";
    case DS_OPS_MISALIGNED:
      return "a pointer is not aligned to its element type";
    case DS_OPS_BAD_STEP:
      return "step must be 1 or more";
    case DS_OPS_BAD_LR:
      return "lr must be finite and not negative";
    case DS_OPS_BAD_BETAS:
      return "each beta must be at least 0 and less than 1";
    case DS_OPS_BAD_EPS:
      return "eps must be finite and not negative";
    case DS_OPS_BAD_WEIGHT_DECAY:
      return "weight_decay must be finite and not negative";
    case DS_OPS_BAD_MODE:
      return "mode must be 0 (L2) or 1 (AdamW)";
    case DS_OPS_BAD_CPU_LEVEL:
      return "the op does not know this CPU level";
    case DS_OPS_CPU_LEVEL_MISSING:
      return "this CPU or this build lacks the CPU level that was asked for";
    case DS_OPS_BAD_CHUNK_SIZE:
      return "chunk_size must not be negative";
    case DS_OPS_WRONG_DEVICE:
      return "a pointer is not memory of the GPU that runs the op";
    case DS_OPS_OVERLAP:
      return "an array that is written shares memory with another";
    case DS_OPS_BAD_GROUPS:
      return "there must be 1 group or more";
    case DS_OPS_BAD_BITS:
      return "bits must be 4 or 8";
    case DS_OPS_BAD_QUANTIZATION:
      return "the quantization must be 0 (symmetric) or 1 (asymmetric)";
    case DS_OPS_BAD_ROUNDING:
      return "the rounding must be 0 (to nearest) or 1 (stochastic)";
    case DS_OPS_BAD_SWIZZLE:
      return "pipeline, nodes and devices must be 1 or more, and their product must divide the groups";
    case DS_OPS_BAD_ERROR_BETA:
      return "the weight of the old error must be from 0 to 1";
    case DS_OPS_BAD_SHARDS:
      return "there must be 1 shard or more, each with the elements of the result";
    default:
      return "unknown error code";
  }
}

}  // namespace ds_ops
