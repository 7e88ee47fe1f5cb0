// SPDX-License-Identifier: Apache-2.0
//
// Indices of tokens, marked in a bitmap: on a GPU by many threads at once.
#pragma once

#include <cstdint>

#include "ds_ops/inline.h"
#include "random_ltd.h"

namespace ds_ops {

/// The bits of the word before; atomic on a GPU.
DS_OPS_INLINE std::uint32_t fetch_or(std::uint32_t& word, std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return atomicOr(&word, bits);
#else
  const std::uint32_t before = word;
  word |= bits;
  return before;
#endif
}

DS_OPS_INLINE int count_bits(std::uint32_t word) {
#ifdef __CUDA_ARCH__
  return __popc(word);
#else
  return __builtin_popcount(word);
#endif
}

/// The place of the lowest bit of a word that is not 0.
DS_OPS_INLINE int lowest_bit(std::uint32_t word) {
#ifdef __CUDA_ARCH__
  return __ffs(static_cast<int>(word)) - 1;
#else
  return __builtin_ctz(word);
#endif
}

DS_OPS_INLINE bool is_token(std::int64_t index, std::int64_t tokens) {
  return index >= 0 && index < tokens;
}

DS_OPS_INLINE void set_status(std::int32_t* status, std::uint32_t problems) {
  if (status != nullptr && problems != 0) {
#ifdef __CUDA_ARCH__
    atomicOr(status, static_cast<int>(problems));
#else
    *status |= static_cast<std::int32_t>(problems);
#endif
  }
}

/// Marks `index` in the bitmap of the `words` times 32 tokens from `begin` on, if it is one of
/// them. What is wrong with it: bits of DS_OPS_RANDOM_LTD_..., or 0.
DS_OPS_INLINE std::uint32_t mark(std::uint32_t* bitmap, int words, std::int64_t begin,
                                 std::int64_t index, std::int64_t tokens) {
  if (!is_token(index, tokens)) {
    return DS_OPS_RANDOM_LTD_BAD_INDEX;
  }
  const std::int64_t at = index - begin;
  if (at < 0 || at >= std::int64_t{words} * 32) {
    return 0;
  }
  const std::uint32_t bit = std::uint32_t{1} << (at % 32);
  return (fetch_or(bitmap[at / 32], bit) & bit) != 0 ? DS_OPS_RANDOM_LTD_SAME_INDEX : 0;
}

}  // namespace ds_ops
