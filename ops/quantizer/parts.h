// SPDX-License-Identifier: Apache-2.0
//
// The sources and sinks of the three ops: arrays of values and shards of codes, and arrays of
// values and of codes.
#pragma once

#include "data.h"

namespace ds_ops {

/// Partitions of slices of `groups` neighbouring groups, permuted; see quantizer.h.
struct Swizzle {
  std::int64_t pipeline, nodes, devices, groups;

  DS_OPS_INLINE std::int64_t place(std::int64_t group) const {
    const std::int64_t slice_of_all = quotient(group, groups);
    const std::int64_t partition = quotient(slice_of_all, pipeline);
    const std::int64_t slice = slice_of_all - partition * pipeline;
    const std::int64_t node = quotient(partition, devices);
    const std::int64_t device = partition - node * devices;
    const std::int64_t to = slice * nodes * devices + device * nodes + node;
    return to * groups + (group - slice_of_all * groups);
  }
};

/// The error of the result's elements, or none. Its element type is known when it runs: so there is
/// one reduction, and not one for each type.
struct Feedback {
  void* error;
  std::int32_t dtype;
  float beta, rest;  ///< the weights of the old error and of the new one
  std::int64_t group_size;

  template <bool whole, int Width>
  DS_OPS_INLINE void add(const Place& place, float (&x)[Width]) const {
    if (error != nullptr) {
      float old[Width];
      load<whole>(place, old);
      DS_OPS_UNROLL
      for (int w = 0; w < Width; ++w) {
        x[w] = x[w] + old[w];
      }
    }
  }
  template <bool whole, int Width>
  DS_OPS_INLINE void update(const Place& place, const float (&x)[Width],
                            const float (&codes)[Width], const Grid& grid) const {
    if (error == nullptr) {
      return;
    }
    float old[Width];
    load<whole>(place, old);
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      const float lost = x[w] - dequantized(codes[w], grid.step, grid.offset);
      const float fresh = beta * old[w] + rest * lost;
      // A gradient that overflowed is not remembered for ever.
      old[w] = fresh - fresh == 0 ? fresh : old[w];
    }
    const std::int64_t i = place.out_group * group_size + place.at;
    if (dtype == DS_OPS_FLOAT16) {
      store_values<whole>(old, place.count, static_cast<Float16*>(error) + i);
    } else if (dtype == DS_OPS_BFLOAT16) {
      store_values<whole>(old, place.count, static_cast<BFloat16*>(error) + i);
    } else {
      store_values<whole>(old, place.count, static_cast<float*>(error) + i);
    }
  }

 private:
  template <bool whole, int Width>
  DS_OPS_INLINE void load(const Place& place, float (&x)[Width]) const {
    const std::int64_t i = place.out_group * group_size + place.at;
    if (dtype == DS_OPS_FLOAT16) {
      load_values<whole>(static_cast<const Float16*>(error) + i, place.count, x);
    } else if (dtype == DS_OPS_BFLOAT16) {
      load_values<whole>(static_cast<const BFloat16*>(error) + i, place.count, x);
    } else {
      load_values<whole>(static_cast<const float*>(error) + i, place.count, x);
    }
  }
};

template <class Element>
struct ValueSource {
  const Element* values;
  std::int64_t group_size;
  Feedback feedback;

  /// Whether so many whole ones can be loaded; the GPU asks once, for all places.
  DS_OPS_INLINE bool has(const Place&, int) const { return true; }
  template <bool whole, int Width>
  DS_OPS_INLINE void load(const Place& place, float (&x)[Width]) const {
    load_values<whole>(values + place.group * group_size + place.at, place.count, x);
    feedback.add<whole>(place, x);
  }
};

/// Shards that are summed up; a group of the sum may be a part of one of theirs, or many.
struct ShardSource {
  const std::int8_t* codes;
  const float* params;
  std::int64_t shards;
  std::int64_t groups;  ///< of a shard
  std::int64_t shard_group_size;
  std::int64_t group_size;  ///< of the result
  std::int64_t row;         ///< bytes of a shard's group
  int bits;
  bool symmetric;
  Feedback feedback;

  DS_OPS_INLINE bool has(const Place& place, int width) const {
    const std::int64_t i = place.group * group_size + place.at;
    const std::int64_t at = i - quotient(i, shard_group_size) * shard_group_size;
    return at + width <= shard_group_size && at % 2 == 0;
  }
  template <bool whole, int Width>
  DS_OPS_INLINE void load(const Place& place, float (&x)[Width]) const {
    const std::int64_t i = place.group * group_size + place.at;
    if constexpr (whole) {
      const std::int64_t group = quotient(i, shard_group_size);
      sum<true>(group, i - group * shard_group_size, Width, x);
    } else {
      DS_OPS_UNROLL
      for (int w = 0; w < Width; ++w) {
        x[w] = 0;
        if (w < place.count) {
          const std::int64_t group = quotient(i + w, shard_group_size);
          x[w] = one(group, i + w - group * shard_group_size);
        }
      }
    }
    feedback.add<whole>(place, x);
  }

 private:
  template <bool whole, int Width>
  DS_OPS_INLINE void sum(std::int64_t group, std::int64_t at, int count, float (&x)[Width]) const {
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      x[w] = 0;
    }
    for (std::int64_t shard = 0; shard < shards; ++shard) {
      const std::int64_t index = shard * groups + group;
      const float step = params[symmetric ? index : 2 * index];
      const float offset = symmetric ? 0.0f : params[2 * index + 1];
      float some[Width];
      load_codes<whole, true>(codes + index * row, bits, at, count, some);
      DS_OPS_UNROLL
      for (int w = 0; w < Width; ++w) {
        const float part = dequantized(some[w], step, offset);
        x[w] = x[w] + part;
      }
    }
  }
  DS_OPS_INLINE float one(std::int64_t group, std::int64_t at) const {
    float pair[2];
    sum<false>(group, at - at % 2, static_cast<int>(at % 2) + 1, pair);
    return at % 2 == 0 ? pair[0] : pair[1];
  }
};

/// Values that become what their codes stand for.
template <class Element>
struct ValueSink {
  Element* values;
  std::int64_t group_size;

  DS_OPS_INLINE std::int64_t place(std::int64_t group) const { return group; }
  template <bool whole, int Width>
  DS_OPS_INLINE void store(const Place& place, const float (&x)[Width], const Grid& grid,
                           const Rules& rules) const {
    const std::int64_t i = place.group * group_size + place.at;
    float codes[Width];
    quantize_all(x, static_cast<std::uint64_t>(i), grid, rules, codes);
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      codes[w] = dequantized(codes[w], grid.step, grid.offset);
    }
    store_values<whole>(codes, place.count, values + i);
  }
  DS_OPS_INLINE void store_grid(std::int64_t, const Grid&, const Rules&) const {}
};

/// Values that become codes.
struct CodeSink {
  std::int8_t* codes;
  float* params;
  std::int64_t group_size;
  std::int64_t row;  ///< bytes of a group
  Swizzle swizzle;
  Feedback feedback;

  DS_OPS_INLINE std::int64_t place(std::int64_t group) const { return swizzle.place(group); }
  template <bool whole, int Width>
  DS_OPS_INLINE void store(const Place& place, const float (&x)[Width], const Grid& grid,
                           const Rules& rules) const {
    const std::int64_t i = place.group * group_size + place.at;
    float code[Width];
    quantize_all(x, static_cast<std::uint64_t>(i), grid, rules, code);
    store_codes<whole>(code, rules.bits, place.at, place.count, codes + place.out_group * row);
    feedback.update<whole>(place, x, code, grid);
  }
  DS_OPS_INLINE void store_grid(std::int64_t out_group, const Grid& grid,
                                const Rules& rules) const {
    if (rules.symmetric) {
      params[out_group] = grid.step;
    } else {
      params[2 * out_group] = grid.step;
      params[2 * out_group + 1] = grid.offset;
    }
  }
};

}  // namespace ds_ops
