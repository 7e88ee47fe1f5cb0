// SPDX-License-Identifier: Apache-2.0
//
// Tensors for one step, the step on the CPU as the library queues it, and the paper in double.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "checks.h"
#include "cpu_block.h"
#include "elements.h"

namespace ds_ops {

inline constexpr int test_threads = 32;

/// `copies`: the new parameter is written as Copy too.
template <class Element, class Grad, class Real, bool copies = false, class Copy = Float16>
struct LambCase {
  using Pack = TensorPack<lamb_columns, 3>;  // so small that lists take several launches

  std::vector<std::int64_t> sizes;
  std::vector<Buffer<Grad>> grads;
  std::vector<Buffer<Element>> params, exp_avg, exp_avg_sq;
  std::vector<Buffer<Copy>> copy;
  std::vector<float> trust_ratios;
  std::vector<Real> workspace;
  std::vector<void*> columns[5];

  /// Arrays begin some elements after an aligned address, copies as gradients. The same seed gives
  /// the same values.
  LambCase(const std::vector<std::size_t>& counts, std::size_t skip_grads, std::size_t skip_rest,
           unsigned seed) {
    std::mt19937 random(seed);
    for (const std::size_t count : counts) {
      sizes.push_back(static_cast<std::int64_t>(count));
      grads.emplace_back(count, skip_grads).fill(random, -1, 1);
      params.emplace_back(count, skip_rest).fill(random, -1, 1);
      exp_avg.emplace_back(count, skip_rest).fill(random, -1, 1);
      exp_avg_sq.emplace_back(count, skip_rest).fill(random, 0, 1);
      copy.emplace_back(copies ? count : 0, skip_grads);
      columns[0].push_back(grads.back().data());
      columns[1].push_back(params.back().data());
      columns[2].push_back(exp_avg.back().data());
      columns[3].push_back(exp_avg_sq.back().data());
      columns[4].push_back(copy.back().data());
    }
    trust_ratios.assign(counts.size(), -1.0F);
  }

  /// The arrays of a call, with a workspace of exactly the size for this chunk size.
  ds_ops_lamb_arrays arrays(std::int32_t chunk_size) {
    std::int64_t bytes = 0;
    CHECK(lamb_workspace_size(static_cast<std::int64_t>(sizes.size()), sizes.data(),
                              dtype_of<Element>, chunk_size, &bytes) == DS_OPS_OK);
    workspace.assign(static_cast<std::size_t>(bytes) / sizeof(Real), Real(77));
    return ds_ops_lamb_arrays{static_cast<std::int64_t>(sizes.size()),
                              columns[0].data(),
                              columns[1].data(),
                              columns[2].data(),
                              columns[3].data(),
                              copies ? columns[4].data() : nullptr,
                              sizes.data(),
                              dtype_of<Element>,
                              dtype_of<Grad>,
                              dtype_of<Copy>,
                              trust_ratios.data(),
                              workspace.data(),
                              bytes};
  }

  int run(const ds_ops_lamb_options& options, const ds_ops_device_values& values,
          std::int32_t chunk_size) {
    const ds_ops_lamb_arrays given = arrays(chunk_size);
    return run_arrays(&given, &options, values, chunk_size);
  }

  /// What ds_ops_fused_lamb_step does, with small blocks on the CPU for the launches.
  static int run_arrays(const ds_ops_lamb_arrays* arrays, const ds_ops_lamb_options* options,
                        const ds_ops_device_values& values, std::int32_t chunk_size) {
    std::int64_t chunk = 0;
    const int code = check_lamb_step(arrays, options, values, chunk_size, chunk);
    if (code != DS_OPS_OK || arrays->count == 0) {
      return code;
    }
    const LambArguments<Real> arguments = make_arguments<Real>(*arrays, *options, values, chunk);
    const auto launch = [&](const Pack& pack, std::int64_t blocks) {
      LambFactors<Real> shared;
      run_on_cpu<test_threads>(blocks, [&](auto& block) {
        lamb_moments_body<Element, Grad>(block, pack, arguments, shared);
      });
      run_on_cpu<test_threads>(blocks, [&](auto& block) {
        lamb_apply_body<copies, Element, Copy>(block, pack, arguments, shared);
      });
      return DS_OPS_OK;
    };
    return for_each_pack<Pack>(lamb_lists(*arrays, values), chunk, 1, launch);
  }

  /// Compares a tensor of `after` with a step in double from this one's values. Bounds, with e the
  /// roundoff of the arithmetic; products of errors are far below 1 %:
  ///
  /// The gradient times its scale has 3 e (reciprocal, product of the two scales, product). So m
  /// has 3 e of |beta1 m| (constant, product, sum) and 6 e of the other term; v has 3 e and, the
  /// square counting twice and once more, 10 e.
  ///
  /// u is made of the moments as stored, which are taken from `after`: m times its scale has 2 e;
  /// v times its scale 2 e, plus eps 3 e, the root 1.5 + 1, plus eps 3.5 e; the quotient 6.5 e.
  /// decay * p has 2 e, and the sum 1 e of u.
  ///
  /// A sum of squares: 1 e for the square, and 1 e for each addition on its way: the elements of a
  /// thread, 5 in the block, the chunks of a thread, 5 in the block. Its root has half of that and
  /// 1 e; the norm of u also what u is off by. Their quotient is clipped to constants (1 e).
  void check_tensor(const LambCase& after, std::size_t t, const ds_ops_lamb_options& o,
                    double inv_scale, std::int64_t chunk) const {
    const double e = 1.01 * roundoff<Real>;
    const double scale = inv_scale / o.grad_scale;
    const double first = o.correction != 0 ? 1 - std::pow(o.beta1, o.step) : 1;
    const double second = o.correction != 0 ? 1 - std::pow(o.beta2, o.step) : 1;
    const bool paper = o.correction == DS_OPS_LAMB_CORRECTED;
    const double lr = paper ? o.lr : o.lr * std::sqrt(second) / first;
    const std::size_t n = params[t].count();
    std::vector<double> u(n), u_off(n);
    double p_squares = 0, u_squares = 0, u_off_squares = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double g = grads[t][i] * scale, p = params[t][i];
      const double m = o.beta1 * exp_avg[t][i] + (1 - o.beta1) * g;
      const double v = o.beta2 * exp_avg_sq[t][i] + (1 - o.beta2) * g * g;
      const double m_off =
          e * (3 * std::fabs(o.beta1 * exp_avg[t][i]) + 6 * (1 - o.beta1) * std::fabs(g));
      const double v_off = e * (3 * o.beta2 * exp_avg_sq[t][i] + 10 * (1 - o.beta2) * g * g);
      const double m_new = after.exp_avg[t][i], v_new = after.exp_avg_sq[t][i];
      CHECK_FALSE(!(std::fabs(m_new - m) <= m_off + storing<Element>(m)));
      CHECK_FALSE(!(std::fabs(v_new - v) <= v_off + storing<Element>(v)));
      const double vhat = paper ? v_new / second : v_new;
      const double root = o.eps_inside != 0 ? std::sqrt(vhat + o.eps) : std::sqrt(vhat) + o.eps;
      const double adam = (paper ? m_new / first : m_new) / root;
      u[i] = adam + o.weight_decay * p;
      u_off[i] = e * (6.5 * std::fabs(adam) + 2 * std::fabs(o.weight_decay * p) + std::fabs(u[i]));
      p_squares += p * p;
      u_squares += u[i] * u[i];
      u_off_squares += u_off[i] * u_off[i];
    }
    double ratio = 1, ratio_off = 0;
    if (p_squares > 0 && u_squares > 0) {
      ratio = std::clamp(std::sqrt(p_squares / u_squares), o.min_coeff, o.max_coeff);
      const double blocks = std::ceil(static_cast<double>(n) / static_cast<double>(chunk));
      const double length = std::min(static_cast<double>(n), static_cast<double>(chunk));
      const double additions =
          length / test_threads + vector_width<Element> + 5 + blocks / test_threads + 1 + 5;
      ratio_off = ratio * (2 * e * ((1 + additions) / 2 + 1) + 2 * e +
                           std::sqrt(u_off_squares / u_squares));
    }
    CHECK(std::fabs(static_cast<double>(after.trust_ratios[t]) - ratio) <=
          ratio_off + ratio * 0x1p-24);
    for (std::size_t i = 0; i < n; ++i) {
      const double change = lr * ratio * u[i], p = params[t][i] - change;
      const double p_off = std::fabs(lr * u[i]) * ratio_off + 3 * e * std::fabs(change) +
                           lr * ratio * u_off[i] + e * std::fabs(p);
      CHECK_FALSE(!(std::fabs(after.params[t][i] - p) <= p_off + storing<Element>(p)));
      if constexpr (copies) {
        CHECK_FALSE(!(std::fabs(after.copy[t][i] - p) <= p_off + storing<Copy>(p)));
      }
    }
  }
};

}  // namespace ds_ops
