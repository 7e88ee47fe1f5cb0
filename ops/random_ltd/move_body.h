// SPDX-License-Identifier: Apache-2.0
//
// The bodies of the kernels that move elements (ds_ops/block.h): tokens, and elements of masks.
#pragma once

#include "checks.h"
#include "ds_ops/block.h"
#include "ds_ops/scalar.h"
#include "index.h"

namespace ds_ops {

template <int Bytes>
struct UnitOf;
template <>
struct UnitOf<1> {
  using Type = std::uint8_t;
};
template <>
struct UnitOf<2> {
  using Type = std::uint16_t;
};
template <>
struct UnitOf<4> {
  using Type = std::uint32_t;
};
template <>
struct UnitOf<8> {
  using Type = Vector<std::uint32_t, 2>;
};
template <>
struct UnitOf<16> {
  using Type = Vector<std::uint32_t, 4>;
};

/// Units that a thread has in flight, to hide the latency of memory.
constexpr int units_in_flight = 4;

/// Unit u of kept token r of sequence n, and how to go on from there.
struct Place {
  std::int64_t n;
  std::int64_t r;
  std::int64_t u;
};

/// A gather or a scatter in units: what is copied at once. Strides count units.
template <class Unit>
struct Move {
  Unit* to;
  const Unit* from;
  std::int64_t to_batch_stride;
  std::int64_t to_token_stride;
  std::int64_t from_batch_stride;
  std::int64_t from_token_stride;
  const std::int32_t* indices;
  std::int64_t kept;
  std::int64_t tokens;
  std::int64_t units;  ///< of a token
  std::int64_t size;   ///< units of all kept tokens
  Place step;          ///< how far apart the units of a thread are, as a place
  std::int32_t* status;
};

/// The largest number of bytes that all addresses and strides of a call are multiples of, at most
/// 16. For checked arguments.
inline int unit_size(const ds_ops_random_ltd_tokens& t) {
  std::uint64_t together =
      reinterpret_cast<std::uintptr_t>(t.all) | reinterpret_cast<std::uintptr_t>(t.part) | 16U;
  // A stride of an axis of length 1 may be of any size.
  const auto take = [&](std::int64_t elements, std::int64_t length) {
    together |= length < 2 ? 0 : static_cast<std::uint64_t>(elements * t.element_size);
  };
  take(t.channels, 2);
  take(t.all_batch_stride, t.batch);
  take(t.part_batch_stride, t.batch);
  take(t.all_token_stride, t.tokens);
  take(t.part_token_stride, t.kept);
  return static_cast<int>(together & (~together + 1));
}

DS_OPS_INLINE Place place_of(std::int64_t unit, std::int64_t kept, std::int64_t units) {
  return {unit / units / kept, unit / units % kept, unit % units};
}

template <bool scatter, class Unit>
Move<Unit> make_move(const ds_ops_random_ltd_tokens& t, int threads, std::int32_t* status) {
  const auto in_units = [&](std::int64_t elements, std::int64_t length) {
    constexpr std::int64_t size = sizeof(Unit);
    return length < 2 ? 0 : elements * t.element_size / size;
  };
  Move<Unit> move = {};
  move.to = static_cast<Unit*>(scatter ? t.all : t.part);
  move.from = static_cast<const Unit*>(scatter ? t.part : t.all);
  const std::int64_t all_batch = in_units(t.all_batch_stride, t.batch);
  const std::int64_t all_token = in_units(t.all_token_stride, t.tokens);
  const std::int64_t part_batch = in_units(t.part_batch_stride, t.batch);
  const std::int64_t part_token = in_units(t.part_token_stride, t.kept);
  move.to_batch_stride = scatter ? all_batch : part_batch;
  move.to_token_stride = scatter ? all_token : part_token;
  move.from_batch_stride = scatter ? part_batch : all_batch;
  move.from_token_stride = scatter ? part_token : all_token;
  move.indices = t.indices;
  move.kept = t.kept;
  move.tokens = t.tokens;
  move.units = in_units(t.channels, 2);
  move.size = t.batch * t.kept * move.units;
  move.step = place_of(threads, t.kept, move.units);
  move.status = status;
  return move;
}

DS_OPS_INLINE void advance(Place& place, const Place& step, std::int64_t kept, std::int64_t units) {
  place.u += step.u;
  const bool next_token = place.u >= units;
  place.u -= next_token ? units : 0;
  place.r += step.r + (next_token ? 1 : 0);
  const bool next_sequence = place.r >= kept;
  place.r -= next_sequence ? kept : 0;
  place.n += step.n + (next_sequence ? 1 : 0);
}

/// What one thread does: the units `at`, `at` + `threads`, ... of a tile.
template <bool scatter, class Unit>
DS_OPS_INLINE void move_units(const Move<Unit>& m, std::int64_t at, int threads) {
  Unit units[units_in_flight];
  Unit* to[units_in_flight];
  std::uint32_t problems = 0;
  Place place = place_of(at, m.kept, m.units);
  DS_OPS_UNROLL
  for (int k = 0; k < units_in_flight; ++k) {
    to[k] = nullptr;
    if (at + k * threads < m.size) {
      const std::int64_t index =
          m.indices == nullptr ? place.r : m.indices[place.n * m.kept + place.r];
      const bool is_right = is_token(index, m.tokens);
      problems |= is_right ? 0 : DS_OPS_RANDOM_LTD_BAD_INDEX;
      if (is_right) {
        units[k] = m.from[place.n * m.from_batch_stride +
                          (scatter ? place.r : index) * m.from_token_stride + place.u];
      } else {
        units[k] = Unit();
      }
      if (is_right || !scatter) {
        to[k] = m.to + (place.n * m.to_batch_stride +
                        (scatter ? index : place.r) * m.to_token_stride + place.u);
      }
    }
    advance(place, m.step, m.kept, m.units);
  }
  DS_OPS_UNROLL
  for (int k = 0; k < units_in_flight; ++k) {
    if (to[k] != nullptr) {
      *to[k] = units[k];
    }
  }
  set_status(m.status, problems);
}

template <bool scatter, class Unit, class Block>
DS_OPS_INLINE void move_body(Block& block, const Move<Unit>& m) {
  constexpr std::int64_t tile = std::int64_t{Block::threads} * units_in_flight;
  block.each_alone([&](int thread) {
    for (std::int64_t begin = block.index() * tile; begin < m.size; begin += block.count() * tile) {
      move_units<scatter>(m, begin + thread, Block::threads);
    }
  });
}

/// A block, a row of a mask of a layer.
template <class Unit, class Block>
DS_OPS_INLINE void mask_body(Block& block, const ds_ops_random_ltd_masks& m, std::int32_t* status) {
  const std::int64_t rows = m.layers * m.batch * m.kept;
  block.each_alone([&](int thread) {
    std::uint32_t problems = 0;
    for (std::int64_t row = block.index(); row < rows; row += block.count()) {
      const std::int64_t sequence = row / m.kept;
      const std::int32_t* indices = m.indices + sequence * m.kept;
      const std::int64_t i = indices[row % m.kept];
      const Unit* from = static_cast<const Unit*>(m.mask);
      if (is_token(i, m.tokens)) {
        from += (sequence % m.batch * m.tokens + i) * m.tokens;
      }
      Unit* to = static_cast<Unit*>(m.out) + row * m.kept;
      for (std::int64_t at = thread; at < m.kept; at += Block::threads) {
        const std::int64_t j = indices[at];
        const bool is_right = is_token(i, m.tokens) && is_token(j, m.tokens);
        problems |= is_right ? 0 : DS_OPS_RANDOM_LTD_BAD_INDEX;
        if (is_right) {
          to[at] = from[j];
        } else {
          to[at] = Unit();
        }
      }
    }
    set_status(status, problems);
  });
}

/// Calls run(unit) with a value of the type that has so many bytes.
template <class Run>
int with_unit(int bytes, Run run) {
  switch (bytes) {
    case 1:
      return run(UnitOf<1>::Type());
    case 2:
      return run(UnitOf<2>::Type());
    case 4:
      return run(UnitOf<4>::Type());
    case 8:
      return run(UnitOf<8>::Type());
    default:
      return run(UnitOf<16>::Type());
  }
}

}  // namespace ds_ops
