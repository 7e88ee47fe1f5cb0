// SPDX-License-Identifier: Apache-2.0
#include "piece.h"

#include <algorithm>

#include "ds_ops/check.h"

namespace ds_ops {

Piece first_piece(const Transfer& rest, const Alignment& alignment, std::int64_t block,
                  std::int64_t bounce) {
  const std::int64_t unit = alignment.file;
  const std::int64_t lead = rest.offset % unit;
  const std::int64_t head = lead == 0 ? 0 : std::min(unit - lead, rest.bytes);
  const std::int64_t whole = round_down(rest.bytes - head, unit);
  Piece piece = {rest.memory, rest.offset, rest.bytes, Route::direct};
  if (whole == 0) {
    // No whole block in it.
    piece.bytes = rest.write ? std::min(rest.bytes, block) : std::min(rest.bytes, bounce - lead);
    piece.route = rest.write ? Route::buffered : Route::bounce;
  } else if (!is_aligned(rest.memory + head, static_cast<std::uintptr_t>(alignment.memory))) {
    if (rest.write && head > 0) {
      piece.bytes = head;
      piece.route = Route::buffered;
    } else {
      piece.bytes = std::min(rest.write ? whole : rest.bytes, bounce - lead);
      piece.route = Route::bounce;
    }
  } else if (head > 0) {
    piece.bytes = head;
    piece.route = rest.write ? Route::buffered : Route::bounce;
  } else {
    piece.bytes = std::min(whole, block);
  }
  return piece;
}

}  // namespace ds_ops
