// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "cpu_block.h"
#include "ds_ops/check.h"

using ds_ops::CpuBlock;

TEST_CASE("block: a phase sees what the one before wrote, for all threads") {
  std::vector<int> shared(64);
  std::vector<int> right(64);
  ds_ops::run_on_cpu<64>(3, [&](auto& block) {
    block.each([&](int t) { shared[static_cast<std::size_t>(t)] = t; });
    block.each([&](int t) {
      right[static_cast<std::size_t>(t)] = shared[static_cast<std::size_t>((t + 1) % 64)];
    });
    CHECK(right[63] == 0);
    CHECK(right[5] == 6);
    CHECK(block.count() == 3);
  });
}

TEST_CASE("block: a body that lacks a barrier is found out") {
  std::vector<int> line(32, 1);
  bool differs = false;
  for (int run = 0; run < 2; ++run) {
    CpuBlock<32> block(0, 1);
    for (int skip = 0; skip < run; ++skip) {
      block.each([](int) {});
    }
    std::vector<int> sums(32, 1);
    block.each([&](int t) {
      if (t > 0) {
        sums[static_cast<std::size_t>(t)] += sums[static_cast<std::size_t>(t - 1)];
      }
    });
    differs = differs || sums != line;
    line = sums;
  }
  CHECK(differs);
}

TEST_CASE("block: reductions over one and over many warps") {
  CpuBlock<32> one(0, 1);
  CpuBlock<256> many(0, 1);
  CpuBlock<32>::Each<float> few;
  CpuBlock<256>::Each<float> values;
  one.each([&](int t) { few[t] = static_cast<float>(t); });
  many.each([&](int t) { values[t] = static_cast<float>(t % 100); });
  CHECK(one.reduce(few, ds_ops::Add()) == 496.0F);
  CHECK(many.reduce(values, ds_ops::Largest()) == 99.0F);
  CHECK(many.reduce(values, ds_ops::Smallest()) == 0.0F);
  CHECK(many.reduce(values, ds_ops::Add()) == 2 * 4950.0F + 55 * 56 / 2.0F);
  values[77] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(many.reduce(values, ds_ops::Largest())));
  CHECK(std::isnan(many.reduce(values, ds_ops::Smallest())));
}

TEST_CASE("check: spans") {
  float line[8] = {};
  using ds_ops::Span;
  CHECK(ds_ops::check_span(Span{nullptr, 0, 4, false}) == DS_OPS_OK);
  CHECK(ds_ops::check_span(Span{nullptr, 1, 4, false}) == DS_OPS_NULL_POINTER);
  CHECK(ds_ops::check_span(Span{line, -1, 4, false}) == DS_OPS_BAD_SIZE);
  CHECK(ds_ops::check_span(Span{line, INT64_MAX / 4, 4, false}) == DS_OPS_OK);
  CHECK(ds_ops::check_span(Span{line, INT64_MAX / 4 + 1, 4, false}) == DS_OPS_BAD_SIZE);
  CHECK(ds_ops::check_span(Span{reinterpret_cast<char*>(line) + 1, 1, 4, false}) ==
        DS_OPS_MISALIGNED);
  CHECK(ds_ops::check_span(Span{reinterpret_cast<void*>(UINTPTR_MAX - 7), 4, 4, false}) ==
        DS_OPS_BAD_SIZE);
  CHECK(ds_ops::check_spans({Span{line, 4, 4, true}, Span{line + 4, 4, 4, true}}) == DS_OPS_OK);
  CHECK(ds_ops::check_spans({Span{line, 5, 4, false}, Span{line + 4, 4, 4, true}}) ==
        DS_OPS_OVERLAP);
  CHECK(ds_ops::check_spans({Span{line, 5, 4, false}, Span{line + 4, 4, 4, false}}) == DS_OPS_OK);
  CHECK(ds_ops::check_spans({Span{line, 5, 4, false}, Span{line + 4, 0, 4, true}}) == DS_OPS_OK);
}
