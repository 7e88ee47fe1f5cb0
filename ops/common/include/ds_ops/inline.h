// SPDX-License-Identifier: Apache-2.0
//
// Functions that CPU and GPU share, and loops in them that the GPU must unroll, so that arrays of a
// thread are registers.
#pragma once

#ifdef __CUDACC__
#define DS_OPS_INLINE __host__ __device__ __forceinline__
#else
#define DS_OPS_INLINE [[gnu::always_inline]] inline
#endif

// The host compiler, which nvcc runs on the same source, does not know the pragma.
#ifdef __CUDA_ARCH__
#define DS_OPS_UNROLL _Pragma("unroll")
#else
#define DS_OPS_UNROLL
#endif

namespace ds_ops {

/// How many units hold `value`, which is 0 or more. Nothing overflows.
template <class Integer>
DS_OPS_INLINE constexpr Integer divide_up(Integer value, Integer unit) {
  return value / unit + (value % unit != 0);
}

}  // namespace ds_ops
