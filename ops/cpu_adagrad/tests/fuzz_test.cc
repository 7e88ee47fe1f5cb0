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

struct Call {
  explicit Call(Random& random)
      : options{random.real(0, 0.5), random.real(1e-8, 1e-2),
                random.below(3) == 0 ? 0 : random.real(0, 1)},
        level(random.below(ds_ops_cpu_adagrad_best_level() + 1)),
        threads(random.below(4)) {
    const int count = random.below(20) == 0 ? 20 : 2 + random.below(3);
    for (int i = 0; i < count; ++i) {
      tensors.emplace_back(1, random);
      described.push_back(describe(tensors.back()));
    }
  }

  /// The code that must come of it.
  int spoil(Random& random) {
    const std::size_t at = static_cast<std::size_t>(random.below(static_cast<int>(tensors.size())));
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
      case 3:
        level = random.below(2) == 0 ? 4 + random.below(99) : -1 - random.below(99);
        return DS_OPS_BAD_CPU_LEVEL;
      case 4:
        threads = -1 - random.below(99);
        return DS_OPS_BAD_THREADS;
      default:
        return ds_ops::spoil(described[at], described[at == 0 ? 1 : at - 1], random);
    }
  }

  int run() const {
    return ds_ops_cpu_adagrad_step(described.data(), static_cast<std::int64_t>(described.size()),
                                   &options, level, threads);
  }

  std::vector<FuzzTensor> tensors;
  std::vector<ds_ops_cpu_adagrad_tensor> described;
  ds_ops_adagrad_options options;
  std::int32_t level;
  std::int32_t threads;
};

std::vector<std::vector<double>> values(const FuzzTensor& tensor) {
  std::vector<std::vector<double>> all(3);
  for (std::size_t k = 0; k < 3; ++k) {
    for (std::int64_t i = 0; i < tensor.size; ++i) {
      all[k].push_back(tensor.arrays[k].get(i));
    }
  }
  return all;
}

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
  Random random(1);
  for (int round = 0; round < 150; ++round) {
    Call call(random);
    std::vector<std::vector<std::vector<double>>> before;
    for (const FuzzTensor& tensor : call.tensors) {
      before.push_back(values(tensor));
    }
    CHECK(call.run() == DS_OPS_OK);
    for (std::size_t i = 0; i < call.tensors.size(); ++i) {
      CHECK(is_right(call.tensors[i], before[i], call.options));
    }
  }
}

TEST_CASE("cpu_adagrad: random wrong calls give their code and write nothing") {
  Random random(2);
  for (int round = 0; round < 600; ++round) {
    Call call(random);
    const int expected = call.spoil(random);
    std::vector<std::vector<std::vector<char>>> before;
    for (const FuzzTensor& tensor : call.tensors) {
      before.push_back(tensor.bytes());
    }
    CAPTURE(round);
    CHECK(call.run() == expected);
    for (std::size_t i = 0; expected != DS_OPS_OK && i < call.tensors.size(); ++i) {
      CHECK(call.tensors[i].bytes() == before[i]);
    }
  }
}
