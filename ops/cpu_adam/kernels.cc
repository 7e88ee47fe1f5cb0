// SPDX-License-Identifier: Apache-2.0
//
// Each loop is written once, as a body that is always inlined, and compiled for each level by a
// function that carries the level's target attribute: the compiler turns the same operations into
// SIMD of each width, so every level gives the same bits. Only float16 has instructions of its own.
#include "kernels.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "ds_ops/half.h"

namespace ds_ops {
namespace {

using std::int64_t;
using std::uint16_t;

template <Decay decay>
[[gnu::always_inline]] inline void update_all(float* __restrict p, const float* __restrict g,
                                              float* __restrict m, float* __restrict v, int64_t n,
                                              const AdamFactors<float>& factors) {
  const AdamFactors<float> f = factors;
  for (int64_t i = 0; i < n; ++i) {
    adam_element<decay>(p[i], g[i], m[i], v[i], f);
  }
}

[[gnu::always_inline]] inline void update_body(float* p, const float* g, float* m, float* v,
                                               int64_t n, const AdamFactors<float>& factors) {
  switch (factors.mode) {
    case Decay::none:
      return update_all<Decay::none>(p, g, m, v, n, factors);
    case Decay::l2:
      return update_all<Decay::l2>(p, g, m, v, n, factors);
    case Decay::decoupled:
      return update_all<Decay::decoupled>(p, g, m, v, n, factors);
  }
}

[[gnu::always_inline]] inline void load_float16_body(const uint16_t* __restrict from,
                                                     float* __restrict to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] = float16_to_float(from[i]);
  }
}

[[gnu::always_inline]] inline void store_float16_body(const float* __restrict from,
                                                      uint16_t* __restrict to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] = float_to_float16(from[i]);
  }
}

[[gnu::always_inline]] inline void load_bfloat16_body(const uint16_t* __restrict from,
                                                      float* __restrict to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] = bfloat16_to_float(from[i]);
  }
}

[[gnu::always_inline]] inline void store_bfloat16_body(const float* __restrict from,
                                                       uint16_t* __restrict to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    to[i] = float_to_bfloat16(from[i]);
  }
}

namespace baseline {

void load_float16(const uint16_t* from, float* to, int64_t n) {
  load_float16_body(from, to, n);
}
void store_float16(const float* from, uint16_t* to, int64_t n) {
  store_float16_body(from, to, n);
}
void load_bfloat16(const uint16_t* from, float* to, int64_t n) {
  load_bfloat16_body(from, to, n);
}
void store_bfloat16(const float* from, uint16_t* to, int64_t n) {
  store_bfloat16_body(from, to, n);
}
void update(float* p, const float* g, float* m, float* v, int64_t n, const AdamFactors<float>& f) {
  update_body(p, g, m, v, n, f);
}

constexpr AdamKernels kernels{load_float16, store_float16, load_bfloat16, store_bfloat16, update};

}  // namespace baseline

#ifdef __x86_64__

namespace avx2 {

[[gnu::target("avx2,f16c")]] void load_float16(const uint16_t* from, float* to, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
  }
  load_float16_body(from + i, to + i, n - i);
}

[[gnu::target("avx2,f16c")]] void store_float16(const float* from, uint16_t* to, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
  }
  store_float16_body(from + i, to + i, n - i);
}

[[gnu::target("avx2,f16c")]] void load_bfloat16(const uint16_t* from, float* to, int64_t n) {
  load_bfloat16_body(from, to, n);
}

[[gnu::target("avx2,f16c")]] void store_bfloat16(const float* from, uint16_t* to, int64_t n) {
  store_bfloat16_body(from, to, n);
}

[[gnu::target("avx2,f16c")]] void update(float* p, const float* g, float* m, float* v, int64_t n,
                                         const AdamFactors<float>& f) {
  update_body(p, g, m, v, n, f);
}

constexpr AdamKernels kernels{load_float16, store_float16, load_bfloat16, store_bfloat16, update};

}  // namespace avx2

namespace avx512 {

// The forms with a mask, because GCC 12 warns inside its own header about those without.
constexpr __mmask16 all_lanes = 0xffff;

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] void load_float16(const uint16_t* from,
                                                                        float* to, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    _mm512_storeu_ps(to + i, _mm512_maskz_cvtph_ps(all_lanes, halves));
  }
  load_float16_body(from + i, to + i, n - i);
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] void store_float16(const float* from,
                                                                         uint16_t* to, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256i halves =
        _mm512_maskz_cvtps_ph(all_lanes, _mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), halves);
  }
  store_float16_body(from + i, to + i, n - i);
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] void load_bfloat16(const uint16_t* from,
                                                                         float* to, int64_t n) {
  load_bfloat16_body(from, to, n);
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] void store_bfloat16(const float* from,
                                                                          uint16_t* to, int64_t n) {
  store_bfloat16_body(from, to, n);
}

[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]] void update(float* p, const float* g,
                                                                  float* m, float* v, int64_t n,
                                                                  const AdamFactors<float>& f) {
  update_body(p, g, m, v, n, f);
}

constexpr AdamKernels kernels{load_float16, store_float16, load_bfloat16, store_bfloat16, update};

}  // namespace avx512

#endif  // __x86_64__

}  // namespace

const AdamKernels& adam_kernels(CpuLevel level) {
#ifdef __x86_64__
  if (level == CpuLevel::avx512) {
    return avx512::kernels;
  }
  if (level == CpuLevel::avx2) {
    return avx2::kernels;
  }
#endif
  (void)level;
  return baseline::kernels;
}

}  // namespace ds_ops
