// SPDX-License-Identifier: Apache-2.0
//
// Lists of tensors, packed into as few launches as possible. A launch takes its list of work by
// value in the kernel's arguments: no copy to the device, no memory to keep alive. Each block works
// on one chunk of one tensor, which it finds by the number of the tensor's first block.
#pragma once

#include <cstdint>

#include "ds_ops/check.h"
#include "ds_ops/inline.h"

namespace ds_ops {

/// What the arguments of a kernel may hold. Every driver of CUDA 13 takes 32,764 bytes, for all
/// GPUs from 7.0 on; drivers before 530, which CUDA 12 still knows, take 4 KiB.
#if defined(__CUDACC_VER_MAJOR__) && __CUDACC_VER_MAJOR__ >= 13
constexpr int argument_bytes = 32764;
#else
constexpr int argument_bytes = 4096;
#endif

/// Chunks begin at a multiple of this, so that they are as aligned as their tensor is.
constexpr std::int64_t chunk_unit = 16;
constexpr std::int64_t largest_chunk = 65536;  ///< of default_chunk_size
constexpr std::int64_t smallest_chunk = 4096;  ///< of default_chunk_size
constexpr std::int64_t wanted_blocks = 4096;   ///< several for each place on the largest GPU

/// Tensors as the caller gave them: in every column one address per tensor.
template <int Columns>
struct TensorLists {
  std::int64_t count;
  void* const* columns[Columns];  ///< NULL: this call does without the column
  const std::int64_t* sizes;      ///< elements

  void* at(int column, std::int64_t tensor) const {
    return columns[column] == nullptr ? nullptr : columns[column][tensor];
  }
};

/// One column: bytes of an element; whether the call writes to it, whether it may be left out, and
/// whether it has one element only, whatever the size of the tensor.
struct ColumnRule {
  std::int64_t width;
  bool written;
  bool optional;
  bool single;
};

/// The tensors of one launch. Tensor t has the blocks first_block[t] to first_block[t + 1] - 1.
template <int Columns, int Tensors>
struct TensorPack {
  static constexpr int capacity = Tensors;
  void* columns[Columns][Tensors];
  std::int64_t sizes[Tensors];
  std::int64_t first_tensor;  ///< how many tensors earlier launches have
  std::int64_t first_chunk;   ///< how many blocks earlier launches have
  std::int32_t first_block[Tensors + 1];
  std::int32_t count;
};

/// How many tensors a pack may have beside `other_bytes` of arguments.
constexpr int pack_capacity(int bytes, int columns, int other_bytes) {
  return (bytes - other_bytes - 40) / (8 * columns + 12);
}

/// The work of a block: n elements of a tensor of the pack, from `begin` on.
struct Piece {
  int tensor;
  std::int64_t begin;
  unsigned n;
};

template <class Pack>
DS_OPS_INLINE Piece piece_of_block(const Pack& pack, std::int64_t block, std::int64_t chunk_size) {
  // The last tensor that begins at this block or before it: not one without blocks.
  int low = 0;
  int high = pack.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (pack.first_block[middle] <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const std::int64_t begin = (block - pack.first_block[low]) * chunk_size;
  const std::int64_t left = pack.sizes[low] - begin;
  return Piece{low, begin, static_cast<unsigned>(left < chunk_size ? left : chunk_size)};
}

inline std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// How many chunks a tensor has; `least` for one without elements.
inline std::int64_t chunk_count(std::int64_t size, std::int64_t chunk_size, std::int64_t least) {
  const std::int64_t chunks = divide_up(size, chunk_size);
  return chunks < least ? least : chunks;
}

/// Elements of a chunk, from the sizes alone: large enough that a block is worth its start, small
/// enough that there are blocks for the whole GPU, and no tensor has more than `most_chunks` (0: as
/// many as it needs).
inline std::int64_t default_chunk_size(std::int64_t count, const std::int64_t* sizes,
                                       std::int64_t most_chunks) {
  constexpr std::int64_t enough = largest_chunk * wanted_blocks;
  std::int64_t total = 0;
  std::int64_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (sizes[i] < 0) {
      continue;  // check_tensors says so
    }
    total = sizes[i] > enough - total ? enough : total + sizes[i];
    largest = sizes[i] > largest ? sizes[i] : largest;
  }
  std::int64_t chunk = round_up(total / wanted_blocks, chunk_unit);
  chunk = chunk < smallest_chunk ? smallest_chunk : chunk;
  if (most_chunks > 0 && largest / most_chunks >= chunk) {
    chunk = round_up(largest / most_chunks + 1, chunk_unit);
  }
  return chunk;
}

/// The chunk size of a call: the one that was asked for, rounded up; for 0 the default.
template <int Columns>
int choose_chunk_size(const TensorLists<Columns>& lists, std::int32_t asked,
                      std::int64_t most_chunks, std::int64_t& chunk_size) {
  if (asked < 0) {
    return DS_OPS_BAD_CHUNK_SIZE;
  }
  const std::int64_t count = lists.sizes == nullptr ? 0 : lists.count;
  chunk_size =
      asked > 0 ? round_up(asked, chunk_unit) : default_chunk_size(count, lists.sizes, most_chunks);
  return DS_OPS_OK;
}

/// Checks counts, sizes and addresses; nothing of the device is asked. Overlap is looked for within
/// a tensor's row.
template <int Columns>
int check_tensors(const TensorLists<Columns>& lists, const ColumnRule (&rules)[Columns],
                  std::int64_t chunk_size) {
  if (lists.count < 0) {
    return DS_OPS_BAD_SIZE;
  }
  for (int column = 0; lists.count > 0 && column < Columns; ++column) {
    if (lists.columns[column] == nullptr && !rules[column].optional) {
      return DS_OPS_NULL_POINTER;
    }
  }
  if (lists.count > 0 && lists.sizes == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  for (std::int64_t i = 0; i < lists.count; ++i) {
    const std::int64_t size = lists.sizes[i];
    // The blocks of a launch are counted in 31 bits.
    if (size < 0 || chunk_count(size, chunk_size, 1) >= INT32_MAX) {
      return DS_OPS_BAD_SIZE;
    }
    Span spans[Columns];
    for (int column = 0; column < Columns; ++column) {
      const bool present = lists.columns[column] != nullptr;
      const std::int64_t elements = rules[column].single && size > 0 ? 1 : size;
      spans[column] = Span{lists.at(column, i), present ? elements : 0, rules[column].width,
                           rules[column].written};
    }
    const int code = check_spans(spans);
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  return DS_OPS_OK;
}

/// Calls launch(pack, blocks) for all tensors in order, and returns the first code that is not
/// DS_OPS_OK. The lists have passed check_tensors. A tensor without elements has `least_chunks`.
template <class Pack, int Columns, class Launch>
int for_each_pack(const TensorLists<Columns>& lists, std::int64_t chunk_size,
                  std::int64_t least_chunks, Launch launch) {
  Pack pack = {};
  std::int64_t blocks = 0;
  for (std::int64_t i = 0; i < lists.count; ++i) {
    const std::int64_t chunks = chunk_count(lists.sizes[i], chunk_size, least_chunks);
    if (pack.count == Pack::capacity || blocks + chunks > INT32_MAX) {
      const int code = blocks == 0 ? DS_OPS_OK : launch(pack, blocks);
      if (code != DS_OPS_OK) {
        return code;
      }
      pack.first_tensor = i;
      pack.first_chunk += blocks;
      pack.count = 0;
      blocks = 0;
    }
    for (int column = 0; column < Columns; ++column) {
      pack.columns[column][pack.count] = lists.at(column, i);
    }
    pack.sizes[pack.count] = lists.sizes[i];
    pack.first_block[pack.count] = static_cast<std::int32_t>(blocks);
    blocks += chunks;
    ++pack.count;
    pack.first_block[pack.count] = static_cast<std::int32_t>(blocks);
  }
  return blocks == 0 ? DS_OPS_OK : launch(pack, blocks);
}

/// A GPU faults where `count` vectors are not aligned. A CPU may not: so that tests there find it,
/// this faults.
template <class Vectors>
DS_OPS_INLINE void expect_aligned(unsigned count, const Vectors* vectors) {
#ifndef __CUDA_ARCH__
  if (count > 0 && !is_aligned(vectors, alignof(Vectors))) {
    __builtin_trap();
  }
#else
  static_cast<void>(count);
  static_cast<void>(vectors);
#endif
}

}  // namespace ds_ops
