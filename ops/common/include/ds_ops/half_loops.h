// SPDX-License-Identifier: Apache-2.0
//
// Loops that turn arrays of float16 and bfloat16 into float32 and back, for each CPU level, with
// the same bits at all. Only float16 has instructions of its own.
#pragma once

#include <cstdint>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "ds_ops/cpu_level.h"
#include "ds_ops/half.h"

namespace ds_ops {

/// Loops over `n` elements. The arrays do not overlap.
struct HalfLoops {
  using Load = void (*)(const std::uint16_t* from, float* to, std::int64_t n);
  using Store = void (*)(const float* from, std::uint16_t* to, std::int64_t n);

  Load load_float16;
  Store store_float16;
  Load load_bfloat16;
  Store store_bfloat16;
};

struct LoadFloat16 {
  DS_OPS_INLINE static void run(const std::uint16_t* __restrict from, float* __restrict to,
                                std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] = float16_to_float(from[i]);
    }
  }
};

struct StoreFloat16 {
  DS_OPS_INLINE static void run(const float* __restrict from, std::uint16_t* __restrict to,
                                std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] = float_to_float16(from[i]);
    }
  }
};

struct LoadBFloat16 {
  DS_OPS_INLINE static void run(const std::uint16_t* __restrict from, float* __restrict to,
                                std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] = bfloat16_to_float(from[i]);
    }
  }
};

struct StoreBFloat16 {
  DS_OPS_INLINE static void run(const float* __restrict from, std::uint16_t* __restrict to,
                                std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      to[i] = float_to_bfloat16(from[i]);
    }
  }
};

#ifdef __x86_64__

DS_OPS_TARGET_AVX2 inline void load_float16_avx2(const std::uint16_t* from, float* to,
                                                 std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
  }
  LoadFloat16::run(from + i, to + i, n - i);
}

DS_OPS_TARGET_AVX2 inline void store_float16_avx2(const float* from, std::uint16_t* to,
                                                  std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
  }
  StoreFloat16::run(from + i, to + i, n - i);
}

// The forms with a mask, because GCC 12 warns inside its own header about those without.
constexpr __mmask16 all_lanes = 0xffff;

DS_OPS_TARGET_AVX512 inline void load_float16_avx512(const std::uint16_t* from, float* to,
                                                     std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    _mm512_storeu_ps(to + i, _mm512_maskz_cvtph_ps(all_lanes, halves));
  }
  LoadFloat16::run(from + i, to + i, n - i);
}

DS_OPS_TARGET_AVX512 inline void store_float16_avx512(const float* from, std::uint16_t* to,
                                                      std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256i halves =
        _mm512_maskz_cvtps_ph(all_lanes, _mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), halves);
  }
  StoreFloat16::run(from + i, to + i, n - i);
}

#endif  // __x86_64__

/// The loops for a level that this CPU supports.
inline HalfLoops half_loops(CpuLevel level) {
  using Load = AtLevels<LoadBFloat16, const std::uint16_t*, float*, std::int64_t>;
  using Store = AtLevels<StoreBFloat16, const float*, std::uint16_t*, std::int64_t>;
  HalfLoops loops{LoadFloat16::run, StoreFloat16::run, Load::at(level), Store::at(level)};
#ifdef __x86_64__
  if (level == CpuLevel::avx512) {
    loops.load_float16 = load_float16_avx512;
    loops.store_float16 = store_float16_avx512;
  } else if (level == CpuLevel::avx2) {
    loops.load_float16 = load_float16_avx2;
    loops.store_float16 = store_float16_avx2;
  }
#endif
  return loops;
}

}  // namespace ds_ops
