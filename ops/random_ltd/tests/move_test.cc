// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "cpu_block.h"
#include "move_body.h"
#include "token_case.h"

using ds_ops::Bytes;
using ds_ops::MaskCase;
using ds_ops::TokenCase;

namespace {

constexpr int threads = 32;

/// The body in units of `size` bytes, with so many blocks; the status that it leaves.
template <bool scatter>
std::int32_t run(const TokenCase& c, int size, long long blocks) {
  std::int32_t status = 0;
  ds_ops::with_unit(size, [&](auto unit) {
    const auto move = ds_ops::make_move<scatter, decltype(unit)>(c.call, threads, &status);
    ds_ops::run_on_cpu<threads>(blocks,
                                [&](auto& block) { ds_ops::move_body<scatter>(block, move); });
    return 0;
  });
  return status;
}

/// Every unit that the call allows.
template <bool scatter>
void check(const TokenCase& given, std::int32_t status) {
  const Bytes right = given.right(scatter);
  for (int size = ds_ops::unit_size(given.call); size >= given.call.element_size; size /= 2) {
    for (long long blocks : {1, 3, 200}) {
      TokenCase c = given;
      c.call.all = c.all.data() + c.offset;
      c.call.part = c.part.data() + c.offset;
      c.call.indices = given.call.indices == nullptr ? nullptr : c.indices.data();
      REQUIRE(run<scatter>(c, size, blocks) == status);
      REQUIRE((scatter ? c.all : c.part) == right);
      REQUIRE((scatter ? c.part : c.all) == (scatter ? given.part : given.all));
    }
  }
}

}  // namespace

TEST_CASE("random_ltd: the bodies of gather and scatter move the right bytes") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    TokenCase c = ds_ops::random_case(random);
    check<false>(c, 0);
    check<true>(c, 0);
    if (c.call.kept <= c.call.tokens) {
      c.call.indices = nullptr;
      check<false>(c, 0);
      check<true>(c, 0);
    }
  }
}

TEST_CASE("random_ltd: where an index is wrong, zeros are gathered and nothing is scattered") {
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    TokenCase c = ds_ops::random_case(random);
    for (std::int32_t wrong : {-1, static_cast<std::int32_t>(c.call.tokens), INT32_MIN}) {
      c.indices[random() % c.indices.size()] = wrong;
      c.point();
      check<false>(c, DS_OPS_RANDOM_LTD_BAD_INDEX);
      check<true>(c, DS_OPS_RANDOM_LTD_BAD_INDEX);
    }
  }
}

TEST_CASE("random_ltd: 16 bytes at once where addresses and strides allow it") {
  std::mt19937 random(3);
  const auto unit = [&](std::int64_t channels, std::int64_t element_size, std::int64_t before) {
    return ds_ops::unit_size(TokenCase(random, 2, 5, 3, channels, element_size, before).call);
  };
  CHECK(unit(8, 2, 0) == 16);
  CHECK(unit(8, 2, 1) == 2);
  CHECK(unit(4, 2, 0) == 8);
  CHECK(unit(7, 2, 0) == 2);
  CHECK(unit(16, 1, 0) == 16);
  CHECK(unit(3, 1, 0) == 1);
  CHECK(unit(1, 16, 0) == 16);
  // The stride of an axis of length 1 plays no part.
  TokenCase one(random, 1, 1, 1, 4, 4, 0);
  one.call.all_batch_stride = one.call.part_token_stride = 1;
  CHECK(ds_ops::unit_size(one.call) == 16);
  check<false>(one, 0);
}

TEST_CASE("random_ltd: the body of the mask gather takes each layer's own indices") {
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    MaskCase c(random);
    std::int32_t expected = 0;
    if (round % 4 == 0) {
      c.indices[random() % c.indices.size()] =
          round % 8 == 0 ? -1 : static_cast<std::int32_t>(c.call.tokens);
      expected = DS_OPS_RANDOM_LTD_BAD_INDEX;
    }
    for (long long blocks : {1, 7, 500}) {
      std::fill(c.out.begin(), c.out.end(), 0xee);
      std::int32_t status = 0;
      ds_ops::with_unit(static_cast<int>(c.call.element_size), [&](auto unit) {
        ds_ops::run_on_cpu<threads>(blocks, [&](auto& block) {
          ds_ops::mask_body<decltype(unit)>(block, c.call, &status);
        });
        return 0;
      });
      REQUIRE(status == expected);
      REQUIRE(c.out == c.right());
    }
  }
}
