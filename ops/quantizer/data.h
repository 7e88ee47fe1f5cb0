// SPDX-License-Identifier: Apache-2.0
//
// Where the numbers of a group come from and where they go to: sources and sinks of the bodies. All
// have functions of a number of neighbours, Width, that lie in one group. `whole` ones are all
// there and aligned to Width elements, or to 16 bytes if that is less, and are moved at once; else
// `place.count` of them are there and are moved one by one.
#pragma once

#include "ds_ops/scalar.h"
#include "grid.h"

namespace ds_ops {

constexpr int gpu_width = 8;       ///< neighbours that a thread moves at once
constexpr int widest_on_gpu = 16;  ///< codes of 16 bytes

/// Neighbours of one group.
struct Place {
  std::int64_t group;
  std::int64_t out_group;  ///< where the group is in the result
  std::int64_t at;         ///< the first one, counted in the group
  int count;               ///< how many there are, at most Width
};

/// Bytes of the codes of a group.
DS_OPS_INLINE std::int64_t row_bytes(std::int64_t group_size, int bits) {
  return bits == 8 ? group_size : group_size / 2 + group_size % 2;
}

/// By 32 bits where that is enough: on a GPU it is several times faster.
DS_OPS_INLINE std::int64_t quotient(std::int64_t value, std::int64_t divisor) {
  if (((value | divisor) >> 32) == 0) {
    return static_cast<std::uint32_t>(value) / static_cast<std::uint32_t>(divisor);
  }
  return value / divisor;
}

/// Places this wide are the CPU's: they lie anywhere.
template <int Width>
constexpr bool lies_aligned = Width <= widest_on_gpu;

/// Aligned ones 16 bytes at a time.
template <bool aligned, int Width, class Element>
DS_OPS_INLINE void load_whole(const Element* from, Element (&to)[Width]) {
  if constexpr (aligned) {
    constexpr int most = vector_width<Element>;
    constexpr int n = Width < most ? Width : most;
    DS_OPS_UNROLL
    for (int part = 0; part < Width / n; ++part) {
      const Vector<Element, n> some = reinterpret_cast<const Vector<Element, n>*>(from)[part];
      DS_OPS_UNROLL
      for (int w = 0; w < n; ++w) {
        to[part * n + w] = some.of[w];
      }
    }
  } else {
    memcpy(to, from, sizeof(to));
  }
}

template <bool aligned, int Width, class Element>
DS_OPS_INLINE void store_whole(const Element (&from)[Width], Element* to) {
  if constexpr (aligned) {
    constexpr int most = vector_width<Element>;
    constexpr int n = Width < most ? Width : most;
    DS_OPS_UNROLL
    for (int part = 0; part < Width / n; ++part) {
      Vector<Element, n> some;
      DS_OPS_UNROLL
      for (int w = 0; w < n; ++w) {
        some.of[w] = from[part * n + w];
      }
      reinterpret_cast<Vector<Element, n>*>(to)[part] = some;
    }
  } else {
    memcpy(to, from, sizeof(from));
  }
}

/// What is not there is 0.
template <bool whole, int Width, class Element>
DS_OPS_INLINE void load_values(const Element* from, int count, float (&x)[Width]) {
  if constexpr (whole) {
    Element elements[Width];
    load_whole<lies_aligned<Width>>(from, elements);
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      x[w] = widen(elements[w]);
    }
  } else {
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      x[w] = w < count ? widen(from[w]) : 0.0f;
    }
  }
}

template <bool whole, int Width, class Element>
DS_OPS_INLINE void store_values(const float (&x)[Width], int count, Element* to) {
  if constexpr (whole) {
    Element elements[Width];
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      narrow(x[w], elements[w]);
    }
    store_whole<lies_aligned<Width>>(elements, to);
  } else {
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      if (w < count) {
        narrow(x[w], to[w]);
      }
    }
  }
}

/// `row` is where the codes of the group begin, `at` is even.
template <bool whole, int Width>
DS_OPS_INLINE void store_codes(const float (&codes)[Width], int bits, std::int64_t at, int count,
                               std::int8_t* row) {
  if (bits == 8) {
    std::int8_t bytes[Width];
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      bytes[w] = static_cast<std::int8_t>(static_cast<int>(codes[w]));
      if (!whole && w < count) {
        row[at + w] = bytes[w];
      }
    }
    if constexpr (whole) {
      store_whole<lies_aligned<Width>>(bytes, row + at);
    }
    return;
  }
  std::int8_t bytes[Width / 2];
  DS_OPS_UNROLL
  for (int w = 0; w < Width / 2; ++w) {
    const unsigned even = static_cast<unsigned>(static_cast<int>(codes[2 * w]));
    const unsigned odd = static_cast<unsigned>(static_cast<int>(codes[2 * w + 1]));
    const unsigned there = whole || 2 * w + 1 < count ? odd & 15u : 0u;
    bytes[w] = static_cast<std::int8_t>(static_cast<std::uint8_t>((even << 4) | there));
    if (!whole && 2 * w < count) {
      row[at / 2 + w] = bytes[w];
    }
  }
  if constexpr (whole) {
    store_whole<lies_aligned<Width>>(bytes, row + at / 2);
  }
}

/// Codes as numbers; `has_sign` if they are two's complement.
template <bool whole, bool has_sign, int Width>
DS_OPS_INLINE void load_codes(const std::int8_t* row, int bits, std::int64_t at, int count,
                              float (&codes)[Width]) {
  if (bits == 8) {
    std::int8_t bytes[Width];
    if constexpr (whole) {
      load_whole<lies_aligned<Width>>(row + at, bytes);
    }
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      const std::int8_t byte = whole ? bytes[w] : w < count ? row[at + w] : std::int8_t{0};
      codes[w] = static_cast<float>(has_sign ? int{byte} : int{static_cast<std::uint8_t>(byte)});
    }
    return;
  }
  std::int8_t bytes[Width / 2];
  if constexpr (whole) {
    load_whole<lies_aligned<Width>>(row + at / 2, bytes);
  }
  DS_OPS_UNROLL
  for (int w = 0; w < Width / 2; ++w) {
    const std::int8_t byte = whole ? bytes[w] : 2 * w < count ? row[at / 2 + w] : std::int8_t{0};
    const int high = static_cast<std::uint8_t>(byte) >> 4;
    const int low = byte & 15;
    // Subtracting what the sign bit stands for twice.
    codes[2 * w] = static_cast<float>(has_sign ? high - 2 * (high & 8) : high);
    codes[2 * w + 1] = static_cast<float>(has_sign ? low - 2 * (low & 8) : low);
  }
}

}  // namespace ds_ops
