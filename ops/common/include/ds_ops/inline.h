// SPDX-License-Identifier: Apache-2.0
//
// Functions that CPU and GPU share.
#pragma once

#ifdef __CUDACC__
#define DS_OPS_INLINE __host__ __device__ __forceinline__
#else
#define DS_OPS_INLINE [[gnu::always_inline]] inline
#endif
