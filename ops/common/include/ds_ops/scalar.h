// SPDX-License-Identifier: Apache-2.0
//
// The element types of the ops, on CPU and GPU alike: their bits, and how they become float32 (or
// double, for double) and back, rounded to nearest even. The bits are the same on both, but for
// the payload of a NaN, which the GPU does not keep.
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "ds_ops/abi.h"
#include "ds_ops/half.h"

namespace ds_ops {

struct Float16 {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

DS_OPS_INLINE float widen(float value) {
  return value;
}
DS_OPS_INLINE double widen(double value) {
  return value;
}
DS_OPS_INLINE float widen(Float16 value) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(value.bits));
#else
  return float16_to_float(value.bits);
#endif
}
DS_OPS_INLINE float widen(BFloat16 value) {
  return bfloat16_to_float(value.bits);
}

DS_OPS_INLINE void narrow(float value, float& to) {
  to = value;
}
DS_OPS_INLINE void narrow(double value, double& to) {
  to = value;
}
DS_OPS_INLINE void narrow(float value, Float16& to) {
#ifdef __CUDA_ARCH__
  to.bits = __half_as_ushort(__float2half_rn(value));
#else
  to.bits = float_to_float16(value);
#endif
}
DS_OPS_INLINE void narrow(float value, BFloat16& to) {
#ifdef __CUDA_ARCH__
  to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
  to.bits = float_to_bfloat16(value);
#endif
}

/// Bytes of one element; 0 for a code that is none.
inline std::int64_t element_size(std::int32_t dtype) {
  switch (dtype) {
    case DS_OPS_FLOAT32:
      return 4;
    case DS_OPS_FLOAT16:
    case DS_OPS_BFLOAT16:
      return 2;
    case DS_OPS_FLOAT64:
      return 8;
    default:
      return 0;
  }
}

/// N elements that are loaded and stored at once, where the address is a multiple of their size.
template <class Element, int N>
struct alignas(sizeof(Element) * N) Vector {
  Element of[N];
};

/// How many elements the widest load of a GPU has.
template <class Element>
constexpr int vector_width = 16 / static_cast<int>(sizeof(Element));

}  // namespace ds_ops
