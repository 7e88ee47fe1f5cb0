// SPDX-License-Identifier: Apache-2.0
//
// Random arguments at the C border, under the sanitizers: an error and nothing written, or the
// right result. Every array ends where its memory ends.
#include <doctest/doctest.h>

#include "token_case.h"

using ds_ops::Bytes;
using ds_ops::MaskCase;
using ds_ops::pick;
using ds_ops::TokenCase;

namespace {

int run(const ds_ops_random_ltd_tokens& call, bool scatter) {
  return scatter ? ds_ops_random_ltd_scatter_cpu(&call) : ds_ops_random_ltd_gather_cpu(&call);
}

/// Makes one argument wrong; the code that this must give.
int spoil(TokenCase& c, bool scatter, std::mt19937& random) {
  ds_ops_random_ltd_tokens& call = c.call;
  std::int64_t* sizes[] = {&call.batch, &call.tokens, &call.kept, &call.channels};
  std::int64_t* strides[] = {&call.all_batch_stride, &call.all_token_stride,
                             &call.part_batch_stride, &call.part_token_stride};
  switch (random() % 9) {
    case 0:
      *sizes[random() % 4] = -1 - pick(random, INT64_MAX);
      return DS_OPS_BAD_SIZE;
    case 1:
      *strides[random() % 4] = -1 - pick(random, INT64_MAX);
      return DS_OPS_BAD_STRIDE;
    case 2:
      call.channels = INT64_MAX - pick(random, 2);
      return call.batch * call.kept > 2 ? DS_OPS_BAD_SIZE : -1;
    case 3:
      call.element_size = std::int64_t{3} + 4 * pick(random, 100);
      return DS_OPS_BAD_ELEMENT_SIZE;
    case 4:
      (random() % 2 == 0 ? call.all : call.part) = nullptr;
      return DS_OPS_NULL_POINTER;
    case 5:
      call.indices = reinterpret_cast<const std::int32_t*>(
          reinterpret_cast<std::uintptr_t>(call.indices) + 1 + random() % 3);
      return DS_OPS_MISALIGNED;
    case 6:
      call.all = call.part;
      return DS_OPS_OVERLAP;
    case 7:
      c.indices[random() % c.indices.size()] =
          random() % 2 == 0
              ? -1 - static_cast<std::int32_t>(pick(random, INT32_MAX))
              : static_cast<std::int32_t>(call.tokens + pick(random, INT32_MAX - call.tokens));
      return DS_OPS_BAD_INDEX;
    default:
      if (call.kept > 1) {
        c.indices[1] = c.indices[0];
      }
      return scatter && call.kept > 1 ? DS_OPS_SAME_INDEX : DS_OPS_OK;
  }
}

}  // namespace

TEST_CASE("random_ltd: gather and scatter at the border") {
  std::mt19937 random(5);
  for (int round = 0; round < 6000; ++round) {
    const bool scatter = round % 2 == 0;
    TokenCase c = ds_ops::random_case(random);
    const ds_ops_random_ltd_tokens good = c.call;
    REQUIRE(run(good, scatter) == DS_OPS_OK);
    // Again, for the array that was written has changed nothing of what is read.
    REQUIRE((scatter ? c.all : c.part) == c.right(scatter));
    const Bytes all = c.all;
    const Bytes part = c.part;
    const int expected = spoil(c, scatter, random);
    if (expected == DS_OPS_OK) {
      REQUIRE(run(c.call, scatter) == DS_OPS_OK);
      REQUIRE((scatter ? c.all : c.part) == c.right(scatter));
    } else if (expected > 0) {
      REQUIRE(run(c.call, scatter) == expected);
      REQUIRE(c.all == all);
      REQUIRE(c.part == part);
    }
  }
}

TEST_CASE("random_ltd: strides that let written tokens share memory are refused") {
  std::mt19937 random(6);
  TokenCase c(random, 3, 5, 4, 7, 4, 0);
  const ds_ops_random_ltd_tokens good = c.call;
  for (std::int64_t ds_ops_random_ltd_tokens::*stride :
       {&ds_ops_random_ltd_tokens::all_batch_stride, &ds_ops_random_ltd_tokens::all_token_stride}) {
    c.call = good;
    c.call.*stride = 6;
    CHECK(run(c.call, true) == DS_OPS_BAD_STRIDE);
    // What is only read may lie so.
    CHECK(run(c.call, false) == DS_OPS_OK);
  }
  c.call = good;
  c.call.indices = nullptr;
  c.call.kept = 6;
  CHECK(run(c.call, false) == DS_OPS_TOO_MANY_TOKENS);
  CHECK(ds_ops_random_ltd_gather_cpu(nullptr) == DS_OPS_NULL_POINTER);
  CHECK(ds_ops_random_ltd_scatter_cpu(nullptr) == DS_OPS_NULL_POINTER);
}

TEST_CASE("random_ltd: without elements no pointer is looked at") {
  for (std::int64_t ds_ops_random_ltd_tokens::*size :
       {&ds_ops_random_ltd_tokens::batch, &ds_ops_random_ltd_tokens::kept,
        &ds_ops_random_ltd_tokens::channels}) {
    ds_ops_random_ltd_tokens call = {};
    call.batch = call.tokens = call.kept = call.channels = call.element_size = 4;
    call.all_token_stride = call.part_token_stride = 4;
    call.all_batch_stride = call.part_batch_stride = 16;
    call.*size = 0;
    CHECK(run(call, false) == DS_OPS_OK);
    CHECK(run(call, true) == DS_OPS_OK);
  }
  // There is no token that an index could name.
  std::int32_t index = 0;
  float part = 1;
  ds_ops_random_ltd_tokens call = {nullptr, 0, 0, &part, 0, 0, &index, 1, 0, 1, 1, 4};
  CHECK(run(call, false) == DS_OPS_BAD_INDEX);
  CHECK(run(call, true) == DS_OPS_BAD_INDEX);
  CHECK(part == 1);
}

TEST_CASE("random_ltd: the mask gather at the border") {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    MaskCase c(random);
    REQUIRE(ds_ops_random_ltd_mask_cpu(&c.call) == DS_OPS_OK);
    REQUIRE(c.out == c.right());
    const Bytes before = c.out;
    ds_ops_random_ltd_masks& call = c.call;
    std::int64_t* sizes[] = {&call.layers, &call.batch, &call.tokens, &call.kept};
    int expected = DS_OPS_BAD_SIZE;
    switch (random() % 6) {
      case 0:
        *sizes[random() % 4] = -1 - pick(random, INT64_MAX);
        break;
      case 1:
        *sizes[2 + random() % 2] = INT64_MAX - pick(random, 1000);
        break;
      case 2:
        call.mask = nullptr;
        expected = DS_OPS_NULL_POINTER;
        break;
      case 3:
        call.mask = call.out;
        expected = DS_OPS_OVERLAP;
        break;
      case 4:
        call.element_size = 0;
        expected = DS_OPS_BAD_ELEMENT_SIZE;
        break;
      default:
        c.indices[random() % c.indices.size()] = random() % 2 == 0 ? -1 : INT32_MAX;
        expected = DS_OPS_BAD_INDEX;
    }
    REQUIRE(ds_ops_random_ltd_mask_cpu(&call) == expected);
    REQUIRE(c.out == before);
  }
  CHECK(ds_ops_random_ltd_mask_cpu(nullptr) == DS_OPS_NULL_POINTER);
}
