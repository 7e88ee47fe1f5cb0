// SPDX-License-Identifier: Apache-2.0
//
// The checks of arguments that GPU and CPU share; indices are not looked at.
#pragma once

#include "ds_ops/check.h"
#include "random_ltd.h"

namespace ds_ops {

/// One of the arrays of ds_ops_random_ltd_tokens.
struct TokenLayout {
  std::int64_t batch;
  std::int64_t tokens;
  std::int64_t channels;
  std::int64_t batch_stride;
  std::int64_t token_stride;
};

inline TokenLayout layout_of_all(const ds_ops_random_ltd_tokens& t) {
  return {t.batch, t.tokens, t.channels, t.all_batch_stride, t.all_token_stride};
}
inline TokenLayout layout_of_part(const ds_ops_random_ltd_tokens& t) {
  return {t.batch, t.kept, t.channels, t.part_batch_stride, t.part_token_stride};
}

/// The product, or -1 where it does not fit or one of them is negative.
inline std::int64_t product(std::int64_t a, std::int64_t b) {
  return a < 0 || b < 0 || (b > 0 && a > INT64_MAX / b) ? -1 : a * b;
}

/// Elements from the first to the last one of the array; -1: more than fit in an int64.
inline std::int64_t extent(const TokenLayout& a) {
  if (a.batch == 0 || a.tokens == 0 || a.channels == 0) {
    return 0;
  }
  const std::int64_t batches = product(a.batch - 1, a.batch_stride);
  const std::int64_t tokens = product(a.tokens - 1, a.token_stride);
  return batches < 0 || tokens < 0 || batches > INT64_MAX - tokens ||
                 batches + tokens > INT64_MAX - a.channels
             ? -1
             : batches + tokens + a.channels;
}

/// Whether no two tokens share memory, for an array whose extent is known to fit. An axis of
/// length 1 has no stride.
inline bool is_distinct(const TokenLayout& a) {
  if (a.batch < 2 || a.tokens < 2) {
    const bool one = a.batch < 2 && a.tokens < 2;
    return one || (a.batch < 2 ? a.token_stride : a.batch_stride) >= a.channels;
  }
  const bool batch_first = a.batch_stride >= a.token_stride;
  const std::int64_t inner = batch_first ? a.token_stride : a.batch_stride;
  const std::int64_t outer = batch_first ? a.batch_stride : a.token_stride;
  const std::int64_t inner_count = batch_first ? a.tokens : a.batch;
  return inner >= a.channels && outer >= (inner_count - 1) * inner + a.channels;
}

inline bool is_element_size(std::int64_t size) {
  return size == 1 || size == 2 || size == 4 || size == 8 || size == 16;
}

/// `status` of a call on a GPU, or null.
inline Span span_of(const std::int32_t* status) {
  return {status, status == nullptr ? 0 : 1, 4, true};
}

/// `all_is_written` for scatter, else the part is.
inline int check(const ds_ops_random_ltd_tokens* call, bool all_is_written,
                 const std::int32_t* status = nullptr) {
  if (call == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  const ds_ops_random_ltd_tokens& t = *call;
  if (!is_element_size(t.element_size)) {
    return DS_OPS_BAD_ELEMENT_SIZE;
  }
  if (t.batch < 0 || t.tokens < 0 || t.kept < 0 || t.channels < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if (t.all_batch_stride < 0 || t.all_token_stride < 0 || t.part_batch_stride < 0 ||
      t.part_token_stride < 0) {
    return DS_OPS_BAD_STRIDE;
  }
  const TokenLayout all = layout_of_all(t);
  const TokenLayout part = layout_of_part(t);
  const std::int64_t indices = product(t.batch, t.kept);
  if (extent(all) < 0 || extent(part) < 0 || product(indices, t.channels) < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if (extent(part) == 0) {
    return DS_OPS_OK;
  }
  if (t.indices == nullptr && t.kept > t.tokens) {
    return DS_OPS_TOO_MANY_TOKENS;
  }
  if (!is_distinct(all_is_written ? all : part)) {
    return DS_OPS_BAD_STRIDE;
  }
  return check_spans({Span{t.all, extent(all), t.element_size, all_is_written},
                      Span{t.part, extent(part), t.element_size, !all_is_written},
                      Span{t.indices, t.indices == nullptr ? 0 : indices, 4, false},
                      span_of(status)});
}

inline int check(const ds_ops_random_ltd_masks* call, const std::int32_t* status = nullptr) {
  if (call == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  const ds_ops_random_ltd_masks& m = *call;
  if (!is_element_size(m.element_size)) {
    return DS_OPS_BAD_ELEMENT_SIZE;
  }
  const std::int64_t rows = product(product(m.layers, m.batch), m.kept);
  const std::int64_t size = product(rows, m.kept);
  const std::int64_t mask = product(product(m.batch, m.tokens), m.tokens);
  if (m.layers < 0 || m.batch < 0 || m.tokens < 0 || m.kept < 0 || size < 0 || mask < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if (size == 0) {
    return DS_OPS_OK;
  }
  return check_spans({Span{m.out, size, m.element_size, true},
                      Span{m.mask, mask, m.element_size, false}, Span{m.indices, rows, 4, false},
                      span_of(status)});
}

inline int check_sort(const std::int32_t* indices, std::int64_t rows, std::int64_t kept,
                      std::int64_t tokens, const std::int32_t* status = nullptr) {
  if (rows < 0 || kept < 0 || tokens < 0 || product(rows, kept) < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if (rows == 0 || kept == 0) {
    return DS_OPS_OK;
  }
  return kept > tokens
             ? static_cast<int>(DS_OPS_TOO_MANY_TOKENS)
             : check_spans({Span{indices, product(rows, kept), 4, true}, span_of(status)});
}

}  // namespace ds_ops
