// SPDX-License-Identifier: Apache-2.0
//
// The grid of a group, and how a number gets onto it. With b bits, and max and min of the group:
//
//   symmetric    step = (2 * max(|max|, |min|) + eps) / 2^b   offset = 0
//   asymmetric   step = (max - min + eps) / 2^b               offset = (max + min) / 2, or min
//   where
//                                                             codes begin with 0
//   q = clamp(round((x - offset) / step))                     x' = q * step + offset
//
// Division by the step is multiplication by its reciprocal. Rounding is to nearest, ties to even,
// or stochastic: the fraction is the probability of the neighbour away from zero. The steps are
// worked out so that nothing overflows on the way; they are at least 2^-126, so that the reciprocal
// is finite.
#pragma once

#include "ds_ops/block.h"
#include "philox.h"

namespace ds_ops {

/// What all groups of a call have in common.
struct Rules {
  float low, high;    ///< the least and the largest code
  float step_factor;  ///< 2^-b
  float eps_step;     ///< eps / 2^b
  int bits;
  bool symmetric;
  bool from_least;  ///< the offset is min, and codes have no sign
  bool stochastic;
  std::uint64_t seed, offset;
};

struct Grid {
  float twice_scale;  ///< 2 / step
  float half_offset;
  float step;
  float offset;
};

/// Of a group without elements largest < smallest.
DS_OPS_INLINE Grid make_grid(float largest, float smallest, const Rules& rules) {
  if (largest < smallest) {
    largest = smallest = 0;
  }
  if (rules.symmetric) {
    largest = Largest()(largest, -smallest);
    smallest = -largest;
  }
  const bool flat = largest == smallest;
  float step = (largest * rules.step_factor - smallest * rules.step_factor) + rules.eps_step;
  step = flat && rules.eps_step == 0 ? 1.0f : step;
  step = step < 0x1p-126f ? 0x1p-126f : step;
  const float middle = flat ? largest : largest * 0.5f + smallest * 0.5f;
  // + 0: whether the largest of 0 and -0 is 0 or -0 depends on their order.
  const float offset = (rules.symmetric ? 0.0f : rules.from_least ? smallest : middle) + 0.0f;
  return {2.0f * (1.0f / step), offset * 0.5f, step, offset};
}

/// The code of `x` as a float; `number` in [0, 1) is looked at for stochastic rounding alone.
template <bool stochastic>
DS_OPS_INLINE float quantized(float x, const Grid& grid, const Rules& rules, float number) {
  // Halves, because x - offset can be more than a float holds.
  float v = (x * 0.5f - grid.half_offset) * grid.twice_scale;
  v = v == v ? v : 0.0f;
  v = v < rules.low ? rules.low : v;
  v = v > rules.high ? rules.high : v;
  if (stochastic) {
    const float whole = static_cast<float>(static_cast<int>(v));
    const float rest = v - whole;  // exact
    const float away = rest < 0 ? -1.0f : 1.0f;
    return whole + (number < (rest < 0 ? -rest : rest) ? away : 0.0f);
  }
  // Next to 1.5 * 2^23 floats are whole numbers: the sum is rounded as it must be.
  return (v + 0x1.8p23f) - 0x1.8p23f;
}

DS_OPS_INLINE float dequantized(float code, float step, float offset) {
  return code * step + offset;
}

/// The codes of neighbours; the first has index `first` in the array.
template <int Width>
DS_OPS_INLINE void quantize_all(const float (&x)[Width], std::uint64_t first, const Grid& grid,
                                const Rules& rules, float (&codes)[Width]) {
  if (rules.stochastic) {
    float numbers[Width];
    uniforms(rules.seed, rules.offset, first, numbers);
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      codes[w] = quantized<true>(x[w], grid, rules, numbers[w]);
    }
  } else {
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      codes[w] = quantized<false>(x[w], grid, rules, 0.0f);
    }
  }
}

}  // namespace ds_ops
