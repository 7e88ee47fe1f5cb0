// SPDX-License-Identifier: Apache-2.0
//
// Checks at the C border.
#pragma once

#include <cstdint>

#include "ds_ops/abi.h"

namespace ds_ops {

/// An array of a call: where it lies and whether the call writes to it.
struct Span {
  const void* pointer;
  std::int64_t count;  ///< elements
  std::int64_t width;  ///< bytes of an element
  bool written;
};

/// DS_OPS_OK; DS_OPS_BAD_SIZE, _NULL_POINTER, _MISALIGNED for one that has elements; the end of it
/// lies within the address space.
inline int check_span(const Span& span) {
  if (span.count < 0 || span.width <= 0 || span.count > INT64_MAX / span.width) {
    return DS_OPS_BAD_SIZE;
  }
  if (span.count == 0) {
    return DS_OPS_OK;
  }
  if (span.pointer == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(span.pointer);
  if (begin % static_cast<std::uintptr_t>(span.width) != 0) {
    return DS_OPS_MISALIGNED;
  }
  return begin > UINTPTR_MAX - static_cast<std::uintptr_t>(span.count * span.width)
             ? DS_OPS_BAD_SIZE
             : DS_OPS_OK;
}

/// Each span by itself, then DS_OPS_OVERLAP if one that is written shares memory with another.
template <int N>
int check_spans(const Span (&spans)[N]) {
  for (const Span& span : spans) {
    const int code = check_span(span);
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  for (int i = 0; i < N; ++i) {
    for (int j = i + 1; j < N; ++j) {
      const std::uintptr_t a = reinterpret_cast<std::uintptr_t>(spans[i].pointer);
      const std::uintptr_t b = reinterpret_cast<std::uintptr_t>(spans[j].pointer);
      const std::uintptr_t a_bytes = static_cast<std::uintptr_t>(spans[i].count * spans[i].width);
      const std::uintptr_t b_bytes = static_cast<std::uintptr_t>(spans[j].count * spans[j].width);
      if ((spans[i].written || spans[j].written) && a_bytes > 0 && b_bytes > 0 && a < b + b_bytes &&
          b < a + a_bytes) {
        return DS_OPS_OVERLAP;
      }
    }
  }
  return DS_OPS_OK;
}

}  // namespace ds_ops
