// SPDX-License-Identifier: Apache-2.0
//
// What GPU and CPU share: the arguments of a call, their checks, and the sum.
#pragma once

#include <type_traits>

#include "ds_ops/check.h"
#include "ds_ops/scalar.h"

namespace ds_ops {

/// A call as it came over the border.
struct BiasAddCall {
  void* out;
  const void* activation;
  const void* bias;
  const void* other;
  const void* other_bias;
  std::int64_t rows;
  std::int64_t channels;
  std::int32_t dtype;
};

/// The same, checked and with its type.
template <class Element>
struct BiasAdd {
  Element* out;
  const Element* activation;
  const Element* bias;
  const Element* other;
  const Element* other_bias;
  std::int64_t size;  ///< rows times channels
  std::int64_t channels;
};

enum class Addition { bias, bias_other, bias_other_bias };

/// `o` and `ob` are looked at where the addition has them.
template <Addition addition>
DS_OPS_INLINE float sum(float x, float b, float o, float ob) {
  const float left = x + b;
  return addition == Addition::bias ? left : left + (addition == Addition::bias_other ? o : o + ob);
}

inline int check(const BiasAddCall& call) {
  const std::int64_t width = element_size(call.dtype);
  if (width == 0 || call.dtype == DS_OPS_FLOAT64) {
    return DS_OPS_BAD_DTYPE;
  }
  if (call.rows < 0 || call.channels < 0 ||
      (call.channels > 0 && call.rows > INT64_MAX / width / call.channels)) {
    return DS_OPS_BAD_SIZE;
  }
  const std::int64_t size = call.rows * call.channels;
  if (size == 0) {
    return DS_OPS_OK;
  }
  if (call.other == nullptr && call.other_bias != nullptr) {
    return DS_OPS_BIAS_WITHOUT_OTHER;
  }
  const bool in_place = call.out == call.activation;
  const bool onto_other = call.other == nullptr || call.out == call.other;
  return check_spans(
      {Span{call.out, size, width, true}, Span{call.activation, in_place ? 0 : size, width, false},
       Span{call.bias, call.channels, width, false},
       Span{call.other, onto_other ? 0 : size, width, false},
       Span{call.other_bias, call.other_bias == nullptr ? 0 : call.channels, width, false}});
}

/// run(arguments, addition), where `addition` is a std::integral_constant.
template <class Element, class Run>
int with_addition(const BiasAddCall& call, Run run) {
  const BiasAdd<Element> arguments{static_cast<Element*>(call.out),
                                   static_cast<const Element*>(call.activation),
                                   static_cast<const Element*>(call.bias),
                                   static_cast<const Element*>(call.other),
                                   static_cast<const Element*>(call.other_bias),
                                   call.rows * call.channels,
                                   call.channels};
  if (call.other == nullptr) {
    return run(arguments, std::integral_constant<Addition, Addition::bias>());
  }
  if (call.other_bias == nullptr) {
    return run(arguments, std::integral_constant<Addition, Addition::bias_other>());
  }
  return run(arguments, std::integral_constant<Addition, Addition::bias_other_bias>());
}

/// with_addition for the type of a call that is checked.
template <class Run>
int with_types(const BiasAddCall& call, Run run) {
  switch (call.dtype) {
    case DS_OPS_FLOAT16:
      return with_addition<Float16>(call, run);
    case DS_OPS_BFLOAT16:
      return with_addition<BFloat16>(call, run);
    default:
      return with_addition<float>(call, run);
  }
}

}  // namespace ds_ops
