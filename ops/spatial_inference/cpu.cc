// SPDX-License-Identifier: Apache-2.0
//
// The additions on the CPU.
#include <algorithm>

#include "bias_add.h"
#include "ds_ops/threads.h"
#include "spatial_inference.h"

namespace {

using ds_ops::Addition;
using ds_ops::BiasAdd;
using std::int64_t;

constexpr int64_t least_per_thread = 65536;

/// `n` elements of one row, from element `at` of channel `channel` on.
template <Addition addition, class Element>
void add_row(const BiasAdd<Element>& a, int64_t at, int64_t channel, int64_t n) {
  Element* out = a.out + at;
  const Element* x = a.activation + at;
  const Element* b = a.bias + channel;
  const Element* o = addition == Addition::bias ? x : a.other + at;
  const Element* ob = addition == Addition::bias_other_bias ? a.other_bias + channel : b;
  for (int64_t i = 0; i < n; ++i) {
    ds_ops::narrow(ds_ops::sum<addition>(ds_ops::widen(x[i]), ds_ops::widen(b[i]),
                                         ds_ops::widen(o[i]), ds_ops::widen(ob[i])),
                   out[i]);
  }
}

template <Addition addition, class Element>
void add_range(const BiasAdd<Element>& a, int64_t first, int64_t last) {
  int64_t channel = first % a.channels;
  while (first < last) {
    const int64_t n = std::min(a.channels - channel, last - first);
    add_row<addition>(a, first, channel, n);
    first += n;
    channel = 0;
  }
}

}  // namespace

int ds_ops_spatial_inference_bias_add_cpu(void* out, const void* activation, const void* bias,
                                          const void* other, const void* other_bias, int64_t rows,
                                          int64_t channels, int32_t dtype) {
  const ds_ops::BiasAddCall call{out, activation, bias, other, other_bias, rows, channels, dtype};
  const int code = ds_ops::check(call);
  if (code != DS_OPS_OK || rows == 0 || channels == 0) {
    return code;
  }
  return ds_ops::with_types(call, [](const auto& arguments, auto addition) {
    ds_ops::share(arguments.size, least_per_thread, 0, [&](int64_t first, int64_t last) {
      add_range<decltype(addition)::value>(arguments, first, last);
    });
    return static_cast<int>(DS_OPS_OK);
  });
}
