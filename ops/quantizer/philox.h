// SPDX-License-Identifier: Apache-2.0
//
// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3" (SC 2011, section 3.3): four words of 32 bits are a function of a
// counter of four words and a key of two. No state, so who asks for which word does not matter.
#pragma once

#include <cstdint>

#include "ds_ops/inline.h"

namespace ds_ops {

/// `Lanes` counters at once: word k of lane n is of[k][n].
template <int Lanes>
struct PhiloxWords {
  std::uint32_t of[4][Lanes];
};

/// Replaces the counters by the random words.
template <int Lanes>
DS_OPS_INLINE void philox(PhiloxWords<Lanes>& words, std::uint32_t key0, std::uint32_t key1) {
  DS_OPS_UNROLL
  for (int round = 0; round < 10; ++round) {
    DS_OPS_UNROLL
    for (int lane = 0; lane < Lanes; ++lane) {
      const std::uint64_t a = std::uint64_t{0xd2511f53u} * words.of[0][lane];
      const std::uint64_t b = std::uint64_t{0xcd9e8d57u} * words.of[2][lane];
      words.of[0][lane] = static_cast<std::uint32_t>(b >> 32) ^ words.of[1][lane] ^ key0;
      words.of[1][lane] = static_cast<std::uint32_t>(b);
      words.of[2][lane] = static_cast<std::uint32_t>(a >> 32) ^ words.of[3][lane] ^ key1;
      words.of[3][lane] = static_cast<std::uint32_t>(a);
    }
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
}

/// The words of elements 4 * block to 4 * (block + Lanes) of a stream.
template <int Lanes>
DS_OPS_INLINE PhiloxWords<Lanes> philox_blocks(std::uint64_t seed, std::uint64_t offset,
                                               std::uint64_t block) {
  PhiloxWords<Lanes> words;
  DS_OPS_UNROLL
  for (int lane = 0; lane < Lanes; ++lane) {
    const std::uint64_t counter = block + static_cast<unsigned>(lane);
    words.of[0][lane] = static_cast<std::uint32_t>(counter);
    words.of[1][lane] = static_cast<std::uint32_t>(counter >> 32);
    words.of[2][lane] = static_cast<std::uint32_t>(offset);
    words.of[3][lane] = static_cast<std::uint32_t>(offset >> 32);
  }
  philox(words, static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
  return words;
}

/// In [0, 1), a multiple of 2^-24: exact.
DS_OPS_INLINE float uniform(std::uint32_t word) {
  return static_cast<float>(static_cast<std::int32_t>(word >> 8)) * 0x1p-24f;
}

/// The uniform numbers of elements `first` to `first + Width` of a stream. With 4 or 8 of them
/// `first` must be a multiple of 4.
template <int Width>
DS_OPS_INLINE void uniforms(std::uint64_t seed, std::uint64_t offset, std::uint64_t first,
                            float (&numbers)[Width]) {
  if constexpr (Width < 4) {
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      const std::uint64_t i = first + static_cast<unsigned>(w);
      const PhiloxWords<1> words = philox_blocks<1>(seed, offset, i / 4);
      const unsigned k = static_cast<unsigned>(i % 4);
      // No index that is only known at run time: that would be memory on the GPU.
      const std::uint32_t low = k == 0 ? words.of[0][0] : words.of[1][0];
      const std::uint32_t high = k == 2 ? words.of[2][0] : words.of[3][0];
      numbers[w] = uniform(k < 2 ? low : high);
    }
  } else if constexpr (Width <= 8) {
    const PhiloxWords<Width / 4> words = philox_blocks<Width / 4>(seed, offset, first / 4);
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      numbers[w] = uniform(words.of[w % 4][w / 4]);
    }
  } else {
    // The CPU: a group may begin anywhere.
    constexpr int lanes = Width / 4 + 1;
    const PhiloxWords<lanes> words = philox_blocks<lanes>(seed, offset, first / 4);
    float line[4 * lanes];
    for (int lane = 0; lane < lanes; ++lane) {
      for (int k = 0; k < 4; ++k) {
        line[4 * lane + k] = uniform(words.of[k][lane]);
      }
    }
    for (int w = 0; w < Width; ++w) {
      numbers[w] = line[static_cast<unsigned>(w) + first % 4];
    }
  }
}

}  // namespace ds_ops
