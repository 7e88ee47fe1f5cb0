// SPDX-License-Identifier: Apache-2.0
#include "body.h"

#include <doctest/doctest.h>

#include "addition_case.h"
#include "cpu_block.h"
#include "spatial_inference.h"

using ds_ops::Access;
using ds_ops::Addition;
using ds_ops::BFloat16;
using ds_ops::BiasAdd;
using ds_ops::Case;
using ds_ops::Float16;

namespace {

constexpr int threads = 32;

/// Every access that these arrays allow, with as many blocks as the launch takes, and with one.
template <Access access, class Element, class Addends>
void run(Case<Element>& c, const BiasAdd<Element>& arguments, Addends addition,
         const std::vector<Element>& right) {
  for (long long blocks : {ds_ops::block_count<Element, access, threads>(arguments.size),
                           std::int64_t{1}, std::int64_t{3}}) {
    std::fill(c.out.data(), c.out.data() + c.out.size(), Element());
    ds_ops::run_on_cpu<threads>(blocks, [&](auto& block) {
      ds_ops::bias_add_body<decltype(addition)::value, access>(block, arguments);
    });
    CHECK(c.is(right));
  }
}

template <class Element>
int run_body(Case<Element>& c) {
  const std::vector<Element> right = c.right();
  return ds_ops::with_types(c.call(ds_ops::dtype_of<Element>), [&](auto arguments, auto addition) {
    if constexpr (std::is_same_v<decltype(arguments), BiasAdd<Element>>) {
      const Access widest = ds_ops::access_of(arguments);
      if (widest == Access::vectors) {
        run<Access::vectors>(c, arguments, addition, right);
      }
      if (widest != Access::elements) {
        run<Access::vectors_of_map>(c, arguments, addition, right);
      }
      run<Access::elements>(c, arguments, addition, right);
      return static_cast<int>(widest);
    } else {
      FAIL("another type");
      return -1;
    }
  });
}

}  // namespace

TEST_CASE_TEMPLATE("spatial_inference: the kernel's body gives the right bits", Element, float,
                   Float16, BFloat16) {
  std::mt19937 random(1);
  for (Addition addition : {Addition::bias, Addition::bias_other, Addition::bias_other_bias}) {
    for (std::size_t channels : {1, 2, 3, 7, 8, 16, 20, 24, 63, 64, 1000}) {
      for (std::size_t rows : {1, 2, 5, 8, 33}) {
        for (std::size_t offset : {0, 1}) {
          Case<Element> c(rows, channels, offset, addition, random);
          CAPTURE(channels);
          CAPTURE(rows);
          const int widest = run_body(c);
          const bool whole = channels % ds_ops::vector_width<Element> == 0;
          CHECK(widest == static_cast<int>(offset == 1 ? Access::elements
                                           : whole     ? Access::vectors
                                                       : Access::vectors_of_map));
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("spatial_inference: the CPU gives the right bits", Element, float, Float16,
                   BFloat16) {
  std::mt19937 random(2);
  for (Addition addition : {Addition::bias, Addition::bias_other, Addition::bias_other_bias}) {
    for (std::size_t channels : {1, 3, 8, 65, 200000}) {
      for (std::size_t rows : {0, 1, 3}) {
        Case<Element> c(rows, channels, channels % 2, addition, random);
        const ds_ops::BiasAddCall call = c.call(ds_ops::dtype_of<Element>);
        CHECK(ds_ops_spatial_inference_bias_add_cpu(call.out, call.activation, call.bias,
                                                    call.other, call.other_bias, call.rows,
                                                    call.channels, call.dtype) == DS_OPS_OK);
        CHECK(c.is(c.right()));
      }
    }
  }
}

TEST_CASE("spatial_inference: biases that are not aligned are read one by one") {
  std::mt19937 random(3);
  Case<float> c(4, 8, 0, Addition::bias_other_bias, random);
  ds_ops::Array<float> bias(8, 1);
  std::copy_n(c.ob.data(), 8, bias.data());
  c.ob = bias;
  CHECK(run_body(c) == static_cast<int>(Access::vectors_of_map));
}

TEST_CASE("spatial_inference: a launch of any size") {
  constexpr std::int64_t most = INT64_MAX / 4;
  CHECK(ds_ops::block_count<float, Access::elements, 256>(most) == INT32_MAX);
  CHECK(ds_ops::block_count<float, Access::vectors, 256>(1) == 1);
  CHECK(ds_ops::block_count<float, Access::vectors, 256>(2048) == 1);
  CHECK(ds_ops::block_count<float, Access::vectors, 256>(2049) == 2);
  // The last step of the loop over tiles does not overflow.
  constexpr std::int64_t stride = INT32_MAX * ds_ops::tile_size<Float16, Access::vectors, 256>;
  CHECK(INT64_MAX / 2 <= INT64_MAX - stride);
}
