// SPDX-License-Identifier: Apache-2.0
//
// How a transfer is cut into I/Os: arithmetic alone.
#pragma once

#include <cstdint>

namespace ds_ops {

/// Bytes between memory and a file.
struct Transfer {
  char* memory;
  std::int64_t offset;  ///< in the file
  std::int64_t bytes;
  bool write;
};

/// What O_DIRECT asks of a file: powers of two.
struct Alignment {
  std::int64_t file;
  std::int64_t memory;
};

/// Which way an I/O takes: O_DIRECT from the caller's memory, O_DIRECT through a buffer of ours
/// that is aligned, or the page cache.
enum class Route { direct, bounce, buffered };

/// One I/O. By `bounce` a read covers all blocks of the file that hold its bytes.
struct Piece {
  char* memory;
  std::int64_t offset;
  std::int64_t bytes;
  Route route;
};

inline std::int64_t round_down(std::int64_t value, std::int64_t unit) {
  return value / unit * unit;
}

inline std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return round_down(value, unit) + (value % unit != 0 ? unit : 0);
}

/// The first I/O of what is left of a transfer (at least one byte). `block` and `bounce`, the
/// longest I/O and the size of a buffer, are multiples of alignment.file.
///
/// A write that covers only a part of a block goes through the page cache: there the kernel joins
/// it with whatever else is being written to that block, by this process or another. Read, change
/// and write of the block here would lose that, and would make a file longer than it should be.
Piece first_piece(const Transfer& rest, const Alignment& alignment, std::int64_t block,
                  std::int64_t bounce);

}  // namespace ds_ops
