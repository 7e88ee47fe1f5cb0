// SPDX-License-Identifier: Apache-2.0
//
// The body of the kernel (ds_ops/block.h). The elements are one line, cut into tiles; a block takes
// every so many tiles, and a thread several parts of a tile. A part is 16 bytes where the arrays
// allow it.
#pragma once

#include "bias_add.h"
#include "ds_ops/block.h"

namespace ds_ops {

enum class Access {
  vectors,         ///< 16 bytes at once, of the biases too
  vectors_of_map,  ///< 16 bytes at once but for the biases: a part may go over the end of a row
  elements         ///< one by one
};

/// Elements of a part.
template <class Element, Access access>
constexpr int part_width = access == Access::elements ? 1 : vector_width<Element>;

/// Parts that a thread has in flight, to hide the latency of memory.
template <Access access>
constexpr int parts_in_flight = access == Access::elements ? 8 : 2;

/// Elements of a tile.
template <class Element, Access access, int Threads>
constexpr std::int64_t tile_size =
    std::int64_t{Threads} * part_width<Element, access>* parts_in_flight<access>;

template <class Element>
Access access_of(const BiasAdd<Element>& a) {
  const auto aligned = [](const void* pointer) { return is_aligned(pointer, 16); };
  if (!aligned(a.out) || !aligned(a.activation) || !aligned(a.other)) {
    return Access::elements;
  }
  return a.channels % vector_width<Element> == 0 && aligned(a.bias) && aligned(a.other_bias)
             ? Access::vectors
             : Access::vectors_of_map;
}

/// Blocks that give every tile one, as far as a grid can be that long.
template <class Element, Access access, int Threads>
std::int64_t block_count(std::int64_t size) {
  constexpr std::int64_t tile = tile_size<Element, access, Threads>;
  const std::int64_t tiles = divide_up(size, tile);
  return tiles < INT32_MAX ? tiles : INT32_MAX;
}

template <Addition addition, class Element>
DS_OPS_INLINE Element sum_of(Element x, Element b, Element o, Element ob) {
  Element result;
  narrow(sum<addition>(widen(x), widen(b), widen(o), widen(ob)), result);
  return result;
}

/// Element `at`, of channel `channel`.
template <Addition addition, class Element>
DS_OPS_INLINE void add_element(const BiasAdd<Element>& a, std::int64_t at, std::int64_t channel) {
  a.out[at] = sum_of<addition>(
      a.activation[at], a.bias[channel], addition == Addition::bias ? Element() : a.other[at],
      addition == Addition::bias_other_bias ? a.other_bias[channel] : Element());
}

template <class Element, int Width>
DS_OPS_INLINE Vector<Element, Width> load(const Element* from) {
  return *reinterpret_cast<const Vector<Element, Width>*>(from);
}

/// The biases of a part that begins at `channel`.
template <Access access, class Element, int Width>
DS_OPS_INLINE Vector<Element, Width> load_bias(const Element* bias, std::int64_t channel,
                                               std::int64_t channels) {
  if constexpr (access == Access::vectors_of_map) {
    Vector<Element, Width> part;
    DS_OPS_UNROLL
    for (int j = 0; j < Width; ++j) {
      part.of[j] = bias[channel];
      ++channel;
      channel = channel == channels ? 0 : channel;
    }
    return part;
  } else {
    return load<Element, Width>(bias + channel);
  }
}

/// What one thread does of a tile: its parts that begin at `at`, `at` + `stride`, ... and are
/// whole.
template <Addition addition, Access access, class Element>
DS_OPS_INLINE void add_parts(const BiasAdd<Element>& a, std::int64_t at, int stride) {
  constexpr int width = part_width<Element, access>;
  constexpr int parts = parts_in_flight<access>;
  using Part = Vector<Element, width>;
  Part x[parts];
  Part o[parts];
  DS_OPS_UNROLL
  for (int k = 0; k < parts; ++k) {
    const std::int64_t here = at + k * stride;
    if (here + width <= a.size) {
      x[k] = load<Element, width>(a.activation + here);
      o[k] = addition == Addition::bias ? Part() : load<Element, width>(a.other + here);
    }
  }
  std::int64_t channel = at % a.channels;
  const std::int64_t step = stride % a.channels;
  DS_OPS_UNROLL
  for (int k = 0; k < parts; ++k) {
    const std::int64_t here = at + k * stride;
    if (here + width <= a.size) {
      const Part b = load_bias<access, Element, width>(a.bias, channel, a.channels);
      const Part ob = addition == Addition::bias_other_bias
                          ? load_bias<access, Element, width>(a.other_bias, channel, a.channels)
                          : Part();
      DS_OPS_UNROLL
      for (int j = 0; j < width; ++j) {
        x[k].of[j] = sum_of<addition>(x[k].of[j], b.of[j], o[k].of[j], ob.of[j]);
      }
      *reinterpret_cast<Part*>(a.out + here) = x[k];
    }
    channel += step;
    channel -= channel >= a.channels ? a.channels : 0;
  }
}

template <Addition addition, Access access, class Element, class Block>
DS_OPS_INLINE void bias_add_body(Block& block, const BiasAdd<Element>& a) {
  constexpr int width = part_width<Element, access>;
  constexpr std::int64_t tile = tile_size<Element, access, Block::threads>;
  block.each_alone([&](int thread) {
    for (std::int64_t begin = block.index() * tile; begin < a.size; begin += block.count() * tile) {
      add_parts<addition, access>(a, begin + std::int64_t{thread} * width, Block::threads * width);
    }
    // What is left over of the last row, less than a part.
    const std::int64_t tail = a.size - a.size % width + thread;
    if (access == Access::vectors_of_map && block.index() == 0 && tail < a.size) {
      add_element<addition>(a, tail, tail % a.channels);
    }
  });
}

}  // namespace ds_ops
