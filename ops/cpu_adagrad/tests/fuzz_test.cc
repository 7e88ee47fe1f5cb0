// SPDX-License-Identifier: Apache-2.0
#include "cpu_adagrad.h"
#include "update_fuzz.h"

using ds_ops::FuzzArray;
using ds_ops::FuzzTensor;
using ds_ops::Random;

namespace {

ds_ops_cpu_adagrad_tensor describe(const FuzzTensor& from) {
  const std::vector<FuzzArray>& a = from.arrays;
  return {a[0].pointer(), a[1].pointer(), a[2].pointer(), from.has_copy ? a[3].pointer() : nullptr,
          from.size,      a[0].dtype(),   a[1].dtype(),   a[2].dtype(),
          a[3].dtype()};
}

struct Call : ds_ops::FuzzCall<ds_ops_cpu_adagrad_tensor> {
  explicit Call(Random& random)
      : FuzzCall(1, ds_ops_cpu_adagrad_best_level(), random, describe),
        options{random.real(0, 0.5), random.real(1e-8, 1e-2),
                random.below(3) == 0 ? 0 : random.real(0, 1)} {}

  /// The code that must come of it.
  int spoil_one(Random& random) {
    const double bad[] = {-1e-9, HUGE_VAL, NAN, -HUGE_VAL};
    switch (random.below(8)) {
      case 0:
        options.lr = bad[random.below(4)];
        return DS_OPS_BAD_LR;
      case 1:
        options.eps = bad[random.below(4)];
        return DS_OPS_BAD_EPS;
      case 2:
        options.weight_decay = bad[random.below(4)];
        return DS_OPS_BAD_WEIGHT_DECAY;
      default:
        return spoil(random);
    }
  }

  int run() const {
    return ds_ops_cpu_adagrad_step(described.data(), count(), &options, level, threads);
  }

  ds_ops_adagrad_options options;
};

/// Whether `now` is what a step makes of `was`: the formula in double.
bool is_right(const FuzzTensor& now, const std::vector<std::vector<double>>& was,
              const ds_ops_adagrad_options& o) {
  for (std::size_t at = 0; at < was[0].size(); ++at) {
    const std::int64_t i = static_cast<std::int64_t>(at);
    const double p = was[0][at];
    const double g = was[1][at] + o.weight_decay * p;
    const double g_terms = std::abs(was[1][at]) + o.weight_decay * std::abs(p);
    const double v = was[2][at] + g * g;
    const double v_terms = was[2][at] + g_terms * g_terms;
    const double below = std::sqrt(v) + o.eps;
    const double result = p - o.lr * g / below;
    const double p_terms = std::abs(p) + o.lr * g_terms / below * (1 + v_terms / v);
    const std::vector<FuzzArray>& a = now.arrays;
    if (!a[0].is_close(i, result, p_terms) || !a[2].is_close(i, v, v_terms) ||
        (now.has_copy && !a[3].is_close(i, result, p_terms))) {
      return false;
    }
  }
  return true;
}

}  // namespace

TEST_CASE("cpu_adagrad: random calls give the right result") {
  ds_ops::check_right_calls<Call>(is_right);
}

TEST_CASE("cpu_adagrad: random wrong calls give their code and write nothing") {
  ds_ops::check_wrong_calls<Call>([](const Call& call, Random&) { return call.run(); });
}
