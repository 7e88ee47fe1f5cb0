// SPDX-License-Identifier: Apache-2.0
//
// The calls of the C ABI for CPU and GPU alike: what is checked, and the sources, sinks and rules
// that they stand for.
#pragma once

#include <cmath>

#include "ds_ops/check.h"
#include "parts.h"
#include "quantizer.h"

namespace ds_ops {

using Options = ds_ops_quantizer_options;

inline int check_options(const Options* options) {
  if (options == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (options->groups < 1) {
    return DS_OPS_BAD_GROUPS;
  }
  // An eighth: room for what is added to an index, and for bytes.
  if (options->group_size < 0 || options->groups > INT64_MAX / 16 ||
      options->group_size > INT64_MAX / 16 / options->groups) {
    return DS_OPS_BAD_SIZE;
  }
  if (options->bits != 4 && options->bits != 8) {
    return DS_OPS_BAD_BITS;
  }
  if (options->type != DS_OPS_SYMMETRIC && options->type != DS_OPS_ASYMMETRIC) {
    return DS_OPS_BAD_QUANTIZATION;
  }
  return options->rounding == DS_OPS_ROUND_NEAREST || options->rounding == DS_OPS_ROUND_STOCHASTIC
             ? DS_OPS_OK
             : DS_OPS_BAD_ROUNDING;
}

/// 0 for a type that the op does not know.
inline std::int64_t value_size(std::int32_t dtype) {
  return dtype == DS_OPS_FLOAT64 ? 0 : element_size(dtype);
}

inline bool is_symmetric(const Options& options) {
  return options.type == DS_OPS_SYMMETRIC;
}
inline std::int64_t element_count(const Options& options) {
  return options.groups * options.group_size;
}
inline Span values_of(const Options& options, const void* values, std::int32_t dtype,
                      bool written) {
  return {values, element_count(options), value_size(dtype), written};
}
inline Span codes_of(const Options& options, const void* codes, bool written) {
  return {codes, options.groups * row_bytes(options.group_size, options.bits), 1, written};
}
inline Span params_of(const Options& options, const float* params, bool written) {
  return {params, options.groups * (is_symmetric(options) ? 1 : 2), 4, written};
}
/// Memory of a GPU that is not looked at if it is NULL.
inline Span workspace_of(const Options& options, const void* workspace) {
  return {workspace, workspace == nullptr ? 0 : 2 * options.groups, 4, true};
}

inline Rules make_rules(const Options& options, double eps, bool from_least) {
  const float levels = options.bits == 4 ? 16.0f : 256.0f;
  Rules rules;
  rules.from_least = from_least;
  rules.low = from_least ? 0.0f : -levels / 2;
  rules.high = from_least ? levels - 1 : levels / 2 - 1;
  rules.step_factor = 1 / levels;
  rules.eps_step = static_cast<float>(eps) / levels;
  rules.bits = options.bits;
  rules.symmetric = is_symmetric(options);
  rules.stochastic = options.rounding == DS_OPS_ROUND_STOCHASTIC;
  rules.seed = options.seed;
  rules.offset = options.offset;
  return rules;
}

/// Calls work(Element()) and returns what it returns; `dtype` has been checked.
template <class Work>
int with_element(std::int32_t dtype, Work work) {
  switch (dtype) {
    case DS_OPS_FLOAT16:
      return work(Float16());
    case DS_OPS_BFLOAT16:
      return work(BFloat16());
    default:
      return work(float());
  }
}

inline Feedback make_feedback(const ds_ops_quantizer_feedback& feedback, std::int32_t dtype,
                              const Options& options) {
  const float beta = static_cast<float>(feedback.beta);
  return {feedback.error, dtype, beta, 1 - beta, options.group_size};
}

inline Span error_of(const Options& options, const ds_ops_quantizer_feedback& feedback,
                     std::int32_t dtype) {
  const bool there = feedback.error != nullptr;
  return {feedback.error, there ? element_count(options) : 0, value_size(dtype), true};
}

inline int check_feedback(const ds_ops_quantizer_feedback& feedback) {
  return feedback.error == nullptr || (feedback.beta >= 0 && feedback.beta <= 1)
             ? DS_OPS_OK
             : DS_OPS_BAD_ERROR_BETA;
}

struct FakeCall {
  void* values;
  std::int32_t dtype;
  const Options* options;
  double eps;

  int check(const void* workspace, const void* (&pointers)[1]) const {
    const int code = check_options(options);
    if (code != DS_OPS_OK) {
      return code;
    }
    if (value_size(dtype) == 0) {
      return DS_OPS_BAD_DTYPE;
    }
    if (!(eps >= 0 && eps <= 1e30)) {
      return DS_OPS_BAD_EPS;
    }
    pointers[0] = element_count(*options) > 0 ? values : nullptr;
    return check_spans(
        {values_of(*options, values, dtype, true), workspace_of(*options, workspace)});
  }
  Rules rules() const { return make_rules(*options, eps, !is_symmetric(*options)); }
  template <class Element>
  ValueSource<Element> source() const {
    return {static_cast<const Element*>(values), options->group_size, {}};
  }
  template <class Element>
  ValueSink<Element> sink() const {
    return {static_cast<Element*>(values), options->group_size};
  }
};

struct QuantizeCall {
  const void* values;
  std::int32_t dtype;
  const Options* options;
  ds_ops_quantizer_swizzle swizzle;
  ds_ops_quantizer_feedback feedback;
  std::int8_t* codes;
  float* params;

  int check_swizzle() const {
    std::int64_t left = options->groups;
    for (const std::int64_t factor : {swizzle.pipeline, swizzle.nodes, swizzle.devices}) {
      if (factor < 1 || left % factor != 0) {
        return DS_OPS_BAD_SWIZZLE;
      }
      left /= factor;
    }
    return DS_OPS_OK;
  }
  int check(const void* workspace, const void* (&pointers)[4]) const {
    int code = check_options(options);
    if (code == DS_OPS_OK) {
      code = value_size(dtype) == 0 ? DS_OPS_BAD_DTYPE : check_swizzle();
    }
    if (code == DS_OPS_OK) {
      code = check_feedback(feedback);
    }
    if (code != DS_OPS_OK) {
      return code;
    }
    const bool some = element_count(*options) > 0;
    pointers[0] = some ? values : nullptr;
    pointers[1] = some ? codes : nullptr;
    pointers[2] = params;
    pointers[3] = some ? feedback.error : nullptr;
    return check_spans({values_of(*options, values, dtype, false), codes_of(*options, codes, true),
                        params_of(*options, params, true), error_of(*options, feedback, dtype),
                        workspace_of(*options, workspace)});
  }
  Rules rules() const { return make_rules(*options, 0, false); }
  template <class Element>
  ValueSource<Element> source() const {
    return {static_cast<const Element*>(values), options->group_size,
            make_feedback(feedback, dtype, *options)};
  }
  CodeSink sink() const {
    const std::int64_t slices = swizzle.pipeline * swizzle.nodes * swizzle.devices;
    return {codes,
            params,
            options->group_size,
            row_bytes(options->group_size, options->bits),
            {swizzle.pipeline, swizzle.nodes, swizzle.devices, options->groups / slices},
            make_feedback(feedback, dtype, *options)};
  }
};

struct ReduceCall {
  ds_ops_quantizer_shards shards;
  const Options* options;
  ds_ops_quantizer_feedback feedback;
  std::int32_t error_dtype;
  std::int8_t* codes;
  float* params;

  /// The shards' groups, as if they were one array's.
  Options all() const {
    Options result = *options;
    result.groups = shards.groups * shards.count;
    result.group_size = shards.group_size;
    return result;
  }
  int check_shards() const {
    if (shards.count < 1 || shards.groups < 1 || shards.group_size < 0) {
      return DS_OPS_BAD_SHARDS;
    }
    if (shards.groups > INT64_MAX / 16 / shards.count) {
      return DS_OPS_BAD_SIZE;
    }
    const Options every = all();
    const int code = check_options(&every);
    if (code != DS_OPS_OK) {
      return code;
    }
    return shards.groups * shards.group_size == element_count(*options) ? DS_OPS_OK
                                                                        : DS_OPS_BAD_SHARDS;
  }
  int check(const void* workspace, const void* (&pointers)[5]) const {
    int code = check_options(options);
    if (code == DS_OPS_OK) {
      code = check_shards();
    }
    if (code == DS_OPS_OK) {
      code = check_feedback(feedback);
    }
    if (code == DS_OPS_OK && feedback.error != nullptr && value_size(error_dtype) == 0) {
      code = DS_OPS_BAD_DTYPE;
    }
    if (code != DS_OPS_OK) {
      return code;
    }
    const bool some = element_count(*options) > 0;
    pointers[0] = some ? shards.codes : nullptr;
    pointers[1] = shards.params;
    pointers[2] = some ? codes : nullptr;
    pointers[3] = params;
    pointers[4] = some ? feedback.error : nullptr;
    const Options every = all();
    const std::int32_t dtype = feedback.error == nullptr ? DS_OPS_FLOAT32 : error_dtype;
    return check_spans({codes_of(every, shards.codes, false),
                        params_of(every, shards.params, false), codes_of(*options, codes, true),
                        params_of(*options, params, true), error_of(*options, feedback, dtype),
                        workspace_of(*options, workspace)});
  }
  Rules rules() const { return make_rules(*options, 0, false); }
  ShardSource source() const {
    return {shards.codes,
            shards.params,
            shards.count,
            shards.groups,
            shards.group_size,
            options->group_size,
            row_bytes(shards.group_size, options->bits),
            options->bits,
            is_symmetric(*options),
            make_feedback(feedback, error_dtype, *options)};
  }
  CodeSink sink() const {
    return {codes,
            params,
            options->group_size,
            row_bytes(options->group_size, options->bits),
            {1, 1, 1, options->groups},
            make_feedback(feedback, error_dtype, *options)};
  }
};

}  // namespace ds_ops
