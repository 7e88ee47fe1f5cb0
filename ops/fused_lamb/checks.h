// SPDX-License-Identifier: Apache-2.0
//
// The host side of a step as far as it needs no CUDA: checks, and the arguments of the kernels.
#pragma once

#include "body.h"

namespace ds_ops {

using LambLists = TensorLists<lamb_columns>;

/// A tensor has no more chunks than this by default: every block of it adds up the sums of all.
constexpr std::int64_t lamb_most_chunks = 2048;

inline LambLists lamb_lists(const ds_ops_lamb_arrays& arrays, const ds_ops_device_values& values) {
  return LambLists{arrays.count,
                   {arrays.grads, arrays.params, arrays.exp_avg, arrays.exp_avg_sq,
                    arrays.params_copy, values.steps},
                   arrays.sizes};
}

/// The element types of a call: DS_OPS_OK, _BAD_DTYPE, _BAD_DTYPE_PAIR.
inline int check_lamb_dtypes(const ds_ops_lamb_arrays& arrays) {
  const auto is_half = [](std::int32_t dtype) {
    return dtype == DS_OPS_FLOAT16 || dtype == DS_OPS_BFLOAT16;
  };
  if (element_size(arrays.dtype) == 0 || element_size(arrays.grad_dtype) == 0 ||
      (arrays.params_copy != nullptr && element_size(arrays.copy_dtype) == 0)) {
    return DS_OPS_BAD_DTYPE;
  }
  const bool wide = arrays.dtype == DS_OPS_FLOAT32;
  const bool grads = arrays.grad_dtype == arrays.dtype || (wide && is_half(arrays.grad_dtype));
  const bool copy = arrays.params_copy == nullptr || (wide && is_half(arrays.copy_dtype));
  return grads && copy ? DS_OPS_OK : DS_OPS_BAD_DTYPE_PAIR;
}

/// Bytes of a sum.
inline std::int64_t lamb_sum_width(std::int32_t dtype) {
  return dtype == DS_OPS_FLOAT64 ? 8 : 4;
}

/// Bytes for two sums of every chunk; the sizes have been checked. -1: more than there can be.
inline std::int64_t lamb_workspace(std::int64_t count, const std::int64_t* sizes,
                                   std::int32_t dtype, std::int64_t chunk) {
  const std::int64_t width = 2 * lamb_sum_width(dtype);
  std::int64_t chunks = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    chunks += chunk_count(sizes[i], chunk, 1);
    if (chunks > INT64_MAX / width - INT32_MAX) {
      return -1;
    }
  }
  return chunks * width;
}

/// The workspace and the trust ratios: present, aligned, large enough, apart from all tensors.
inline int check_lamb_outputs(const ds_ops_lamb_arrays& arrays, const LambLists& lists,
                              const ColumnRule (&rules)[lamb_columns], std::int64_t chunk) {
  const std::int64_t bytes = lamb_workspace(arrays.count, arrays.sizes, arrays.dtype, chunk);
  if (bytes < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if (arrays.workspace_bytes < bytes) {
    return DS_OPS_SMALL_WORKSPACE;
  }
  const std::int64_t width = lamb_sum_width(arrays.dtype);
  const Span workspace{arrays.workspace, bytes / width, width, true};
  const Span ratios{arrays.trust_ratios, arrays.trust_ratios == nullptr ? 0 : arrays.count, 4,
                    true};
  int code = check_spans({workspace, ratios});
  for (std::int64_t i = 0; code == DS_OPS_OK && i < arrays.count; ++i) {
    for (int column = 0; code == DS_OPS_OK && column < lamb_columns; ++column) {
      if (lists.columns[column] != nullptr && lists.sizes[i] > 0) {
        const std::int64_t elements = rules[column].single ? 1 : lists.sizes[i];
        const Span array{lists.at(column, i), elements, rules[column].width, false};
        code = check_spans({workspace, ratios, array});
      }
    }
  }
  return code;
}

/// DS_OPS_OK, or what is wrong with the call. `chunk` is the chunk size to use.
inline int check_lamb_step(const ds_ops_lamb_arrays* arrays, const ds_ops_lamb_options* options,
                           const ds_ops_device_values& values, std::int32_t chunk_size,
                           std::int64_t& chunk) {
  if (arrays == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  const LambLists lists = lamb_lists(*arrays, values);
  int code = check_lamb_options(options);
  code = code == DS_OPS_OK ? check_device_values(values) : code;
  code = code == DS_OPS_OK ? check_lamb_dtypes(*arrays) : code;
  code = code == DS_OPS_OK ? choose_chunk_size(lists, chunk_size, lamb_most_chunks, chunk) : code;
  if (code != DS_OPS_OK) {
    return code;
  }
  const std::int64_t width = element_size(arrays->dtype);
  const ColumnRule rules[] = {{element_size(arrays->grad_dtype), false, false, false},
                              {width, true, false, false},
                              {width, true, false, false},
                              {width, true, false, false},
                              {2, true, true, false},
                              {step_width(values), false, true, true}};
  code = check_tensors(lists, rules, chunk);
  return code != DS_OPS_OK || arrays->count == 0 ? code
                                                 : check_lamb_outputs(*arrays, lists, rules, chunk);
}

/// What ds_ops_fused_lamb_workspace says.
inline int lamb_workspace_size(std::int64_t count, const std::int64_t* sizes, std::int32_t dtype,
                               std::int32_t chunk_size, std::int64_t* bytes) {
  if (bytes == nullptr || (count > 0 && sizes == nullptr)) {
    return DS_OPS_NULL_POINTER;
  }
  *bytes = 0;
  if (element_size(dtype) == 0) {
    return DS_OPS_BAD_DTYPE;
  }
  // The sizes alone are checked: no column is needed.
  const TensorLists<1> lists{count, {nullptr}, sizes};
  const ColumnRule rules[] = {{element_size(dtype), false, true, false}};
  std::int64_t chunk = 0;
  int code = choose_chunk_size(lists, chunk_size, lamb_most_chunks, chunk);
  code = code == DS_OPS_OK ? check_tensors(lists, rules, chunk) : code;
  if (code != DS_OPS_OK) {
    return code;
  }
  const std::int64_t needed = lamb_workspace(count, sizes, dtype, chunk);
  *bytes = needed < 0 ? 0 : needed;
  return needed < 0 ? DS_OPS_BAD_SIZE : DS_OPS_OK;
}

template <class Real>
LambArguments<Real> make_arguments(const ds_ops_lamb_arrays& arrays,
                                   const ds_ops_lamb_options& options,
                                   const ds_ops_device_values& values, std::int64_t chunk) {
  return LambArguments<Real>{make_lamb_factors<Real>(options),
                             options,
                             values,
                             chunk,
                             static_cast<Real*>(arrays.workspace),
                             arrays.trust_ratios};
}

}  // namespace ds_ops
