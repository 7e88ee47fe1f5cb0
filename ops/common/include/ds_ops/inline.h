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
