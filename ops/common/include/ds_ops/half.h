// SPDX-License-Identifier: Apache-2.0
//
// float16 and bfloat16 to and from float32, from their bits. Rounding is to nearest, ties to even;
// a NaN stays a NaN (made quiet, upper payload bits kept); out of range is an infinity. There are
// no branches, so that loops over these functions become SIMD, and nothing rests on float32
// subnormals, so that the results hold when the CPU flushes those to zero. The bits are those of
// the F16C instructions.
#pragma once

#include <cstdint>
#include <cstring>

#include "ds_ops/inline.h"

namespace ds_ops {

/// std::bit_cast, which C++17 (nvcc) lacks.
template <class To, class From>
DS_OPS_INLINE To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "of one size");
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

DS_OPS_INLINE float bfloat16_to_float(std::uint16_t bits) {
  return bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

DS_OPS_INLINE std::uint16_t float_to_bfloat16(float value) {
  std::uint32_t bits = bit_cast<std::uint32_t>(value);
  std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  std::uint32_t quiet = (bits >> 16) | 0x40u;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

DS_OPS_INLINE float float16_to_float(std::uint16_t bits) {
  std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  std::uint32_t magnitude = bits & 0x7fffu;
  // A subnormal is its integer times 2^-24, which float32 holds exactly.
  float small = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f;
  std::uint32_t normal = (magnitude << 13) + (112u << 23);
  std::uint32_t special = (magnitude << 13) | 0x7f800000u;
  std::uint32_t quiet = magnitude > 0x7c00u ? 0x400000u : 0u;
  std::uint32_t result = magnitude < 0x400u ? bit_cast<std::uint32_t>(small) : normal;
  result = magnitude >= 0x7c00u ? (special | quiet) : result;
  return bit_cast<float>(result | sign);
}

DS_OPS_INLINE std::uint16_t float_to_float16(float value) {
  std::uint32_t bits = bit_cast<std::uint32_t>(value);
  std::uint32_t sign = (bits >> 16) & 0x8000u;
  std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t normal = ((magnitude + 0xfffu + ((magnitude >> 13) & 1u)) >> 13) - (112u << 10);
  // Next to 0.5 the spacing of float32 is 2^-24, that of float16 subnormals: the FPU rounds.
  float shifted = bit_cast<float>(magnitude) + 0.5f;
  std::uint32_t small = bit_cast<std::uint32_t>(shifted) - 0x3f000000u;
  std::uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  std::uint32_t result = magnitude < 0x38800000u ? small : normal;
  result = magnitude >= 0x477ff000u ? 0x7c00u : result;
  result = magnitude > 0x7f800000u ? nan : result;
  return static_cast<std::uint16_t>(result | sign);
}

}  // namespace ds_ops
