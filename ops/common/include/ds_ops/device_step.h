// SPDX-License-Identifier: Apache-2.0
//
// ds_ops/device_values.h for C++: checks on the host, reads in the kernel.
#pragma once

#include <cstdint>

#include "ds_ops/check.h"
#include "ds_ops/device_values.h"
#include "ds_ops/inline.h"

namespace ds_ops {

/// Addresses and the step's type; the steps themselves are a column of the lists.
inline int check_device_values(const ds_ops_device_values& values) {
  if (values.step_type != DS_OPS_STEP_INT64 && values.step_type != DS_OPS_STEP_FLOAT32) {
    return DS_OPS_BAD_DTYPE;
  }
  const void* pointers[] = {values.lr, values.inv_scale, values.noop_flag};
  for (const void* pointer : pointers) {
    const int code = check_span(Span{pointer, pointer == nullptr ? 0 : 1, 4, false});
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  return DS_OPS_OK;
}

inline std::int64_t step_width(const ds_ops_device_values& values) {
  return values.step_type == DS_OPS_STEP_INT64 ? 8 : 4;
}

/// Puts what lies on the device in the place of the options' own. `step` may be null.
template <class Options>
DS_OPS_INLINE void read_device_values(const ds_ops_device_values& values, const void* step,
                                      Options& options) {
  if (step != nullptr) {
    options.step = values.step_type == DS_OPS_STEP_INT64
                       ? *static_cast<const std::int64_t*>(step)
                       : static_cast<std::int64_t>(*static_cast<const float*>(step));
  }
  if (values.lr != nullptr) {
    options.lr = static_cast<double>(*values.lr);
  }
}

DS_OPS_INLINE bool is_skipped(const ds_ops_device_values& values) {
  return values.noop_flag != nullptr && *values.noop_flag != 0;
}

}  // namespace ds_ops
