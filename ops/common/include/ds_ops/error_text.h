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
    case DS_OPS_BAD_BLOCK_SIZE:
      return "block_size must be a multiple of 4096 from 4096 to 1073741824";
    case DS_OPS_BAD_QUEUE_DEPTH:
      return "queue_depth must be 1 to 4096";
    case DS_OPS_BAD_WORKERS:
      return "threads must be 1 to 64, and no more may work for the handle";
    case DS_OPS_BAD_ENGINE:
      return "the op does not know this engine";
    case DS_OPS_BAD_OPERATION:
      return "operation must be 0 (read) or 1 (write)";
    case DS_OPS_BAD_FILE_RANGE:
      return "the file offset is negative, or the range ends beyond any file";
    case DS_OPS_BAD_FILE:
      return "it is neither a regular file nor a block device";
    case DS_OPS_APPENDS:
      return "the descriptor was opened with O_APPEND, which ignores offsets";
    case DS_OPS_END_OF_FILE:
      return "the file ends before the bytes that were to be read";
    case DS_OPS_BAD_REQUEST:
      return "no such request is open";
    case DS_OPS_PENDING:
      return "it has not ended yet";
    case DS_OPS_HANDLE_CLOSED:
      return "the handle is closed";
    case DS_OPS_HANDLE_FORKED:
      return "the handle belongs to the process that was forked; make one in this process";
    case DS_OPS_BAD_INDEX:
      return "an index of a token is negative or not below the number of tokens";
    case DS_OPS_SAME_INDEX:
      return "an index of a token is there twice";
    case DS_OPS_TOO_MANY_TOKENS:
      return "more tokens are kept than there are";
    case DS_OPS_BAD_STRIDE:
      return "a stride is negative, or lets tokens that are written share memory";
    case DS_OPS_BAD_ELEMENT_SIZE:
      return "the size of an element must be 1, 2, 4, 8 or 16 bytes";
    case DS_OPS_BIAS_WITHOUT_OTHER:
      return "there is a bias for an array that is not there";
    case DS_OPS_SMALL_WORKSPACE:
      return "the workspace is smaller than the op needs";
    case DS_OPS_BAD_COEFFICIENTS:
      return "min_coeff must be 0 or more, and max_coeff no less than it";
    case DS_OPS_BAD_GRAD_SCALE:
      return "grad_scale must be finite and more than 0";
    case DS_OPS_BAD_CORRECTION:
      return "the bias correction must be 0 (none), 1 (of the moments) or 2 (of the step size)";
    case DS_OPS_CANNOT_UNDO:
      return "the step cannot be undone: a beta is 0, or lr * weight_decay of AdamW is 1 or too "
             "large";
    case DS_OPS_BAD_THREADS:
      return "threads must not be negative";
    default:
      return code > DS_OPS_ERRNO ? "the system refused it: the code less 3000 is the errno"
                                 : "unknown error code";
  }
}

}  // namespace ds_ops
