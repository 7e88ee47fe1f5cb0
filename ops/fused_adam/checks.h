// SPDX-License-Identifier: Apache-2.0
//
// The host side of a step as far as it needs no CUDA: checks, and the arguments of the kernel.
#pragma once

#include "body.h"

namespace ds_ops {

using AdamLists = TensorLists<adam_columns>;

/// DS_OPS_OK, or what is wrong with the call. `chunk` is the chunk size to use.
inline int check_adam_step(const AdamLists& lists, std::int32_t dtype,
                           const ds_ops_adam_options* options, const ds_ops_device_values& values,
                           std::int32_t chunk_size, std::int64_t& chunk) {
  int code = check_adam_options(options);
  code = code == DS_OPS_OK ? check_device_values(values) : code;
  code = code == DS_OPS_OK ? choose_chunk_size(lists, chunk_size, 0, chunk) : code;
  const std::int64_t width = element_size(dtype);
  if (code != DS_OPS_OK || width == 0) {
    return code != DS_OPS_OK ? code : DS_OPS_BAD_DTYPE;
  }
  const ColumnRule rules[] = {{width, false, false, false},
                              {width, true, false, false},
                              {width, true, false, false},
                              {width, true, false, false},
                              {step_width(values), false, true, true}};
  return check_tensors(lists, rules, chunk);
}

template <class Real>
AdamArguments<Real> make_arguments(const ds_ops_adam_options& options,
                                   const ds_ops_device_values& values, std::int64_t chunk) {
  return AdamArguments<Real>{make_adam_factors<Real>(options), options, values, chunk};
}

}  // namespace ds_ops
