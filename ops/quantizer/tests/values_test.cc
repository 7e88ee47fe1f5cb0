// SPDX-License-Identifier: Apache-2.0
//
// The numbers, against the formulas in double, and at the ends of what floats hold.
#include <doctest/doctest.h>

#include <algorithm>

#include "cases.h"

using ds_ops::BFloat16;
using ds_ops::Float16;
using ds_ops::Line;
using ds_ops::Options;

namespace {

constexpr float huge = std::numeric_limits<float>::max();
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

struct Result {
  std::vector<std::int8_t> codes;
  std::vector<float> params;
  std::vector<float> back;
};

/// One group, there and back.
Result there_and_back(const std::vector<float>& values, int bits, int type, int rounding = 0) {
  const std::int64_t size = static_cast<std::int64_t>(values.size());
  const Options options = ds_ops::make_options(1, size, bits, type, rounding);
  Result result{std::vector<std::int8_t>(static_cast<std::size_t>(ds_ops::row_bytes(size, bits))),
                std::vector<float>(static_cast<std::size_t>(1 + type)), std::vector<float>(values)};
  REQUIRE(ds_ops_quantizer_quantize_cpu(values.data(), DS_OPS_FLOAT32, &options, {1, 1, 1},
                                        {nullptr, 0}, result.codes.data(), result.params.data(),
                                        0) == DS_OPS_OK);
  REQUIRE(ds_ops_quantizer_dequantize_cpu(result.codes.data(), result.params.data(), &options,
                                          result.back.data(), DS_OPS_FLOAT32, 0) == DS_OPS_OK);
  return result;
}

int code_of(const Result& result, std::size_t i, int bits) {
  if (bits == 8) {
    return result.codes[i];
  }
  const int byte = static_cast<std::uint8_t>(result.codes[i / 2]);
  const int nibble = i % 2 == 0 ? byte >> 4 : byte & 15;
  return nibble < 8 ? nibble : nibble - 16;
}

/// The formulas of quantizer.h in double, and what rounding may do to them in float.
void check_formula(const std::vector<float>& values, int bits, int type) {
  const Result found = there_and_back(values, bits, type);
  const double levels = bits == 4 ? 16 : 256;
  const double most = *std::max_element(values.begin(), values.end());
  const double least = *std::min_element(values.begin(), values.end());
  const double absolute = std::max(std::fabs(most), std::fabs(least));
  const bool flat = type == 1 && most == least;
  const double step = flat ? 1 : (type == 0 ? 2 * absolute : most - least) / levels;
  // One rounding of a difference; with a sign it is exact.
  CHECK(std::fabs(found.params[0] - step) <= 0x1p-24 * step);
  const double offset = type == 0 ? 0 : found.params[1];
  if (type == 1) {
    CHECK(std::fabs(offset - (most + least) / 2) <= 0x1p-24 * absolute);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double v = (values[i] - offset) / found.params[0];
    const double inside = std::clamp(v, -levels / 2, levels / 2 - 1);
    const int code = code_of(found, i, bits);
    // Three roundings (the difference, the reciprocal, the product) of at most levels / 2.
    CHECK(std::fabs(code - inside) <= 0.5 + 3 * 0x1p-24 * levels);
    const double right = code * static_cast<double>(found.params[0]) + offset;
    // The product and the sum are rounded.
    CHECK(std::fabs(found.back[i] - right) <=
          0x1p-24 * (std::fabs(code * static_cast<double>(found.params[0])) + std::fabs(right)));
  }
}

std::vector<float> some(std::size_t count, float low, float high, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> values(low, high);
  std::vector<float> line(count);
  std::generate(line.begin(), line.end(), [&] { return values(random); });
  return line;
}

}  // namespace

TEST_CASE("quantizer: codes and params are the formulas") {
  unsigned seed = 1;
  for (const int bits : {4, 8}) {
    for (const int type : {0, 1}) {
      for (const std::size_t count : {1U, 2U, 5U, 17U, 64U, 1001U}) {
        check_formula(some(count, -1, 1, seed++), bits, type);
        check_formula(some(count, 3, 3.5F, seed++), bits, type);
        check_formula(some(count, -1e30F, 2e37F, seed++), bits, type);
        check_formula(some(count, -1e-30F, 2e-33F, seed++), bits, type);
      }
    }
  }
}

TEST_CASE("quantizer: ties go to the even code") {
  const Result found = there_and_back({-128, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 126.5F}, 8, 0);
  CHECK(found.codes == std::vector<std::int8_t>{-128, 0, 2, 2, 0, -2, -2, 126});
}

TEST_CASE("quantizer: the ends of what a float holds") {
  for (const int bits : {4, 8}) {
    for (const int type : {0, 1}) {
      // Nothing overflows: half a step is lost, at the upper end a whole one.
      const Result large = there_and_back({-huge, huge, huge / 2, 0}, bits, type);
      const float step = large.params[0];
      CHECK(step == huge / (bits == 4 ? 8 : 128));
      CHECK(large.back[0] == -huge);
      CHECK(large.back[1] <= huge);
      // The product is rounded: 2^-24 of at most 128 steps.
      CHECK(huge - large.back[1] <= step * (1 + 0x1p-17F));
      CHECK(std::fabs(large.back[2] - huge / 2) <= step / 2);
      CHECK(large.back[3] == 0.0F);
      // Subnormals: the step is at least 2^-126.
      const Result small = there_and_back({0x1p-149F, -0x1p-149F, 0x1p-130F, 0}, bits, type);
      CHECK(small.params[0] == 0x1p-126F);
      for (std::size_t i = 0; i < 4; ++i) {
        CHECK(std::fabs(small.back[i]) <= 0x1p-126F);
      }
    }
    const Result zeros = there_and_back({0, -0.0F, 0}, bits, 0);
    CHECK(zeros.params[0] == 1.0F);
    CHECK(zeros.back == std::vector<float>{0, 0, 0});
    const Result flat = there_and_back({2.7F, 2.7F}, bits, 1);
    CHECK(flat.params == std::vector<float>{1.0F, 2.7F});
    CHECK(flat.back == std::vector<float>{2.7F, 2.7F});
  }
}

TEST_CASE("quantizer: a NaN and an infinity are not lost") {
  for (const int bits : {4, 8}) {
    for (const int type : {0, 1}) {
      for (const int rounding : {0, 1}) {
        for (const float bad : {not_a_number, infinity, -infinity}) {
          std::vector<float> values(70, 1.5F);
          values[66] = bad;
          const Result found = there_and_back(values, bits, type, rounding);
          for (const float value : found.back) {
            CHECK(std::isnan(value));
          }
        }
      }
    }
    const Result same = there_and_back({infinity, infinity}, bits, 1);
    CHECK(same.back == std::vector<float>{infinity, infinity});
  }
}

TEST_CASE("quantizer: NaN, infinities and signed zeros have the same codes all ways") {
  using ds_ops::Way;
  for (const float bad : {not_a_number, infinity, -infinity, -0.0F}) {
    for (unsigned at = 0; at < 64; at += 9) {
      Line<float> values(64);
      ds_ops::fill(values, 3, 0.0F, std::isnan(bad) || std::isinf(bad) ? 1.0F : 0.0F);
      values[at] = bad;
      ds_ops::for_all_options(1, 64, [&](const Options& options) {
        Line<std::int8_t> right(ds_ops::row_bytes(64, options.bits));
        Line<float> params(1 + options.type), found_params(1 + options.type);
        ds_ops_quantizer_quantize_cpu(values.data(), DS_OPS_FLOAT32, &options, {1, 1, 1},
                                      {nullptr, 0}, right.data(), params.data(), 0);
        for (const Way way : ds_ops::all_ways) {
          Line<std::int8_t> found(ds_ops::row_bytes(64, options.bits));
          const ds_ops::QuantizeCall call{values.data(),      DS_OPS_FLOAT32, &options,
                                          {1, 1, 1},          {nullptr, 0},   found.data(),
                                          found_params.data()};
          ds_ops::run_body(call.source<float>(), call.sink(), call, way, true);
          CHECK(found == right);
          for (std::size_t i = 0; i < params.count(); ++i) {
            const bool both_nan = std::isnan(params[i]) && std::isnan(found_params[i]);
            CHECK((both_nan || (params[i] == found_params[i] &&
                                std::signbit(params[i]) == std::signbit(found_params[i]))));
          }
        }
      });
    }
  }
}

TEST_CASE("quantizer: the order of floats as integers") {
  const float rising[] = {-infinity, -huge, -1, -0x1p-149F, -0.0F, 0, 0x1p-149F, 1, huge, infinity};
  for (std::size_t i = 0; i + 1 < std::size(rising); ++i) {
    CHECK(ds_ops::in_order(rising[i]) < ds_ops::in_order(rising[i + 1]));
    CHECK(ds_ops::from_order(ds_ops::in_order(rising[i])) == rising[i]);
  }
  CHECK(ds_ops::in_order(-infinity) > 0);
  CHECK(ds_ops::in_order(-not_a_number) > ds_ops::in_order(infinity));
  CHECK(std::isnan(ds_ops::from_order(ds_ops::in_order(-not_a_number))));
}

TEST_CASE("quantizer: stochastic rounding keeps the mean, and what lies on the grid") {
  for (const float fraction : {0.0F, 0.125F, 0.5F, 0.9F}) {
    for (const float sign : {1.0F, -1.0F}) {
      std::vector<float> values(40001, sign * (3 + fraction));
      values.back() = -128;
      const Result found = there_and_back(values, 8, 0, DS_OPS_ROUND_STOCHASTIC);
      double sum = 0;
      for (std::size_t i = 0; i + 1 < values.size(); ++i) {
        const int magnitude = static_cast<int>(sign) * found.codes[i];
        CHECK((magnitude == 3 || (fraction > 0 && magnitude == 4)));
        sum += magnitude;
      }
      // Six standard deviations of the mean of 40000 such numbers, sqrt(f (1 - f) / 40000).
      const double deviation = std::sqrt(fraction * (1 - fraction) / 40000.0);
      CHECK(std::fabs(sum / 40000 - 3 - fraction) <= 6 * deviation);
    }
  }
}

TEST_CASE("quantizer: fake quantization is the formulas with eps") {
  for (const int bits : {4, 8}) {
    for (const int type : {0, 1}) {
      for (const double eps : {0.0, 1e-5, 0.5}) {
        const std::vector<float> values = some(333, -0.5F, 2, 9);
        std::vector<float> found = values;
        const Options options = ds_ops::make_options(1, 333, bits, type, 0);
        REQUIRE(ds_ops_quantizer_fake_cpu(found.data(), DS_OPS_FLOAT32, &options, eps, 0) == 0);
        const double most = *std::max_element(values.begin(), values.end());
        const double least = *std::min_element(values.begin(), values.end());
        const double levels = bits == 4 ? 16 : 256;
        const double step = ((type == 0 ? 2 * most : most - least) + eps) / levels;
        const double offset = type == 0 ? 0 : least;
        const double low = type == 0 ? -levels / 2 : 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
          const double v = std::clamp((values[i] - offset) / step, low, low + levels - 1);
          // Half a step, and roundings of numbers of at most 4: of the difference, the step, its
          // reciprocal, the two products and the sum.
          CHECK(std::fabs(found[i] - (v * step + offset)) <= 0.5 * step + 8 * 4 * 0x1p-24);
          // On the grid; what is above it becomes its last point.
          const double point = (found[i] - offset) / step;
          CHECK(std::fabs(point - std::nearbyint(point)) <= 8 * 4 * 0x1p-24 / step);
          CHECK(point <= low + levels - 1 + 1e-3);
        }
      }
    }
  }
}
