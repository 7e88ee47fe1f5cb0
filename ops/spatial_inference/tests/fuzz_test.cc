// SPDX-License-Identifier: Apache-2.0
//
// Random arguments at the C border, under the sanitizers: an error and nothing written, or the
// right result. Every array ends where its memory ends.
#include <doctest/doctest.h>

#include <array>

#include "addition_case.h"
#include "spatial_inference.h"

using ds_ops::Addition;
using ds_ops::BFloat16;
using ds_ops::BiasAddCall;
using ds_ops::Case;
using ds_ops::Float16;

namespace {

int run(const BiasAddCall& call) {
  return ds_ops_spatial_inference_bias_add_cpu(call.out, call.activation, call.bias, call.other,
                                               call.other_bias, call.rows, call.channels,
                                               call.dtype);
}

/// Makes one argument wrong; the code that this must give.
int spoil(BiasAddCall& call, std::mt19937& random, std::int64_t width) {
  const auto shifted = [&](const void* pointer, std::int64_t bytes) {
    return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(pointer) +
                                   static_cast<std::uintptr_t>(bytes));
  };
  switch (random() % 11) {
    case 0:
      call.rows = -1 - static_cast<std::int64_t>(random());
      return DS_OPS_BAD_SIZE;
    case 1:
      call.channels = INT64_MIN + static_cast<std::int64_t>(random());
      return DS_OPS_BAD_SIZE;
    case 2:
      call.rows = INT64_MAX / width / call.channels + 1;
      return DS_OPS_BAD_SIZE;
    case 3:
      call.dtype = std::array{-1, 3, 4, INT32_MAX}[random() % 4];
      return DS_OPS_BAD_DTYPE;
    case 4:
      call.out = nullptr;
      return DS_OPS_NULL_POINTER;
    case 5:
      call.activation = nullptr;
      return DS_OPS_NULL_POINTER;
    case 6:
      call.bias = nullptr;
      return DS_OPS_NULL_POINTER;
    case 7:
      call.other = nullptr;
      call.other_bias = call.bias;
      return DS_OPS_BIAS_WITHOUT_OTHER;
    case 8:
      call.bias = shifted(call.bias, 1);
      return DS_OPS_MISALIGNED;
    case 9:
      call.bias = shifted(call.out, (call.rows * call.channels - 1) * width);
      return DS_OPS_OVERLAP;
    default:
      // Not the array itself, which would be in place.
      call.activation = shifted(call.out, -width);
      return call.rows * call.channels > 1 ? DS_OPS_OVERLAP : DS_OPS_OK;
  }
}

}  // namespace

TEST_CASE_TEMPLATE("spatial_inference: wrong calls are refused, right ones are right", Element,
                   float, Float16, BFloat16) {
  std::mt19937 random(4);
  for (int round = 0; round < 3000; ++round) {
    Case<Element> c(1 + random() % 9, 1 + random() % 40, random() % 3,
                    static_cast<Addition>(random() % 3), random);
    BiasAddCall call = c.call(ds_ops::dtype_of<Element>);
    const std::vector<Element> before(c.out.data(), c.out.data() + c.out.size());
    const int expected = spoil(call, random, sizeof(Element));
    if (expected != DS_OPS_OK) {
      REQUIRE(run(call) == expected);
      REQUIRE(c.is(before));
    }
    REQUIRE(run(c.call(ds_ops::dtype_of<Element>)) == DS_OPS_OK);
    REQUIRE(c.is(c.right()));
  }
}

TEST_CASE("spatial_inference: in place, and onto the other") {
  std::mt19937 random(5);
  for (bool onto_other : {false, true}) {
    Case<Float16> c(9, 13, 0, Addition::bias_other_bias, random);
    const std::vector<Float16> right = c.right();
    BiasAddCall call = c.call(DS_OPS_FLOAT16);
    call.out = onto_other ? c.o.data() : c.x.data();
    CHECK(run(call) == DS_OPS_OK);
    c.out = onto_other ? c.o : c.x;
    CHECK(c.is(right));
  }
}

TEST_CASE("spatial_inference: without elements no pointer is looked at") {
  const BiasAddCall call{};
  CHECK(run(call) == DS_OPS_OK);
  CHECK(ds_ops_spatial_inference_bias_add_cpu(nullptr, nullptr, nullptr, nullptr, nullptr, 7, 0,
                                              DS_OPS_FLOAT16) == DS_OPS_OK);
  CHECK(ds_ops_spatial_inference_bias_add_cpu(nullptr, nullptr, nullptr, nullptr, nullptr,
                                              INT64_MAX, 0, DS_OPS_FLOAT16) == DS_OPS_OK);
}
