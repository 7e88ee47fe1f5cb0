// SPDX-License-Identifier: Apache-2.0
//
// The operations on the CPU. All indices are looked at before anything is written.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "checks.h"
#include "ds_ops/threads.h"
#include "index.h"
#include "move_body.h"

namespace {

using std::int32_t;
using std::int64_t;
using std::uint32_t;

constexpr int64_t least_per_thread = 65536;
constexpr int bitmap_words = 8192;

/// How many pieces of `size` elements are worth a thread.
int64_t least_pieces(int64_t size) {
  return std::max<int64_t>(1, least_per_thread / std::max<int64_t>(1, size));
}

/// What is wrong with a row of indices: bits of DS_OPS_RANDOM_LTD_...
uint32_t examine(const int32_t* row, int64_t kept, int64_t tokens, bool distinct) {
  const auto [least, most] = std::minmax_element(row, row + kept);
  if (!ds_ops::is_token(*least, tokens) || !ds_ops::is_token(*most, tokens)) {
    return DS_OPS_RANDOM_LTD_BAD_INDEX;
  }
  uint32_t problems = 0;
  for (int64_t begin = *least; distinct && begin <= *most; begin += int64_t{bitmap_words} * 32) {
    uint32_t bitmap[bitmap_words] = {};
    for (int64_t i = 0; i < kept; ++i) {
      problems |= ds_ops::mark(bitmap, bitmap_words, begin, row[i], tokens);
    }
  }
  return problems;
}

int examine_all(const int32_t* indices, int64_t rows, int64_t kept, int64_t tokens, bool distinct) {
  std::atomic<uint32_t> problems{0};
  ds_ops::share(rows, least_pieces(kept), 0, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      problems |= examine(indices + i * kept, kept, tokens, distinct);
    }
  });
  return (problems & DS_OPS_RANDOM_LTD_BAD_INDEX) != 0    ? DS_OPS_BAD_INDEX
         : (problems & DS_OPS_RANDOM_LTD_SAME_INDEX) != 0 ? DS_OPS_SAME_INDEX
                                                          : DS_OPS_OK;
}

/// Copies every kept token; `size` is that of a token in bytes.
template <bool scatter>
int move(const ds_ops_random_ltd_tokens* call) {
  int code = ds_ops::check(call, scatter);
  if (code != DS_OPS_OK) {
    return code;
  }
  const ds_ops_random_ltd_tokens& t = *call;
  if (t.batch == 0 || t.kept == 0 || t.channels == 0) {
    return DS_OPS_OK;
  }
  if (t.indices != nullptr) {
    code = examine_all(t.indices, t.batch, t.kept, t.tokens, scatter);
  }
  if (code != DS_OPS_OK) {
    return code;
  }
  const int64_t size = t.channels * t.element_size;
  ds_ops::share(t.batch * t.kept, least_pieces(size), 0, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t n = i / t.kept;
      const int64_t r = i % t.kept;
      const int64_t s = t.indices == nullptr ? r : t.indices[i];
      char* all = static_cast<char*>(t.all) +
                  (n * t.all_batch_stride + s * t.all_token_stride) * t.element_size;
      char* part = static_cast<char*>(t.part) +
                   (n * t.part_batch_stride + r * t.part_token_stride) * t.element_size;
      std::memcpy(scatter ? all : part, scatter ? part : all, static_cast<std::size_t>(size));
    }
  });
  return DS_OPS_OK;
}

/// Row `row` of all layers and sequences.
template <class Unit>
void gather_row(const ds_ops_random_ltd_masks& m, int64_t row) {
  const int64_t sequence = row / m.kept;
  const int32_t* indices = m.indices + sequence * m.kept;
  const Unit* from = static_cast<const Unit*>(m.mask) +
                     (sequence % m.batch * m.tokens + indices[row % m.kept]) * m.tokens;
  Unit* to = static_cast<Unit*>(m.out) + row * m.kept;
  for (int64_t i = 0; i < m.kept; ++i) {
    to[i] = from[indices[i]];
  }
}

}  // namespace

int ds_ops_random_ltd_sort_cpu(int32_t* indices, int64_t rows, int64_t kept, int64_t tokens) {
  int code = ds_ops::check_sort(indices, rows, kept, tokens);
  if (code != DS_OPS_OK || rows == 0 || kept == 0) {
    return code;
  }
  code = examine_all(indices, rows, kept, tokens, true);
  if (code == DS_OPS_OK) {
    ds_ops::share(rows, least_pieces(kept), 0, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        std::sort(indices + i * kept, indices + (i + 1) * kept);
      }
    });
  }
  return code;
}

int ds_ops_random_ltd_gather_cpu(const ds_ops_random_ltd_tokens* tokens) {
  return move<false>(tokens);
}

int ds_ops_random_ltd_scatter_cpu(const ds_ops_random_ltd_tokens* tokens) {
  return move<true>(tokens);
}

int ds_ops_random_ltd_mask_cpu(const ds_ops_random_ltd_masks* mask) {
  int code = ds_ops::check(mask);
  if (code != DS_OPS_OK || mask->layers == 0 || mask->batch == 0 || mask->kept == 0) {
    return code;
  }
  const int64_t sequences = mask->layers * mask->batch;
  code = examine_all(mask->indices, sequences, mask->kept, mask->tokens, false);
  if (code != DS_OPS_OK) {
    return code;
  }
  return ds_ops::with_unit(static_cast<int>(mask->element_size), [&](auto unit) {
    ds_ops::share(sequences * mask->kept, least_pieces(mask->kept), 0,
                  [&](int64_t first, int64_t last) {
                    for (int64_t row = first; row < last; ++row) {
                      gather_row<decltype(unit)>(*mask, row);
                    }
                  });
    return static_cast<int>(DS_OPS_OK);
  });
}
