// SPDX-License-Identifier: Apache-2.0
//
// The loops of cpu_adam, compiled once per CPU level.
#pragma once

#include <cstdint>

#include "ds_ops/adam_math.h"
#include "ds_ops/cpu_level.h"

namespace ds_ops {

/// Loops over `n` elements. Pointers do not overlap.
struct AdamKernels {
  void (*load_float16)(const std::uint16_t* from, float* to, std::int64_t n);
  void (*store_float16)(const float* from, std::uint16_t* to, std::int64_t n);
  void (*load_bfloat16)(const std::uint16_t* from, float* to, std::int64_t n);
  void (*store_bfloat16)(const float* from, std::uint16_t* to, std::int64_t n);
  void (*update)(float* p, const float* g, float* m, float* v, std::int64_t n,
                 const AdamFactors<float>& factors);
};

/// The loops for `level`, which this CPU supports and is not `automatic`.
const AdamKernels& adam_kernels(CpuLevel level);

}  // namespace ds_ops
