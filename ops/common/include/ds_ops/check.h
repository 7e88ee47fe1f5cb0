// SPDX-License-Identifier: Apache-2.0
//
// Checks at the C border.
#pragma once

#include <cstdint>

#include "ds_ops/abi.h"
#include "ds_ops/inline.h"

namespace ds_ops {

/// Whether the address is a multiple of `bytes`: a vector of so many may be loaded from there.
DS_OPS_INLINE bool is_aligned(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

/// Whether two stretches of memory, neither of them empty, share a byte. No sum that overflows: a
/// size may be any number.
inline bool share_memory(const void* a, std::uint64_t a_bytes, const void* b,
                         std::uint64_t b_bytes) {
  const std::uintptr_t a_begin = reinterpret_cast<std::uintptr_t>(a);
  const std::uintptr_t b_begin = reinterpret_cast<std::uintptr_t>(b);
  return a_begin < b_begin ? b_begin - a_begin < a_bytes : a_begin - b_begin < b_bytes;
}

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
  if (!is_aligned(span.pointer, static_cast<std::uintptr_t>(span.width))) {
    return DS_OPS_MISALIGNED;
  }
  return reinterpret_cast<std::uintptr_t>(span.pointer) >
                 UINTPTR_MAX - static_cast<std::uintptr_t>(span.count * span.width)
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
      const Span& a = spans[i];
      const Span& b = spans[j];
      if ((a.written || b.written) && a.count > 0 && b.count > 0 &&
          share_memory(a.pointer, static_cast<std::uint64_t>(a.count * a.width), b.pointer,
                       static_cast<std::uint64_t>(b.count * b.width))) {
        return DS_OPS_OVERLAP;
      }
    }
  }
  return DS_OPS_OK;
}

}  // namespace ds_ops
