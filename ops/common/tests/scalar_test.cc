// SPDX-License-Identifier: Apache-2.0
#include "ds_ops/scalar.h"

#include <doctest/doctest.h>

#include <cmath>

TEST_CASE("scalar: every float16 and bfloat16 comes back; a NaN becomes quiet") {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    ds_ops::Float16 half{static_cast<std::uint16_t>(bits)};
    ds_ops::BFloat16 brain{static_cast<std::uint16_t>(bits)};
    const bool half_nan = (bits & 0x7fffU) > 0x7c00U;
    const bool brain_nan = (bits & 0x7fffU) > 0x7f80U;
    CHECK_FALSE(std::isnan(ds_ops::widen(half)) != half_nan);
    CHECK_FALSE(std::isnan(ds_ops::widen(brain)) != brain_nan);
    ds_ops::narrow(ds_ops::widen(half), half);
    ds_ops::narrow(ds_ops::widen(brain), brain);
    CHECK_FALSE(half.bits != (half_nan ? bits | 0x200U : bits));
    CHECK_FALSE(brain.bits != (brain_nan ? bits | 0x40U : bits));
  }
}

TEST_CASE("scalar: sizes") {
  CHECK(ds_ops::element_size(DS_OPS_FLOAT64) == 8);
  CHECK(ds_ops::element_size(DS_OPS_BFLOAT16) == 2);
  CHECK(ds_ops::element_size(9) == 0);
  CHECK(sizeof(ds_ops::Vector<ds_ops::Float16, 8>) == 16);
  CHECK(ds_ops::vector_width<float> == 4);
}
