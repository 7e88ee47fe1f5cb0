// SPDX-License-Identifier: Apache-2.0
//
// From codes to values: the call, its rules, and the body of the kernel.
#pragma once

#include "calls.h"
#include "ds_ops/block.h"

namespace ds_ops {

/// x = q * step + offset, with a sign.
struct SignedCodes {
  static constexpr bool has_sign = true;
  const float* params;
  bool symmetric;

  template <int Width>
  DS_OPS_INLINE void to_values(std::int64_t group, float (&x)[Width]) const {
    const float step = params[symmetric ? group : 2 * group];
    const float offset = symmetric ? 0.0f : params[2 * group + 1];
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      x[w] = dequantized(x[w], step, offset);
    }
  }
};

/// x = q / scale + least, without a sign.
template <class Element>
struct UnsignedCodes {
  static constexpr bool has_sign = false;
  const Element* scales;
  const Element* least;

  template <int Width>
  DS_OPS_INLINE void to_values(std::int64_t group, float (&x)[Width]) const {
    const float scale = widen(scales[group]);
    const float from = widen(least[group]);
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      x[w] = x[w] / scale + from;
    }
  }
};

template <class Element, class Codes>
struct Dequantizer {
  const std::int8_t* codes;
  Element* values;
  Codes how;
  std::int64_t groups;
  std::int64_t group_size;
  std::int64_t row;  ///< bytes of a group
  int bits;

  template <bool whole, int Width>
  DS_OPS_INLINE void move(std::int64_t group, std::int64_t at, int count) const {
    float x[Width];
    load_codes<whole, Codes::has_sign>(codes + group * row, bits, at, count, x);
    how.to_values(group, x);
    store_values<whole>(x, count, values + group * group_size + at);
  }
};

/// Every thread moves pieces of `Width` elements of one group: whole ones, or 2.
template <int Width, bool whole, class Block, class Work>
DS_OPS_INLINE void dequantize_body(Block& block, const Work& work) {
  const std::int64_t pieces = divide_up<std::int64_t>(work.group_size, Width);
  block.each_alone([&](int thread) {
    for (std::int64_t piece = block.index() * Block::threads + thread; piece < pieces * work.groups;
         piece += block.count() * Block::threads) {
      const std::int64_t group = quotient(piece, pieces);
      const std::int64_t at = (piece - group * pieces) * Width;
      const std::int64_t left = work.group_size - at;
      work.template move<whole, Width>(group, at, left < Width ? static_cast<int>(left) : Width);
    }
  });
}

struct DequantizeCall {
  const std::int8_t* codes;
  const float* params;
  const Options* options;
  void* values;
  std::int32_t dtype;

  int check(const void* (&pointers)[4]) const {
    const int code = check_options(options);
    if (code != DS_OPS_OK) {
      return code;
    }
    if (value_size(dtype) == 0) {
      return DS_OPS_BAD_DTYPE;
    }
    const bool some = element_count(*options) > 0;
    pointers[0] = some ? codes : nullptr;
    pointers[1] = params;
    pointers[2] = some ? values : nullptr;
    pointers[3] = nullptr;
    return check_spans({codes_of(*options, codes, false), params_of(*options, params, false),
                        values_of(*options, values, dtype, true)});
  }
  template <class Element>
  auto work() const {
    return Dequantizer<Element, SignedCodes>{codes,
                                             static_cast<Element*>(values),
                                             {params, is_symmetric(*options)},
                                             options->groups,
                                             options->group_size,
                                             row_bytes(options->group_size, options->bits),
                                             options->bits};
  }
};

struct UnsignedCall {
  const std::uint8_t* codes;
  const void* scales;
  const void* least;
  const Options* options;
  void* values;
  std::int32_t dtype;

  int check(const void* (&pointers)[4]) const {
    const int code = check_options(options);
    if (code != DS_OPS_OK) {
      return code;
    }
    if (value_size(dtype) == 0) {
      return DS_OPS_BAD_DTYPE;
    }
    const bool some = element_count(*options) > 0;
    pointers[0] = some ? codes : nullptr;
    pointers[1] = scales;
    pointers[2] = least;
    pointers[3] = some ? values : nullptr;
    const std::int64_t width = value_size(dtype);
    return check_spans(
        {codes_of(*options, codes, false), Span{scales, options->groups, width, false},
         Span{least, options->groups, width, false}, values_of(*options, values, dtype, true)});
  }
  template <class Element>
  auto work() const {
    return Dequantizer<Element, UnsignedCodes<Element>>{
        reinterpret_cast<const std::int8_t*>(codes),
        static_cast<Element*>(values),
        {static_cast<const Element*>(scales), static_cast<const Element*>(least)},
        options->groups,
        options->group_size,
        row_bytes(options->group_size, options->bits),
        options->bits};
  }
};

}  // namespace ds_ops
