// SPDX-License-Identifier: Apache-2.0
//
// One LAMB step, for CPU and GPU. With g the gradient, p a parameter tensor, m and v the moments, t
// the step, all of You et al. 2020 (arXiv:1904.00962, algorithm 2):
//
//   m = beta1 * m + (1 - beta1) * g         v = beta2 * v + (1 - beta2) * g^2
//   mhat = m / (1 - beta1^t)                vhat = v / (1 - beta2^t)
//   u = mhat / (sqrt(vhat) + eps) + weight_decay * p
//   p = p - lr * ratio * u,                 ratio = |p| / |u|, within [min_coeff, max_coeff]
//
// with the Euclidean norms of whole tensors; ratio is 1 where either norm is 0. eps may stand under
// the root: sqrt(vhat + eps).
#pragma once

#include "ds_ops/adam_math.h"
#include "fused_lamb.h"

namespace ds_ops {

template <class Real>
struct LambFactors {
  Real beta1, beta1_rest;  ///< beta1, 1 - beta1
  Real beta2, beta2_rest;
  Real first_scale;   ///< of m: 1 / (1 - beta1^t), or 1
  Real second_scale;  ///< of v: 1 / (1 - beta2^t), or 1
  Real eps_inside;    ///< eps or 0
  Real eps_outside;   ///< 0 or eps
  Real weight_decay;
  Real step_size;
  Real grad_scale;  ///< what a gradient is multiplied by
  bool decays;
};

/// DS_OPS_OK, or the code of the first value that is out of range (NaN is).
inline int check_lamb_options(const ds_ops_lamb_options* options) {
  if (options == nullptr) {
    return DS_OPS_NULL_POINTER;
  }
  const ds_ops_lamb_options& o = *options;
  const ds_ops_adam_options adam{o.lr,           o.beta1, o.beta2,        o.eps,
                                 o.weight_decay, o.step,  DS_OPS_ADAM_L2, 1};
  const int code = check_adam_options(&adam);
  if (code != DS_OPS_OK) {
    return code;
  }
  if (!(o.min_coeff >= 0 && o.max_coeff >= o.min_coeff)) {
    return DS_OPS_BAD_COEFFICIENTS;
  }
  if (!(o.grad_scale > 0 && o.grad_scale < HUGE_VAL)) {
    return DS_OPS_BAD_GRAD_SCALE;
  }
  return o.correction >= DS_OPS_LAMB_UNCORRECTED && o.correction <= DS_OPS_LAMB_CORRECTED_STEP
             ? DS_OPS_OK
             : DS_OPS_BAD_CORRECTION;
}

/// `options` have passed check_lamb_options.
template <class Real>
DS_OPS_INLINE LambFactors<Real> make_lamb_factors(const ds_ops_lamb_options& options) {
  const bool corrected = options.correction != DS_OPS_LAMB_UNCORRECTED;
  const bool in_moments = options.correction == DS_OPS_LAMB_CORRECTED;
  const double first = corrected ? bias_correction(options.beta1, options.step) : 1.0;
  const double second = corrected ? bias_correction(options.beta2, options.step) : 1.0;
  LambFactors<Real> factors;
  factors.beta1 = static_cast<Real>(options.beta1);
  factors.beta1_rest = static_cast<Real>(1.0 - options.beta1);
  factors.beta2 = static_cast<Real>(options.beta2);
  factors.beta2_rest = static_cast<Real>(1.0 - options.beta2);
  factors.first_scale = static_cast<Real>(in_moments ? 1.0 / first : 1.0);
  factors.second_scale = static_cast<Real>(in_moments ? 1.0 / second : 1.0);
  factors.eps_inside = static_cast<Real>(options.eps_inside != 0 ? options.eps : 0.0);
  factors.eps_outside = static_cast<Real>(options.eps_inside != 0 ? 0.0 : options.eps);
  factors.weight_decay = static_cast<Real>(options.weight_decay);
  factors.step_size =
      static_cast<Real>(in_moments ? options.lr : options.lr * sqrt(second) / first);
  factors.grad_scale = static_cast<Real>(1.0 / options.grad_scale);
  factors.decays = options.weight_decay != 0;
  return factors;
}

template <class Real>
DS_OPS_INLINE void lamb_moments(Real g, Real& m, Real& v, const LambFactors<Real>& f) {
  m = f.beta1 * m + f.beta1_rest * g;
  v = f.beta2 * v + f.beta2_rest * (g * g);
}

/// u. Without decay the term is left out: 0 * p would turn an infinite parameter into a NaN.
template <class Real>
DS_OPS_INLINE Real lamb_update(Real p, Real m, Real v, const LambFactors<Real>& f) {
  const Real root = square_root(v * f.second_scale + f.eps_inside);
  const Real adam = m * f.first_scale / (root + f.eps_outside);
  return f.decays ? adam + f.weight_decay * p : adam;
}

/// The trust ratio from the sums of squares. A NaN stays one.
template <class Real>
DS_OPS_INLINE Real trust_ratio(Real of_params, Real of_updates, Real least, Real most) {
  if (of_params == 0 || of_updates == 0) {
    return Real(1);
  }
  const Real ratio = square_root(of_params) / square_root(of_updates);
  return ratio < least ? least : ratio > most ? most : ratio;
}

}  // namespace ds_ops
