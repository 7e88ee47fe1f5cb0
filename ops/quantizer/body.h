// SPDX-License-Identifier: Apache-2.0
//
// The bodies of the kernels (ds_ops/block.h). Each finds the range of a group, then its grid, then
// moves its elements onto it. They differ in who works on a group: a thread, a block that holds it
// in registers, or one or more blocks that read it twice. All give the same bits.
#pragma once

#include "ds_ops/block.h"
#include "parts.h"

namespace ds_ops {

struct Range {
  float largest = -__builtin_huge_valf();
  float smallest = __builtin_huge_valf();

  template <int Width>
  DS_OPS_INLINE void add(const float (&x)[Width], int count) {
    DS_OPS_UNROLL
    for (int w = 0; w < Width; ++w) {
      largest = w < count ? Largest()(x[w], largest) : largest;
      smallest = w < count ? Smallest()(x[w], smallest) : smallest;
    }
  }
};

/// A float as an integer of the same order, above 0; a NaN is the largest.
DS_OPS_INLINE std::uint32_t in_order(float value) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return value == value ? ordered : 0xffffffffu;
}

DS_OPS_INLINE float from_order(std::uint32_t ordered) {
  const std::uint32_t bits = (ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered;
  return bit_cast<float>(bits);
}

/// Raises what several blocks share.
DS_OPS_INLINE void raise(std::uint32_t* shared, std::uint32_t value) {
#ifdef __CUDA_ARCH__
  atomicMax(shared, value);
#else
  *shared = *shared < value ? value : *shared;
#endif
}

/// What a streamed body does: all of a group, or one of two launches for many blocks per group.
enum class Stage { all, measure, write };

struct Task {
  std::int64_t groups;
  std::int64_t group_size;
  std::int64_t parts;     ///< blocks per group
  std::uint32_t* ranges;  ///< for each group, in order: the largest, and the negated smallest
  Stage stage;
  Rules rules;
};

template <int Unroll>
struct Held {
  float of[Unroll][gpu_width];
};

/// A group of at most Block::threads * Unroll * gpu_width elements in registers, read once.
template <int Unroll, class Block, class Source, class Sink>
DS_OPS_INLINE void held_body(Block& block, const Source& source, const Sink& sink,
                             const Task& task) {
  for (std::int64_t group = block.index(); group < task.groups; group += block.count()) {
    const std::int64_t out_group = sink.place(group);
    const auto place = [&](int thread, int part) {
      const int at = (part * Block::threads + thread) * gpu_width;
      return Place{group, out_group, at, gpu_width};
    };
    typename Block::template Each<Held<Unroll>> held;
    typename Block::template Each<float> largest;
    typename Block::template Each<float> smallest;
    block.each_alone([&](int thread) {
      DS_OPS_UNROLL
      for (int part = 0; part < Unroll; ++part) {
        if (place(thread, part).at < task.group_size) {
          source.template load<true>(place(thread, part), held[thread].of[part]);
        }
      }
      Range range;
      DS_OPS_UNROLL
      for (int part = 0; part < Unroll; ++part) {
        if (place(thread, part).at < task.group_size) {
          range.add(held[thread].of[part], gpu_width);
        }
      }
      largest[thread] = range.largest;
      smallest[thread] = range.smallest;
    });
    const float top = block.reduce(largest, Largest());
    const Grid grid = make_grid(top, block.reduce(smallest, Smallest()), task.rules);
    block.each_alone([&](int thread) {
      if (thread == 0) {
        sink.store_grid(out_group, grid, task.rules);
      }
      DS_OPS_UNROLL
      for (int part = 0; part < Unroll; ++part) {
        if (place(thread, part).at < task.group_size) {
          sink.template store<true>(place(thread, part), held[thread].of[part], grid, task.rules);
        }
      }
    });
  }
}

/// A group of any size, read twice. `Width` with whole places is gpu_width, else 2.
template <int Width, bool whole, class Block, class Source, class Sink>
DS_OPS_INLINE void streamed_body(Block& block, const Source& source, const Sink& sink,
                                 const Task& task) {
  for (std::int64_t piece = block.index(); piece < task.groups * task.parts;
       piece += block.count()) {
    const std::int64_t group = quotient(piece, task.parts);
    const std::int64_t out_group = sink.place(group);
    const std::int64_t part = piece - group * task.parts;
    const auto each_place = [&](int thread, auto work) {
      const std::int64_t stride = task.parts * Block::threads * Width;
      for (std::int64_t at = (part * Block::threads + thread) * Width; at < task.group_size;
           at += stride) {
        const std::int64_t left = task.group_size - at;
        const int count = whole || left > Width ? Width : static_cast<int>(left);
        const Place place{group, out_group, at, count};
        float x[Width];
        source.template load<whole>(place, x);
        work(place, x);
      }
    };
    Range found;
    if (task.stage == Stage::write) {
      found.largest = from_order(task.ranges[2 * group]);
      found.smallest = -from_order(task.ranges[2 * group + 1]);
    } else {
      typename Block::template Each<float> largest;
      typename Block::template Each<float> smallest;
      block.each_alone([&](int thread) {
        Range range;
        each_place(thread,
                   [&](const Place& place, const float(&x)[Width]) { range.add(x, place.count); });
        largest[thread] = range.largest;
        smallest[thread] = range.smallest;
      });
      found.largest = block.reduce(largest, Largest());
      found.smallest = block.reduce(smallest, Smallest());
    }
    if (task.stage == Stage::measure) {
      block.each_alone([&](int thread) {
        if (thread == 0) {
          raise(task.ranges + 2 * group, in_order(found.largest));
          raise(task.ranges + 2 * group + 1, in_order(-found.smallest));
        }
      });
      continue;
    }
    const Grid grid = make_grid(found.largest, found.smallest, task.rules);
    block.each_alone([&](int thread) {
      if (thread == 0 && part == 0) {
        sink.store_grid(out_group, grid, task.rules);
      }
      each_place(thread, [&](const Place& place, const float(&x)[Width]) {
        sink.template store<whole>(place, x, grid, task.rules);
      });
    });
  }
}

/// Small groups, each the work of one thread.
template <int Width, bool whole, class Block, class Source, class Sink>
DS_OPS_INLINE void serial_body(Block& block, const Source& source, const Sink& sink,
                               const Task& task) {
  const int size = static_cast<int>(task.group_size);
  block.each_alone([&](int thread) {
    for (std::int64_t group = block.index() * Block::threads + thread; group < task.groups;
         group += block.count() * Block::threads) {
      const std::int64_t out_group = sink.place(group);
      const auto each_place = [&](auto work) {
        for (int at = 0; at < size; at += Width) {
          const Place place{group, out_group, at, size - at < Width ? size - at : Width};
          float x[Width];
          source.template load<whole>(place, x);
          work(place, x);
        }
      };
      Range range;
      each_place([&](const Place& place, const float(&x)[Width]) { range.add(x, place.count); });
      const Grid grid = make_grid(range.largest, range.smallest, task.rules);
      sink.store_grid(out_group, grid, task.rules);
      each_place([&](const Place& place, const float(&x)[Width]) {
        sink.template store<whole>(place, x, grid, task.rules);
      });
    }
  });
}

}  // namespace ds_ops
