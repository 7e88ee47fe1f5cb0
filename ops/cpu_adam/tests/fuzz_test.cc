// SPDX-License-Identifier: Apache-2.0
#include "cpu_adam.h"
#include "update_fuzz.h"

using ds_ops::FuzzArray;
using ds_ops::FuzzTensor;
using ds_ops::Random;

namespace {

ds_ops_cpu_adam_tensor describe(const FuzzTensor& from) {
  const std::vector<FuzzArray>& a = from.arrays;
  return {a[0].pointer(),
          a[1].pointer(),
          a[2].pointer(),
          a[3].pointer(),
          from.has_copy ? a[4].pointer() : nullptr,
          from.size,
          a[0].dtype(),
          a[1].dtype(),
          a[2].dtype(),
          a[4].dtype()};
}

ds_ops_adam_options random_options(Random& random) {
  ds_ops_adam_options options{};
  options.lr = random.real(0, 0.1);
  options.beta1 = random.real(0, 0.99);
  options.beta2 = random.real(0, 0.999);
  options.eps = random.real(1e-8, 1e-2);
  options.weight_decay = random.below(3) == 0 ? 0 : random.real(0, 1);
  options.step = 1 + random.below(1000);
  options.mode = random.below(2);
  options.bias_correction = random.below(2);
  return options;
}

/// The code that must come of it.
int spoil_options(ds_ops_adam_options& options, Random& random) {
  const double bad[] = {-1e-9, HUGE_VAL, NAN, -HUGE_VAL};
  const double value = bad[random.below(4)];
  switch (random.below(6)) {
    case 0:
      options.lr = value;
      return DS_OPS_BAD_LR;
    case 1:
      options.eps = value;
      return DS_OPS_BAD_EPS;
    case 2:
      options.weight_decay = value;
      return DS_OPS_BAD_WEIGHT_DECAY;
    case 3:
      (random.below(2) == 0 ? options.beta1 : options.beta2) = 1 + random.real(0, 10);
      return DS_OPS_BAD_BETAS;
    case 4:
      options.step = -random.below(100);
      return DS_OPS_BAD_STEP;
    default:
      options.mode = 2 + random.below(100);
      return DS_OPS_BAD_MODE;
  }
}

/// Whether `now` is what a step makes of `was`: the formula in double.
bool is_right(const FuzzTensor& now, const std::vector<std::vector<double>>& was,
              const ds_ops_adam_options& o) {
  const double first = o.bias_correction ? 1 - std::pow(o.beta1, o.step) : 1;
  const double second = o.bias_correction ? 1 - std::pow(o.beta2, o.step) : 1;
  for (std::size_t at = 0; at < was[0].size(); ++at) {
    const std::int64_t i = static_cast<std::int64_t>(at);
    const double p = was[0][at];
    const double l2 = o.mode == DS_OPS_ADAM_L2 ? o.weight_decay : 0;
    const double g = was[1][at] + l2 * p;
    const double g_terms = std::abs(was[1][at]) + l2 * std::abs(p);
    const double m = o.beta1 * was[2][at] + (1 - o.beta1) * g;
    const double m_terms = o.beta1 * std::abs(was[2][at]) + (1 - o.beta1) * g_terms;
    const double v = o.beta2 * was[3][at] + (1 - o.beta2) * g * g;
    const double v_terms = o.beta2 * was[3][at] + (1 - o.beta2) * g_terms * g_terms;
    const double below = std::sqrt(v / second) + o.eps;
    const double decayed = o.mode == DS_OPS_ADAM_DECOUPLED ? o.lr * o.weight_decay * p : 0;
    const double result = p - o.lr * m / first / below - decayed;
    const double p_terms = std::abs(p) + o.lr * m_terms / first / below * (1 + v_terms / v);
    const std::vector<FuzzArray>& a = now.arrays;
    if (!a[0].is_close(i, result, p_terms) || !a[2].is_close(i, m, m_terms) ||
        !a[3].is_close(i, v, v_terms) || (now.has_copy && !a[4].is_close(i, result, p_terms))) {
      return false;
    }
  }
  return true;
}

using Function = int (*)(const ds_ops_cpu_adam_tensor*, std::int64_t, const ds_ops_adam_options*,
                         std::int32_t, std::int32_t);

struct Call : ds_ops::FuzzCall<ds_ops_cpu_adam_tensor> {
  explicit Call(Random& random)
      : FuzzCall(2, ds_ops_cpu_adam_best_level(), random, describe),
        options(random_options(random)) {}

  /// The code that must come of it.
  int spoil_one(Random& random) {
    return random.below(6) == 0 ? spoil_options(options, random) : spoil(random);
  }

  int run(Function function = ds_ops_cpu_adam_step) const {
    return function(described.data(), count(), &options, level, threads);
  }

  ds_ops_adam_options options;
};

}  // namespace

TEST_CASE("cpu_adam: random calls give the right result") {
  ds_ops::check_right_calls<Call>(is_right);
}

TEST_CASE("cpu_adam: random calls can be undone") {
  Random random(1);
  for (int round = 0; round < 150; ++round) {
    const Call call(random);
    CHECK(call.run() == DS_OPS_OK);
    const int code = call.run(ds_ops_cpu_adam_rollback);
    CHECK((code == DS_OPS_OK || code == DS_OPS_CANNOT_UNDO));
  }
}

TEST_CASE("cpu_adam: random wrong calls give their code and write nothing") {
  ds_ops::check_wrong_calls<Call>([](const Call& call, Random& random) {
    return call.run(random.below(2) == 0 ? ds_ops_cpu_adam_step : ds_ops_cpu_adam_rollback);
  });
}
