// SPDX-License-Identifier: Apache-2.0
//
// The loop of a step, and the C border around it.
#include "cpu_adagrad.h"

#include <cmath>

#include "ds_ops/cpu_update.h"
#include "ds_ops/error_text.h"

namespace {

using ds_ops::UpdateArray;
using std::int32_t;
using std::int64_t;

struct Factors {
  float lr;
  float eps;
  float decay;
};

/// Each operation rounds once, in this order.
template <bool has_decay>
DS_OPS_INLINE void step_all(float* __restrict p, const float* __restrict g, float* __restrict v,
                            int64_t n, const Factors& factors) {
  const Factors f = factors;
  for (int64_t i = 0; i < n; ++i) {
    // Without decay the term is left out: 0 * p would turn an infinite parameter into a NaN.
    const float gradient = has_decay ? g[i] + f.decay * p[i] : g[i];
    v[i] = v[i] + gradient * gradient;
    p[i] = p[i] - f.lr * (gradient / (sqrtf(v[i]) + f.eps));
  }
}

struct Step {
  using Tensor = ds_ops_cpu_adagrad_tensor;
  using Factors = ::Factors;

  static std::array<UpdateArray, 3> arrays(const Tensor& t) {
    // The gradient is only read; the field is not const because it serves the others too.
    return {UpdateArray{t.params, t.param_dtype, true},
            UpdateArray{const_cast<void*>(t.grads), t.grad_dtype, false},
            UpdateArray{t.exp_avg_sq, t.state_dtype, true}};
  }

  DS_OPS_INLINE static void run(float* const* arrays, int64_t n, const Factors& factors) {
    if (factors.decay == 0) {
      step_all<false>(arrays[0], arrays[1], arrays[2], n, factors);
    } else {
      step_all<true>(arrays[0], arrays[1], arrays[2], n, factors);
    }
  }
};

bool is_good(double value) {
  return value >= 0 && value < HUGE_VAL;
}

int check(const ds_ops_adagrad_options* options) {
  if (options == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (!is_good(options->lr)) {
    return DS_OPS_BAD_LR;
  }
  if (!is_good(options->eps)) {
    return DS_OPS_BAD_EPS;
  }
  return is_good(options->weight_decay) ? DS_OPS_OK : DS_OPS_BAD_WEIGHT_DECAY;
}

}  // namespace

int ds_ops_cpu_adagrad_best_level() {
  return static_cast<int>(ds_ops::best_cpu_level());
}

int ds_ops_cpu_adagrad_step(const ds_ops_cpu_adagrad_tensor* tensors, int64_t count,
                            const ds_ops_adagrad_options* options, int32_t cpu_level,
                            int32_t threads) {
  const ds_ops::UpdateOptions how{cpu_level, threads};
  int code = check(options);
  code = code == DS_OPS_OK ? ds_ops::check_update<Step>(tensors, count, how) : code;
  if (code == DS_OPS_OK) {
    const Factors factors{static_cast<float>(options->lr), static_cast<float>(options->eps),
                          static_cast<float>(options->weight_decay)};
    ds_ops::run_update<Step>(tensors, count, factors, how);
  }
  return code;
}

const char* ds_ops_error_text(int code) {
  return ds_ops::error_text(code);
}
