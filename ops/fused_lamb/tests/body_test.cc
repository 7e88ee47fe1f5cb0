// SPDX-License-Identifier: Apache-2.0
//
// The bodies of the kernels on the CPU, against the paper in double.
#include "body.h"

#include <doctest/doctest.h>

#include <limits>

#include "lamb_case.h"

using ds_ops::BFloat16;
using ds_ops::Float16;
using ds_ops::LambCase;

namespace {

// The last has more chunks than a block has threads.
const std::vector<std::size_t> some_sizes{0, 1, 15, 64, 65, 127, 0, 1000, 3001};
constexpr double infinity = std::numeric_limits<double>::infinity();

ds_ops_lamb_options lamb_options(double lr = 1e-2) {
  return {lr, 0.9, 0.99, 1e-8, 0.125, 0.01, 10.0, 1.0, 7, DS_OPS_LAMB_CORRECTED, 0};
}

template <class Case>
void compare(const ds_ops_lamb_options& options, std::size_t skip_grads, std::size_t skip_rest) {
  Case given(some_sizes, skip_grads, skip_rest, 5);
  const Case before(some_sizes, skip_grads, skip_rest, 5);
  REQUIRE(given.run(options, {}, 48) == DS_OPS_OK);
  for (std::size_t tensor = 0; tensor < some_sizes.size(); ++tensor) {
    CHECK(given.grads[tensor].values() == before.grads[tensor].values());
    before.check_tensor(given, tensor, options, 1.0, 48);
  }
}

template <class Case>
void compare_all() {
  for (const int correction :
       {DS_OPS_LAMB_UNCORRECTED, DS_OPS_LAMB_CORRECTED, DS_OPS_LAMB_CORRECTED_STEP}) {
    for (const double decay : {0.0, 0.125}) {
      for (const bool inside : {false, true}) {
        ds_ops_lamb_options options = lamb_options();
        options.correction = correction;
        options.weight_decay = decay;
        options.eps_inside = inside ? 1 : 0;
        options.eps = inside ? 1e-6 : 1e-8;
        compare<Case>(options, 0, 0);  // vectors, and a tail of less than one
        compare<Case>(options, 0, 1);  // one array that is not aligned is enough
        compare<Case>(options, 1, 0);
        compare<Case>(options, 3, 3);
      }
    }
  }
}

}  // namespace

TEST_CASE("fused_lamb: float32 on the CPU is the paper") {
  compare_all<LambCase<float, float, float>>();
}
TEST_CASE("fused_lamb: float64 on the CPU is the paper") {
  compare_all<LambCase<double, double, double>>();
}
TEST_CASE("fused_lamb: float16 and bfloat16 on the CPU are the paper") {
  compare_all<LambCase<Float16, Float16, float>>();
  compare_all<LambCase<BFloat16, BFloat16, float>>();
}
TEST_CASE("fused_lamb: float32 with gradients and copies of 16 bits is the paper") {
  compare_all<LambCase<float, Float16, float, true, Float16>>();
  compare_all<LambCase<float, BFloat16, float, true, BFloat16>>();
  compare_all<LambCase<float, float, float, true, BFloat16>>();
}

TEST_CASE("fused_lamb: the trust ratio is clipped") {
  using Case = LambCase<float, float, float>;
  for (const auto& [least, most] : {std::pair{0.0, infinity}, {0.0, 0.001}, {50.0, 60.0}}) {
    ds_ops_lamb_options options = lamb_options();
    options.min_coeff = least;
    options.max_coeff = most;
    compare<Case>(options, 0, 0);
    Case given({40}, 0, 0, 1);
    REQUIRE(given.run(options, {}, 0) == DS_OPS_OK);
    const float ratio = given.trust_ratios[0];
    CHECK((most == infinity ? ratio > 0.1F && ratio < 2 : ratio == (least > 0 ? 50.0F : 0.001F)));
  }
}

TEST_CASE("fused_lamb: the ratio is 1 where a norm is 0") {
  using Case = LambCase<float, float, float>;
  ds_ops_lamb_options options = lamb_options();
  options.min_coeff = 2;  // does not concern it
  Case no_params({40, 0}, 0, 0, 1);
  Case no_updates({40, 0}, 0, 0, 1);
  options.weight_decay = 0;
  for (std::size_t i = 0; i < 40; ++i) {
    no_params.params[0].set(i, 0);
    no_updates.grads[0].set(i, 0);
    no_updates.exp_avg[0].set(i, 0);
  }
  REQUIRE(no_params.run(options, {}, 0) == DS_OPS_OK);
  REQUIRE(no_updates.run(options, {}, 0) == DS_OPS_OK);
  CHECK(no_params.trust_ratios == std::vector<float>{1, 1});
  CHECK(no_updates.trust_ratios == std::vector<float>{1, 1});
  CHECK(no_params.params[0][0] != 0);
  CHECK(no_updates.params[0].values() == Case({40, 0}, 0, 0, 1).params[0].values());
}

TEST_CASE("fused_lamb: the same call has the same bits, whatever is beside a tensor") {
  using Case = LambCase<float, float, float>;
  Case alone({1000}, 0, 0, 3);
  Case first({1000, 7, 9, 11, 13}, 0, 0, 3);
  REQUIRE(alone.run(lamb_options(), {}, 64) == DS_OPS_OK);
  REQUIRE(first.run(lamb_options(), {}, 64) == DS_OPS_OK);
  CHECK(alone.params[0].values() == first.params[0].values());
  CHECK(alone.trust_ratios[0] == first.trust_ratios[0]);
}

TEST_CASE("fused_lamb: step and lr on the device give the bits of the host's") {
  using Case = LambCase<float, float, float>;
  const std::vector<std::size_t> sizes{100, 0, 33};
  const float lr = 2e-2F;
  ds_ops_lamb_options right = lamb_options(static_cast<double>(lr));
  right.step = 9;
  Case expected(sizes, 0, 0, 4);
  REQUIRE(expected.run(right, {}, 32) == DS_OPS_OK);
  std::int64_t whole = 9;
  float real = 9;
  for (const bool as_float : {true, false}) {
    void* step = as_float ? static_cast<void*>(&real) : static_cast<void*>(&whole);
    const std::vector<void*> steps(sizes.size(), step);
    Case given(sizes, 0, 0, 4);
    ds_ops_device_values values{};
    values.steps = steps.data();
    values.lr = &lr;
    values.step_type = as_float ? DS_OPS_STEP_FLOAT32 : DS_OPS_STEP_INT64;
    REQUIRE(given.run(lamb_options(77), values, 32) == DS_OPS_OK);
    CHECK(given.params[0].values() == expected.params[0].values());
    CHECK(given.params[2].values() == expected.params[2].values());
    CHECK(given.trust_ratios == expected.trust_ratios);
  }
}

TEST_CASE("fused_lamb: the flag skips, the scales multiply") {
  using Case = LambCase<float, float, float>;
  ds_ops_lamb_options options = lamb_options();
  options.grad_scale = 4;
  const Case before({70}, 0, 0, 4);
  Case given({70}, 0, 0, 4);
  const float found = 1.0F;
  const float half = 0.5F;
  const std::int32_t clear = 0;
  ds_ops_device_values values{};
  values.inv_scale = &half;
  values.noop_flag = reinterpret_cast<const std::int32_t*>(&found);
  REQUIRE(given.run(options, values, 0) == DS_OPS_OK);
  CHECK(given.params[0].values() == before.params[0].values());
  CHECK(given.exp_avg[0].values() == before.exp_avg[0].values());
  CHECK(given.exp_avg_sq[0].values() == before.exp_avg_sq[0].values());
  CHECK(given.trust_ratios[0] == -1.0F);
  CHECK(given.workspace[0] == 77.0F);
  values.noop_flag = &clear;
  REQUIRE(given.run(options, values, 0) == DS_OPS_OK);
  before.check_tensor(given, 0, options, 0.5, ds_ops::smallest_chunk);
}

TEST_CASE("fused_lamb: what is not finite stays in its tensor; tiny values are no zero norm") {
  using Case = LambCase<float, float, float>;
  Case given({40, 40, 40}, 0, 0, 4);
  Case plain({40, 40, 40}, 0, 0, 4);
  given.grads[1].set(7, std::numeric_limits<double>::quiet_NaN());
  REQUIRE(given.run(lamb_options(), {}, 0) == DS_OPS_OK);
  REQUIRE(plain.run(lamb_options(), {}, 0) == DS_OPS_OK);
  CHECK(std::isnan(given.trust_ratios[1]));
  CHECK(std::isnan(given.params[1][0]));
  CHECK(given.params[0].values() == plain.params[0].values());
  CHECK(given.params[2].values() == plain.params[2].values());
  Case large({40}, 0, 0, 4);
  large.params[0].set(3, 3e38);  // the square is infinite: the ratio is the largest
  REQUIRE(large.run(lamb_options(), {}, 0) == DS_OPS_OK);
  CHECK(std::isnan(large.trust_ratios[0]));  // so is that of u, by weight decay
  ds_ops_lamb_options options = lamb_options();
  options.weight_decay = 0;
  Case larger({40}, 0, 0, 4);
  larger.params[0].set(3, 3e38);
  REQUIRE(larger.run(options, {}, 0) == DS_OPS_OK);
  CHECK(larger.trust_ratios[0] == 10.0F);
}
