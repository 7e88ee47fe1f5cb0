// SPDX-License-Identifier: Apache-2.0
//
// One Adam step of one element, for CPU and GPU. With g the gradient, p the parameter, m and v the
// moments, t the step, all of Kingma and Ba 2015 (arXiv:1412.6980, algorithm 1):
//
//   L2 mode:  g = g + weight_decay * p
//   m = beta1 * m + (1 - beta1) * g         v = beta2 * v + (1 - beta2) * g^2
//   mhat = m / (1 - beta1^t)                vhat = v / (1 - beta2^t)
//   p = p - lr * mhat / (sqrt(vhat) + eps)
//
// and in AdamW mode (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2, lr as schedule):
//
//   p = p - lr * (mhat / (sqrt(vhat) + eps) + weight_decay * p)
//
// Whatever does not depend on the element is worked out once, in double, from the step number: on
// the host, or by one thread of each block where step or lr lie on the GPU.
#pragma once

#include <math.h>

#include "ds_ops/abi.h"
#include "ds_ops/adam_options.h"
#include "ds_ops/inline.h"

namespace ds_ops {

enum class Decay { none, l2, decoupled };

template <class Real>
struct AdamFactors {
  Real beta1, beta1_rest;  ///< beta1, 1 - beta1
  Real beta2, beta2_rest;
  Real step_size;   ///< lr / (1 - beta1^t)
  Real root_scale;  ///< 1 / sqrt(1 - beta2^t)
  Real eps;
  Real decay;  ///< L2: weight_decay; AdamW: lr * weight_decay
  Decay mode;
};

/// DS_OPS_OK, or the code of the first value that is out of range (NaN is).
inline int check_adam_options(const ds_ops_adam_options* options) {
  if (options == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  if (options->step < 1) {
    return DS_OPS_BAD_STEP;
  }
  if (!(options->lr >= 0 && options->lr < HUGE_VAL)) {
    return DS_OPS_BAD_LR;
  }
  if (!(options->beta1 >= 0 && options->beta1 < 1 && options->beta2 >= 0 && options->beta2 < 1)) {
    return DS_OPS_BAD_BETAS;
  }
  if (!(options->eps >= 0 && options->eps < HUGE_VAL)) {
    return DS_OPS_BAD_EPS;
  }
  if (!(options->weight_decay >= 0 && options->weight_decay < HUGE_VAL)) {
    return DS_OPS_BAD_WEIGHT_DECAY;
  }
  if (options->mode != DS_OPS_ADAM_L2 && options->mode != DS_OPS_ADAM_DECOUPLED) {
    return DS_OPS_BAD_MODE;
  }
  return DS_OPS_OK;
}

/// 1 - beta^step without cancellation. (Not pow: its newest version would raise the glibc that the
/// library needs.)
DS_OPS_INLINE double bias_correction(double beta, int64_t step) {
  return -expm1(static_cast<double>(step) * log1p(beta - 1.0));
}

/// `options` have passed check_adam_options.
template <class Real>
DS_OPS_INLINE AdamFactors<Real> make_adam_factors(const ds_ops_adam_options& options) {
  bool corrected = options.bias_correction != 0;
  double first = corrected ? bias_correction(options.beta1, options.step) : 1.0;
  double second = corrected ? bias_correction(options.beta2, options.step) : 1.0;
  bool decoupled = options.mode == DS_OPS_ADAM_DECOUPLED;
  AdamFactors<Real> factors;
  factors.beta1 = static_cast<Real>(options.beta1);
  factors.beta1_rest = static_cast<Real>(1.0 - options.beta1);
  factors.beta2 = static_cast<Real>(options.beta2);
  factors.beta2_rest = static_cast<Real>(1.0 - options.beta2);
  factors.step_size = static_cast<Real>(options.lr / first);
  factors.root_scale = static_cast<Real>(1.0 / sqrt(second));
  factors.eps = static_cast<Real>(options.eps);
  factors.decay = static_cast<Real>((decoupled ? options.lr : 1.0) * options.weight_decay);
  // Without decay the term is left out: 0 * p would turn an infinite parameter into a NaN.
  factors.mode = options.weight_decay == 0 ? Decay::none : decoupled ? Decay::decoupled : Decay::l2;
  return factors;
}

DS_OPS_INLINE float square_root(float value) {
  return ::sqrtf(value);
}
DS_OPS_INLINE double square_root(double value) {
  return ::sqrt(value);
}

/// Updates p, m and v. Each operation rounds once, in this order; the ops that use it are compiled
/// without contraction, so that every CPU level gives the same bits.
template <Decay decay, class Real>
DS_OPS_INLINE void adam_element(Real& p, Real g, Real& m, Real& v, const AdamFactors<Real>& f) {
  if (decay == Decay::l2) {
    g = g + f.decay * p;
  }
  m = f.beta1 * m + f.beta1_rest * g;
  v = f.beta2 * v + f.beta2_rest * (g * g);
  Real change = f.step_size * (m / (square_root(v) * f.root_scale + f.eps));
  if (decay == Decay::decoupled) {
    change = change + f.decay * p;
  }
  p = p - change;
}

}  // namespace ds_ops
