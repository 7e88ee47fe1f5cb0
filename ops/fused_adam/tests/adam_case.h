// SPDX-License-Identifier: Apache-2.0
//
// Tensors for one step, the step on the CPU as the library queues it, and the papers in double.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "checks.h"
#include "cpu_block.h"
#include "elements.h"

namespace ds_ops {

template <class Element, class Real>
struct AdamCase {
  using Pack = TensorPack<adam_columns, 3>;  // so small that lists take several launches

  std::vector<std::int64_t> sizes;
  std::vector<Buffer<Element>> grads, params, exp_avg, exp_avg_sq;

  /// Arrays begin `skip` elements after an aligned address. The same seed gives the same values.
  AdamCase(const std::vector<std::size_t>& counts, std::size_t skip_grads, std::size_t skip_rest,
           unsigned seed) {
    std::mt19937 random(seed);
    for (const std::size_t count : counts) {
      sizes.push_back(static_cast<std::int64_t>(count));
      grads.emplace_back(count, skip_grads).fill(random, -1, 1);
      params.emplace_back(count, skip_rest).fill(random, -1, 1);
      exp_avg.emplace_back(count, skip_rest).fill(random, -1, 1);
      exp_avg_sq.emplace_back(count, skip_rest).fill(random, 0, 1);
    }
  }

  static std::vector<void*> addresses(const std::vector<Buffer<Element>>& buffers) {
    std::vector<void*> all;
    for (const Buffer<Element>& buffer : buffers) {
      all.push_back(buffer.data());
    }
    return all;
  }

  int run(const ds_ops_adam_options& options, const ds_ops_device_values& values,
          std::int32_t chunk_size) {
    const std::vector<void*> g = addresses(grads), p = addresses(params), m = addresses(exp_avg),
                             v = addresses(exp_avg_sq);
    const AdamLists lists{static_cast<std::int64_t>(sizes.size()),
                          {g.data(), p.data(), m.data(), v.data(), values.steps},
                          sizes.data()};
    return run_lists(lists, dtype_of<Element>, &options, values, chunk_size);
  }

  /// What ds_ops_fused_adam_step does, with blocks of 32 threads on the CPU for the launches.
  static int run_lists(const AdamLists& lists, std::int32_t dtype,
                       const ds_ops_adam_options* options, const ds_ops_device_values& values,
                       std::int32_t chunk_size) {
    std::int64_t chunk = 0;
    const int code = check_adam_step(lists, dtype, options, values, chunk_size, chunk);
    if (code != DS_OPS_OK) {
      return code;
    }
    const AdamArguments<Real> arguments = make_arguments<Real>(*options, values, chunk);
    return for_each_pack<Pack>(lists, chunk, 0, [&](const Pack& pack, std::int64_t blocks) {
      AdamFactors<Real> shared;
      run_on_cpu<32>(blocks, [&](auto& block) {
        switch (arguments.factors.mode) {
          case Decay::none:
            return adam_body<Decay::none, Element>(block, pack, arguments, shared);
          case Decay::l2:
            return adam_body<Decay::l2, Element>(block, pack, arguments, shared);
          case Decay::decoupled:
            return adam_body<Decay::decoupled, Element>(block, pack, arguments, shared);
        }
      });
      return DS_OPS_OK;
    });
  }

  /// Compares element i of `after` with a step in double from this one's values.
  ///
  /// With e the roundoff of the arithmetic, every constant (beta1, 1 - beta1, ...) is off by 1 e,
  /// and so is each operation. So g has 3 e of |g| + |decay p| (scale or constant, product, sum);
  /// m has 3 e of |beta1 m| and 3 + 3 e of the other term. All terms of v are positive: it has
  /// 2 * 3 + 1 (square) + 3 e, its root 5 + 1, times a constant 8, plus eps with 1: 9 e. The
  /// quotient has those, 1 of its own and 2 of the step size: 12 e, and what m is off by, divided.
  /// The sum of change and decay * p has 3 e of either, and the last difference 1 e of the result.
  /// Then each is stored: a roundoff of the element. Products of these errors are far below 1 %.
  void check_element(const AdamCase& after, std::size_t tensor, std::size_t i,
                     const ds_ops_adam_options& o, double scale) const {
    const double e = 1.01 * roundoff<Real>;
    const double first = o.bias_correction != 0 ? 1 - std::pow(o.beta1, o.step) : 1;
    const double second = o.bias_correction != 0 ? 1 - std::pow(o.beta2, o.step) : 1;
    const double p0 = params[tensor][i], m0 = exp_avg[tensor][i], v0 = exp_avg_sq[tensor][i];
    const bool l2 = o.mode == DS_OPS_ADAM_L2;
    const double decay = o.weight_decay * p0;
    const double g = grads[tensor][i] * scale + (l2 ? decay : 0);
    const double g_size = std::fabs(grads[tensor][i] * scale) + (l2 ? std::fabs(decay) : 0);
    const double m = o.beta1 * m0 + (1 - o.beta1) * g;
    const double v = o.beta2 * v0 + (1 - o.beta2) * g * g;
    const double m_off = e * (3 * std::fabs(o.beta1 * m0) + 6 * (1 - o.beta1) * g_size);
    // Where terms of g cancel, what it is off by is relative to their size.
    const double v_off =
        e * (3 * o.beta2 * v0 + (1 - o.beta2) * (4 * g * g + 6 * std::fabs(g) * g_size));
    const double root = std::sqrt(v / second) + o.eps;
    const double root_off = v_off / (2 * std::sqrt(v * second)) + 4 * e * root;
    const double adam = o.lr / first * m / root;
    const double decoupled = l2 ? 0 : o.lr * decay;
    const double p = p0 - adam - decoupled;
    const double p_off = o.lr / first * m_off / root + std::fabs(adam) * (root_off / root + 3 * e) +
                         3 * e * (std::fabs(adam) + std::fabs(decoupled)) + e * std::fabs(p);
    CHECK_FALSE(!(std::fabs(after.exp_avg[tensor][i] - m) <= m_off + storing<Element>(m)));
    CHECK_FALSE(!(std::fabs(after.exp_avg_sq[tensor][i] - v) <= v_off + storing<Element>(v)));
    CHECK_FALSE(!(std::fabs(after.params[tensor][i] - p) <= p_off + storing<Element>(p)));
  }
};

}  // namespace ds_ops
