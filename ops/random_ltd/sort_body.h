// SPDX-License-Identifier: Apache-2.0
//
// The body of the sort (ds_ops/block.h): a block, a row. Indices that are distinct are a bitmap,
// which is in the memory of the block, a tile of all tokens after the other. First nothing is
// written: every index is marked, which finds those that are wrong. Where one tile is all, the
// bitmap is then read out in order. Else the row is sorted where it lies, by a merge network.
#pragma once

#include "ds_ops/block.h"
#include "index.h"

namespace ds_ops {

/// Memory that the threads of a block share.
template <int Words, int Threads>
struct SortMemory {
  std::uint32_t bitmap[Words];
  std::int32_t ends[Threads];
  std::uint32_t problems;
};

/// Words of the bitmap of the tile that begins at token `begin`.
template <int Words>
DS_OPS_INLINE int words_of_tile(std::int64_t begin, std::int64_t tokens) {
  const std::int64_t left = tokens - begin;
  return left < std::int64_t{Words} * 32 ? static_cast<int>((left + 31) / 32) : Words;
}

/// What is wrong with the indices of a row; the bitmap is that of the last tile.
template <int Words, class Block>
DS_OPS_INLINE std::uint32_t mark_row(Block& block, const std::int32_t* row, std::int64_t kept,
                                     std::int64_t tokens,
                                     SortMemory<Words, Block::threads>& memory) {
  block.each([&](int thread) {
    if (thread == 0) {
      memory.problems = 0;
    }
  });
  for (std::int64_t begin = 0; begin < tokens; begin += std::int64_t{Words} * 32) {
    const int words = words_of_tile<Words>(begin, tokens);
    block.each([&](int thread) {
      for (int i = thread; i < words; i += Block::threads) {
        memory.bitmap[i] = 0;
      }
    });
    block.each([&](int thread) {
      std::uint32_t problems = 0;
      for (std::int64_t i = thread; i < kept; i += Block::threads) {
        problems |= mark(memory.bitmap, words, begin, row[i], tokens);
      }
      if (problems != 0) {
        fetch_or(memory.problems, problems);
      }
    });
  }
  const std::uint32_t problems = memory.problems;
  // Thread 0 sets it to 0 for the next row: not before all have read it.
  block.each([](int) {});
  return problems;
}

/// Replaces the row by the indices that are marked.
template <int Words, class Block>
DS_OPS_INLINE void read_bitmap(Block& block, std::int32_t* row, std::int64_t tokens,
                               SortMemory<Words, Block::threads>& memory) {
  const int words = words_of_tile<Words>(0, tokens);
  const int share = (words + Block::threads - 1) / Block::threads;
  const auto first = [=](int thread) { return thread * share < words ? thread * share : words; };
  typename Block::template Each<std::int32_t> counts;
  typename Block::template Each<std::int32_t> before;
  block.each([&](int thread) {
    counts[thread] = 0;
    for (int i = first(thread); i < first(thread + 1); ++i) {
      counts[thread] += count_bits(memory.bitmap[i]);
    }
    memory.ends[thread] = counts[thread];
  });
  for (int step = 1; step < Block::threads; step *= 2) {
    block.each(
        [&](int thread) { before[thread] = thread < step ? 0 : memory.ends[thread - step]; });
    block.each([&](int thread) { memory.ends[thread] += before[thread]; });
  }
  block.each([&](int thread) {
    std::int32_t* to = row + (memory.ends[thread] - counts[thread]);
    for (int i = first(thread); i < first(thread + 1); ++i) {
      for (std::uint32_t word = memory.bitmap[i]; word != 0; word &= word - 1) {
        *to++ = i * 32 + lowest_bit(word);
      }
    }
  });
}

/// Puts elements `low` < `high` of a row in order, if there is a `high` one.
DS_OPS_INLINE void order(std::int32_t* row, std::int64_t kept, std::int64_t low,
                         std::int64_t high) {
  if (high < kept && row[low] > row[high]) {
    const std::int32_t larger = row[low];
    row[low] = row[high];
    row[high] = larger;
  }
}

/// Sorts a row where it lies. Batcher's bitonic merges with the second half turned round, so that
/// the smaller one always goes to the front: then elements behind the end, were they there and
/// infinite, would stay where they are, and any length will do.
template <class Block>
DS_OPS_INLINE void merge_sort(Block& block, std::int32_t* row, std::int64_t kept) {
  // Runs of 2^k elements are sorted. A thread has pairs by number.
  for (int k = 0; (kept - 1) >> k > 0; ++k) {
    block.each([&](int thread) {
      for (std::int64_t pair = thread; pair < kept; pair += Block::threads) {
        const std::int64_t begin = (pair >> k) << (k + 1);
        const std::int64_t at = pair & ((std::int64_t{1} << k) - 1);
        order(row, kept, begin + at, begin + (std::int64_t{2} << k) - 1 - at);
      }
    });
    for (int d = k - 1; d >= 0; --d) {
      block.each([&](int thread) {
        for (std::int64_t pair = thread; pair < kept; pair += Block::threads) {
          const std::int64_t low = ((pair >> d) << (d + 1)) + (pair & ((std::int64_t{1} << d) - 1));
          order(row, kept, low, low + (std::int64_t{1} << d));
        }
      });
    }
  }
}

template <int Words, class Block>
DS_OPS_INLINE void sort_body(Block& block, std::int32_t* indices, std::int64_t rows,
                             std::int64_t kept, std::int64_t tokens, std::int32_t* status,
                             SortMemory<Words, Block::threads>& memory) {
  for (std::int64_t i = block.index(); i < rows; i += block.count()) {
    std::int32_t* row = indices + i * kept;
    const std::uint32_t problems = mark_row(block, row, kept, tokens, memory);
    if (problems != 0) {
      block.each([&](int thread) {
        if (thread == 0) {
          set_status(status, problems);
        }
      });
    } else if (tokens <= std::int64_t{Words} * 32) {
      read_bitmap(block, row, tokens, memory);
    } else {
      merge_sort(block, row, kept);
    }
  }
}

}  // namespace ds_ops
