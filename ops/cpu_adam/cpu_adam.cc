// SPDX-License-Identifier: Apache-2.0
//
// The loops of a step and of its undoing, and the C border around them.
#include "cpu_adam.h"

#include <cmath>

#include "ds_ops/adam_math.h"
#include "ds_ops/cpu_update.h"
#include "ds_ops/error_text.h"

namespace {

using ds_ops::AdamFactors;
using ds_ops::Decay;
using ds_ops::UpdateArray;
using std::int32_t;
using std::int64_t;

struct Arrays {
  using Tensor = ds_ops_cpu_adam_tensor;

  static std::array<UpdateArray, 4> arrays(const Tensor& t) {
    // The gradient is only read; the field is not const because it serves the others too.
    return {UpdateArray{t.params, t.param_dtype, true},
            UpdateArray{const_cast<void*>(t.grads), t.grad_dtype, false},
            UpdateArray{t.exp_avg, t.state_dtype, true},
            UpdateArray{t.exp_avg_sq, t.state_dtype, true}};
  }
};

/// Runs Element<decay>::update over all elements, for the kind of decay that `mode` says.
template <template <Decay> class Element, class Factors>
DS_OPS_INLINE void for_each(float* const* arrays, int64_t n, const Factors& factors, Decay mode) {
  switch (mode) {
    case Decay::none:
      return Element<Decay::none>::all(arrays[0], arrays[1], arrays[2], arrays[3], n, factors);
    case Decay::l2:
      return Element<Decay::l2>::all(arrays[0], arrays[1], arrays[2], arrays[3], n, factors);
    case Decay::decoupled:
      return Element<Decay::decoupled>::all(arrays[0], arrays[1], arrays[2], arrays[3], n, factors);
  }
}

template <Decay decay>
struct StepLoop {
  DS_OPS_INLINE static void all(float* __restrict p, const float* __restrict g, float* __restrict m,
                                float* __restrict v, int64_t n, const AdamFactors<float>& factors) {
    const AdamFactors<float> f = factors;
    for (int64_t i = 0; i < n; ++i) {
      ds_ops::adam_element<decay>(p[i], g[i], m[i], v[i], f);
    }
  }
};

struct Step : Arrays {
  using Factors = AdamFactors<float>;
  DS_OPS_INLINE static void run(float* const* arrays, int64_t n, const Factors& factors) {
    for_each<StepLoop>(arrays, n, factors, factors.mode);
  }
};

struct UndoFactors {
  AdamFactors<float> step;
  float kept;  ///< the part of the parameter that AdamW's decay left
};

/// adam_element solved for what was there before.
template <Decay decay>
struct UndoLoop {
  DS_OPS_INLINE static void all(float* __restrict p, const float* __restrict g, float* __restrict m,
                                float* __restrict v, int64_t n, const UndoFactors& factors) {
    const AdamFactors<float> f = factors.step;
    const float kept = factors.kept;
    for (int64_t i = 0; i < n; ++i) {
      float old = p[i] + f.step_size * (m[i] / (ds_ops::square_root(v[i]) * f.root_scale + f.eps));
      if (decay == Decay::decoupled) {
        old = old / kept;
      }
      const float gradient = decay == Decay::l2 ? g[i] + f.decay * old : g[i];
      const float square = (v[i] - f.beta2_rest * (gradient * gradient)) / f.beta2;
      m[i] = (m[i] - f.beta1_rest * gradient) / f.beta1;
      // What rounding leaves below 0 would be a NaN in the next step.
      v[i] = square < 0 ? 0 : square;
      p[i] = old;
    }
  }
};

struct Undo : Arrays {
  using Factors = UndoFactors;
  DS_OPS_INLINE static void run(float* const* arrays, int64_t n, const Factors& factors) {
    for_each<UndoLoop>(arrays, n, factors, factors.step.mode);
  }
};

}  // namespace

int ds_ops_cpu_adam_best_level() {
  return static_cast<int>(ds_ops::best_cpu_level());
}

int ds_ops_cpu_adam_step(const ds_ops_cpu_adam_tensor* tensors, int64_t count,
                         const ds_ops_adam_options* options, int32_t cpu_level, int32_t threads) {
  const ds_ops::UpdateOptions how{cpu_level, threads};
  int code = ds_ops::check_adam_options(options);
  code = code == DS_OPS_OK ? ds_ops::check_update<Step>(tensors, count, how) : code;
  if (code == DS_OPS_OK) {
    ds_ops::run_update<Step>(tensors, count, ds_ops::make_adam_factors<float>(*options), how);
  }
  return code;
}

int ds_ops_cpu_adam_rollback(const ds_ops_cpu_adam_tensor* tensors, int64_t count,
                             const ds_ops_adam_options* options, int32_t cpu_level,
                             int32_t threads) {
  const ds_ops::UpdateOptions how{cpu_level, threads};
  int code = ds_ops::check_adam_options(options);
  code = code == DS_OPS_OK ? ds_ops::check_update<Undo>(tensors, count, how) : code;
  if (code != DS_OPS_OK) {
    return code;
  }
  UndoFactors factors{ds_ops::make_adam_factors<float>(*options), 1};
  if (factors.step.mode == Decay::decoupled) {
    factors.kept = 1 - factors.step.decay;
  }
  if (factors.step.beta1 == 0 || factors.step.beta2 == 0 || factors.kept == 0 ||
      !std::isfinite(factors.kept)) {
    return DS_OPS_CANNOT_UNDO;
  }
  ds_ops::run_update<Undo>(tensors, count, factors, how);
  return DS_OPS_OK;
}

const char* ds_ops_error_text(int code) {
  return ds_ops::error_text(code);
}
