// SPDX-License-Identifier: Apache-2.0
//
// The body of the kernel on the CPU, against the papers in double.
#include "body.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>

#include "adam_case.h"

using ds_ops::AdamCase;
using ds_ops::BFloat16;
using ds_ops::Float16;

namespace {

template <class Element, class Real>
void compare(const ds_ops_adam_options& options, std::size_t skip_grads, std::size_t skip_rest) {
  AdamCase<Element, Real> given({0, 1, 15, 64, 65, 127, 1000}, skip_grads, skip_rest, 5);
  const AdamCase<Element, Real> before({0, 1, 15, 64, 65, 127, 1000}, skip_grads, skip_rest, 5);
  REQUIRE(given.run(options, {}, 48) == DS_OPS_OK);
  for (std::size_t tensor = 0; tensor < given.sizes.size(); ++tensor) {
    CHECK(given.grads[tensor].values() == before.grads[tensor].values());
    for (std::size_t i = 0; i < given.grads[tensor].count(); ++i) {
      before.check_element(given, tensor, i, options, 1.0);
    }
  }
}

template <class Element, class Real>
void compare_all() {
  for (const bool corrected : {true, false}) {
    for (const int mode : {DS_OPS_ADAM_L2, DS_OPS_ADAM_DECOUPLED}) {
      for (const double decay : {0.0, 0.125}) {
        const ds_ops_adam_options options{1e-2, 0.9, 0.99, 1e-8, decay, 7, mode, corrected ? 1 : 0};
        compare<Element, Real>(options, 0, 0);  // vectors, and a tail of less than one
        compare<Element, Real>(options, 0, 1);  // one array that is not aligned is enough
        compare<Element, Real>(options, 1, 0);
        compare<Element, Real>(options, 3, 3);
      }
    }
  }
}

}  // namespace

TEST_CASE("fused_adam: float32 on the CPU is the paper") {
  compare_all<float, float>();
}
TEST_CASE("fused_adam: float64 on the CPU is the paper") {
  compare_all<double, double>();
}
TEST_CASE("fused_adam: float16 on the CPU is the paper") {
  compare_all<Float16, float>();
}
TEST_CASE("fused_adam: bfloat16 on the CPU is the paper") {
  compare_all<BFloat16, float>();
}

TEST_CASE("fused_adam: vectors and single elements have the same bits") {
  const ds_ops_adam_options options{1e-2, 0.9, 0.999, 1e-8, 0.1, 3, DS_OPS_ADAM_L2, 1};
  AdamCase<float, float> aligned({517}, 0, 0, 9);
  AdamCase<float, float> shifted({517}, 1, 1, 9);
  REQUIRE(aligned.run(options, {}, 64) == DS_OPS_OK);
  REQUIRE(shifted.run(options, {}, 512) == DS_OPS_OK);
  CHECK(aligned.params[0].values() == shifted.params[0].values());
  CHECK(aligned.exp_avg[0].values() == shifted.exp_avg[0].values());
  CHECK(aligned.exp_avg_sq[0].values() == shifted.exp_avg_sq[0].values());
}

TEST_CASE("fused_adam: step and lr on the device give the bits of the host's") {
  const std::vector<std::size_t> sizes{100, 0, 33};
  const ds_ops_adam_options right{2e-2F, 0.9, 0.99, 1e-8, 0.1, 9, DS_OPS_ADAM_DECOUPLED, 1};
  ds_ops_adam_options wrong = right;
  wrong.step = 1;
  wrong.lr = 77;
  AdamCase<float, float> expected(sizes, 0, 0, 4);
  REQUIRE(expected.run(right, {}, 32) == DS_OPS_OK);
  const float lr = 2e-2F;
  std::int64_t whole = 9;
  float real = 9;
  for (const bool as_float : {true, false}) {
    void* step = as_float ? static_cast<void*>(&real) : static_cast<void*>(&whole);
    const std::vector<void*> steps(sizes.size(), step);
    AdamCase<float, float> given(sizes, 0, 0, 4);
    ds_ops_device_values values{};
    values.steps = steps.data();
    values.lr = &lr;
    values.step_type = as_float ? DS_OPS_STEP_FLOAT32 : DS_OPS_STEP_INT64;
    REQUIRE(given.run(wrong, values, 32) == DS_OPS_OK);
    CHECK(given.params[0].values() == expected.params[0].values());
    CHECK(given.params[2].values() == expected.params[2].values());
    CHECK(given.exp_avg_sq[2].values() == expected.exp_avg_sq[2].values());
  }
  // Each tensor has its own.
  std::int64_t other = 2;
  void* steps[] = {&whole, nullptr, &other};
  AdamCase<float, float> given(sizes, 0, 0, 4);
  ds_ops_device_values values{};
  values.steps = steps;
  REQUIRE(given.run(right, values, 32) == DS_OPS_OK);
  CHECK(given.params[0].values() == expected.params[0].values());
  CHECK(given.params[2].values() != expected.params[2].values());
}

TEST_CASE("fused_adam: the flag skips, the scale multiplies") {
  const ds_ops_adam_options options{1e-2, 0.9, 0.99, 1e-8, 0.1, 9, DS_OPS_ADAM_L2, 1};
  const AdamCase<float, float> before({70}, 0, 0, 4);
  AdamCase<float, float> given({70}, 0, 0, 4);
  const float infinite = std::numeric_limits<float>::infinity();
  const float found = 1.0F;
  const std::int32_t clear = 0;
  ds_ops_device_values values{};
  values.inv_scale = &infinite;
  values.noop_flag = reinterpret_cast<const std::int32_t*>(&found);
  REQUIRE(given.run(options, values, 0) == DS_OPS_OK);
  CHECK(given.params[0].values() == before.params[0].values());
  CHECK(given.exp_avg[0].values() == before.exp_avg[0].values());
  CHECK(given.exp_avg_sq[0].values() == before.exp_avg_sq[0].values());
  const float quarter = 0.25F;
  values.inv_scale = &quarter;
  values.noop_flag = &clear;
  REQUIRE(given.run(options, values, 0) == DS_OPS_OK);
  for (std::size_t i = 0; i < 70; ++i) {
    before.check_element(given, 0, i, options, 0.25);
  }
}

TEST_CASE("fused_adam: what is not finite or tiny stays where it is") {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::array<float, 8> specials{0.0F, -0.0F, inf, -inf, nan, 0x1p-149F, -0x1p-130F, 3e38F};
  const ds_ops_adam_options options{1e-2, 0.9, 0.99, 1e-8, 0, 1, DS_OPS_ADAM_DECOUPLED, 1};
  AdamCase<float, float> given({64 + 8}, 0, 0, 4);
  AdamCase<float, float> plain({64 + 8}, 0, 0, 4);
  for (std::size_t i = 0; i < specials.size(); ++i) {
    given.grads[0].set(8 * i + 3, static_cast<double>(specials[i]));
  }
  REQUIRE(given.run(options, {}, 0) == DS_OPS_OK);
  REQUIRE(plain.run(options, {}, 0) == DS_OPS_OK);
  for (std::size_t i = 0; i < 72; ++i) {
    if (i % 8 != 3 || i / 8 >= specials.size()) {
      CHECK(given.params[0][i] == plain.params[0][i]);
    } else {
      const float special = specials[i / 8];
      CHECK(std::isnan(given.exp_avg[0][i]) == std::isnan(special));
      CHECK(std::isinf(given.exp_avg[0][i]) == std::isinf(special));
      // Infinity by infinity, or by the root of a square that overflowed.
      CHECK(std::isnan(given.params[0][i]) == !std::isfinite(special));
    }
  }
}
