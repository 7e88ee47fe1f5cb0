// SPDX-License-Identifier: Apache-2.0
//
// Arrays of tokens and masks for a call, and what it must give, byte by byte.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "random_ltd.h"

namespace ds_ops {

using Bytes = std::vector<unsigned char>;

inline Bytes random_bytes(std::size_t size, std::mt19937& random) {
  Bytes bytes(size);
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<unsigned char>(random()); });
  return bytes;
}

/// Numbers from 0 to `below` (not included).
inline std::int64_t pick(std::mt19937& random, std::int64_t below) {
  return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(below));
}

/// A gather or scatter. Arrays begin `offset` bytes behind a multiple of 16, and end where their
/// memory ends.
struct TokenCase {
  Bytes all, part;
  std::vector<std::int32_t> indices;
  std::size_t offset;
  ds_ops_random_ltd_tokens call = {};

  TokenCase(std::mt19937& random, std::int64_t batch, std::int64_t tokens, std::int64_t kept,
            std::int64_t channels, std::int64_t element_size, std::int64_t elements_before)
      : offset(static_cast<std::size_t>(elements_before * element_size)) {
    call.batch = batch;
    call.tokens = tokens;
    call.kept = kept;
    call.channels = channels;
    call.element_size = element_size;
    lay_out(random, tokens, call.all_batch_stride, call.all_token_stride);
    lay_out(random, kept, call.part_batch_stride, call.part_token_stride);
    all = random_bytes(offset + size(tokens), random);
    part = random_bytes(offset + size(kept), random);
    for (std::int64_t n = 0; n < batch; ++n) {
      std::vector<std::int32_t> row(static_cast<std::size_t>(std::max(tokens, kept)));
      for (std::size_t i = 0; i < row.size(); ++i) {
        row[i] = static_cast<std::int32_t>(i);
      }
      std::shuffle(row.begin(), row.begin() + tokens, random);
      indices.insert(indices.end(), row.begin(), row.begin() + kept);
    }
    point();
  }

  /// Makes the call point to the arrays of this object.
  void point() {
    call.all = all.data() + offset;
    call.part = part.data() + offset;
    call.indices = indices.data();
  }

  /// The written array after the call, by the formula. A wrong index gives zeros, or nothing.
  Bytes right(bool scatter) const {
    Bytes result = scatter ? all : part;
    const std::size_t token = static_cast<std::size_t>(call.channels * call.element_size);
    for (std::int64_t n = 0; n < call.batch; ++n) {
      for (std::int64_t r = 0; r < call.kept; ++r) {
        const std::int64_t s =
            call.indices == nullptr ? r : indices[static_cast<std::size_t>(n * call.kept + r)];
        const bool is_right = s >= 0 && s < call.tokens;
        const std::size_t in_part = at(n * call.part_batch_stride + r * call.part_token_stride);
        const std::size_t in_all =
            is_right ? at(n * call.all_batch_stride + s * call.all_token_stride) : 0;
        if (scatter && is_right) {
          std::copy_n(part.begin() + static_cast<long>(in_part), token,
                      result.begin() + static_cast<long>(in_all));
        } else if (!scatter && is_right) {
          std::copy_n(all.begin() + static_cast<long>(in_all), token,
                      result.begin() + static_cast<long>(in_part));
        } else if (!scatter) {
          std::fill_n(result.begin() + static_cast<long>(in_part), token, 0);
        }
      }
    }
    return result;
  }

 private:
  std::size_t size(std::int64_t tokens) const {
    return static_cast<std::size_t>(call.batch * tokens * call.channels * call.element_size);
  }
  std::size_t at(std::int64_t element) const {
    return offset + static_cast<std::size_t>(element * call.element_size);
  }
  void lay_out(std::mt19937& random, std::int64_t tokens, std::int64_t& batch_stride,
               std::int64_t& token_stride) const {
    const bool batch_first = random() % 2 == 0;
    batch_stride = call.channels * (batch_first ? tokens : 1);
    token_stride = call.channels * (batch_first ? 1 : call.batch);
  }
};

/// Sizes and element sizes at random, all tokens distinct.
inline TokenCase random_case(std::mt19937& random) {
  const std::int64_t tokens = 1 + pick(random, 20);
  return TokenCase(random, 1 + pick(random, 4), tokens, 1 + pick(random, tokens),
                   1 + pick(random, 40), std::int64_t{1} << pick(random, 5), pick(random, 2));
}

struct MaskCase {
  Bytes out, mask;
  std::vector<std::int32_t> indices;
  ds_ops_random_ltd_masks call = {};

  explicit MaskCase(std::mt19937& random) {
    call.layers = 1 + pick(random, 3);
    call.batch = 1 + pick(random, 3);
    call.tokens = 1 + pick(random, 12);
    call.kept = 1 + pick(random, 50);
    call.element_size = std::int64_t{1} << pick(random, 5);
    const std::int64_t rows = call.layers * call.batch * call.kept;
    out.assign(static_cast<std::size_t>(rows * call.kept * call.element_size), 0xee);
    mask = random_bytes(
        static_cast<std::size_t>(call.batch * call.tokens * call.tokens * call.element_size),
        random);
    for (std::int64_t i = 0; i < rows; ++i) {
      indices.push_back(static_cast<std::int32_t>(pick(random, call.tokens)));
    }
    call.out = out.data();
    call.mask = mask.data();
    call.indices = indices.data();
  }

  Bytes right() const {
    Bytes result;
    const auto index = [&](std::int64_t l, std::int64_t n, std::int64_t i) {
      return indices[static_cast<std::size_t>((l * call.batch + n) * call.kept + i)];
    };
    const auto is_right = [&](std::int64_t i) { return i >= 0 && i < call.tokens; };
    for (std::int64_t l = 0; l < call.layers; ++l) {
      for (std::int64_t n = 0; n < call.batch; ++n) {
        for (std::int64_t i = 0; i < call.kept; ++i) {
          for (std::int64_t j = 0; j < call.kept; ++j) {
            const std::int64_t row = index(l, n, i);
            const std::int64_t column = index(l, n, j);
            Bytes element(static_cast<std::size_t>(call.element_size), 0);
            if (is_right(row) && is_right(column)) {
              const std::int64_t from = ((n * call.tokens + row) * call.tokens + column);
              std::copy_n(mask.begin() + from * call.element_size, call.element_size,
                          element.begin());
            }
            result.insert(result.end(), element.begin(), element.end());
          }
        }
      }
    }
    return result;
  }
};

}  // namespace ds_ops
