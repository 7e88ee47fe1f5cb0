// SPDX-License-Identifier: Apache-2.0
//
// Flatten and unflatten: checked memcpy in both directions.
#include "utils.h"

#include <cstdint>
#include <cstring>

#include "ds_ops/check.h"
#include "ds_ops/error_text.h"

namespace {

/// Checks pointers and adds up the sizes. `total` is meaningful if DS_OPS_OK is returned.
int add_up(const void* flat, std::uint64_t flat_bytes, const void* const* parts,
           const std::uint64_t* part_bytes, std::int64_t count, std::uint64_t& total) {
  total = 0;
  if (count < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if ((count > 0 && (parts == nullptr || part_bytes == nullptr)) ||
      (flat_bytes > 0 && flat == nullptr)) {
    return DS_OPS_NULL_POINTER;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    if (part_bytes[i] > 0 && parts[i] == nullptr) {
      return DS_OPS_NULL_POINTER;
    }
    if (part_bytes[i] > flat_bytes - total) {
      return DS_OPS_SIZE_MISMATCH;
    }
    if (part_bytes[i] > 0 && ds_ops::share_memory(flat, flat_bytes, parts[i], part_bytes[i])) {
      return DS_OPS_OVERLAP;
    }
    total += part_bytes[i];
  }
  return DS_OPS_OK;
}

}  // namespace

int ds_ops_utils_flatten(void* flat, std::uint64_t flat_bytes, const void* const* parts,
                         const std::uint64_t* part_bytes, std::int64_t count,
                         std::uint64_t padding_bytes) {
  std::uint64_t total = 0;
  int code = add_up(flat, flat_bytes, parts, part_bytes, count, total);
  if (code == DS_OPS_OK && flat_bytes - total != padding_bytes) {
    code = DS_OPS_SIZE_MISMATCH;
  }
  if (code != DS_OPS_OK) {
    return code;
  }
  char* to = static_cast<char*>(flat);
  for (std::int64_t i = 0; i < count; ++i) {
    if (part_bytes[i] > 0) {
      std::memcpy(to, parts[i], part_bytes[i]);
      to += part_bytes[i];
    }
  }
  if (padding_bytes > 0) {
    std::memset(to, 0, padding_bytes);
  }
  return DS_OPS_OK;
}

int ds_ops_utils_unflatten(const void* flat, std::uint64_t flat_bytes, void* const* parts,
                           const std::uint64_t* part_bytes, std::int64_t count) {
  std::uint64_t total = 0;
  int code = add_up(flat, flat_bytes, parts, part_bytes, count, total);
  if (code != DS_OPS_OK) {
    return code;
  }
  const char* from = static_cast<const char*>(flat);
  for (std::int64_t i = 0; i < count; ++i) {
    if (part_bytes[i] > 0) {
      std::memcpy(parts[i], from, part_bytes[i]);
      from += part_bytes[i];
    }
  }
  return DS_OPS_OK;
}

const char* ds_ops_error_text(int code) {
  return ds_ops::error_text(code);
}
