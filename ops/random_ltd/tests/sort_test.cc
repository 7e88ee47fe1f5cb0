// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "cpu_block.h"
#include "random_ltd.h"
#include "sort_body.h"

namespace {

using Indices = std::vector<std::int32_t>;

/// `rows` rows of `kept` distinct indices below `tokens`.
Indices choose(int rows, int kept, int tokens, std::mt19937& random) {
  Indices all(static_cast<std::size_t>(tokens));
  std::iota(all.begin(), all.end(), 0);
  Indices chosen;
  for (int i = 0; i < rows; ++i) {
    std::shuffle(all.begin(), all.end(), random);
    chosen.insert(chosen.end(), all.begin(), all.begin() + kept);
  }
  return chosen;
}

Indices sorted(Indices indices, int kept) {
  for (auto row = indices.begin(); row != indices.end(); row += kept) {
    std::sort(row, row + kept);
  }
  return indices;
}

/// The kernel's body; the status that it leaves.
template <int Words, int Threads>
std::int32_t run(Indices& indices, int kept, std::int64_t tokens, long long blocks) {
  auto memory = std::make_unique<ds_ops::SortMemory<Words, Threads>>();
  std::int32_t status = 0;
  const std::int64_t rows = static_cast<std::int64_t>(indices.size()) / kept;
  ds_ops::run_on_cpu<Threads>(blocks, [&](auto& block) {
    ds_ops::sort_body(block, indices.data(), rows, kept, tokens, &status, *memory);
  });
  return status;
}

}  // namespace

TEST_CASE("random_ltd: the sort's body sorts any length, in one tile and in many") {
  std::mt19937 random(1);
  for (int tokens : {1, 2, 31, 32, 33, 100, 127, 128, 129, 255, 256, 300, 1000}) {
    for (int part : {1, 2, 3, 5}) {
      const int kept = std::max(1, tokens / part);
      const Indices chosen = choose(3, kept, tokens, random);
      const Indices right = sorted(chosen, kept);
      for (long long blocks : {1, 2, 3}) {
        Indices indices = chosen;
        CHECK(run<4, 32>(indices, kept, tokens, blocks) == 0);
        CHECK(indices == right);
      }
      Indices on_cpu = chosen;
      CHECK(ds_ops_random_ltd_sort_cpu(on_cpu.data(), 3, kept, tokens) == DS_OPS_OK);
      CHECK(on_cpu == right);
    }
  }
}

TEST_CASE("random_ltd: the sort's body with the sizes of the kernel") {
  std::mt19937 random(2);
  constexpr int most = 8192 * 32;
  for (int tokens : {512, 2051, most, most + 1}) {
    for (int kept : {1, 511, 512}) {
      Indices indices = choose(1, kept, tokens, random);
      const Indices right = sorted(indices, kept);
      CHECK(run<8192, 512>(indices, kept, tokens, 1) == 0);
      CHECK(indices == right);
    }
  }
  // The number of tokens may be any; indices end at 2^31.
  Indices far{INT32_MAX, 0, 5};
  CHECK(ds_ops_random_ltd_sort_cpu(far.data(), 1, 3, INT64_MAX) == DS_OPS_OK);
  CHECK(far == Indices{0, 5, INT32_MAX});
}

TEST_CASE("random_ltd: a row with a wrong index stays, the others are sorted") {
  std::mt19937 random(3);
  for (int tokens : {100, 400}) {
    for (std::int32_t wrong : {-1, tokens, INT32_MAX, INT32_MIN}) {
      constexpr int kept = 50;
      Indices indices = choose(4, kept, tokens, random);
      indices[kept + 7] = wrong;
      indices[2 * kept + 9] = indices[2 * kept + 33];
      Indices right = sorted(indices, kept);
      std::copy_n(indices.begin() + kept, 2 * kept, right.begin() + kept);
      Indices on_cpu = indices;
      CHECK(ds_ops_random_ltd_sort_cpu(on_cpu.data(), 4, kept, tokens) == DS_OPS_BAD_INDEX);
      CHECK(on_cpu == indices);
      CHECK(ds_ops_random_ltd_sort_cpu(on_cpu.data() + 2 * kept, 2, kept, tokens) ==
            DS_OPS_SAME_INDEX);
      CHECK(on_cpu == indices);
      const std::int32_t both = DS_OPS_RANDOM_LTD_BAD_INDEX | DS_OPS_RANDOM_LTD_SAME_INDEX;
      CHECK(run<4, 32>(indices, kept, tokens, 2) == both);
      CHECK(indices == right);
    }
  }
}

TEST_CASE("random_ltd: the sort refuses what cannot be, and writes nothing") {
  Indices indices{2, 1, 0};
  const auto sort = [&](void* at, std::int64_t rows, std::int64_t kept, std::int64_t tokens) {
    return ds_ops_random_ltd_sort_cpu(static_cast<std::int32_t*>(at), rows, kept, tokens);
  };
  CHECK(sort(indices.data(), 1, 3, 2) == DS_OPS_TOO_MANY_TOKENS);
  CHECK(sort(indices.data(), -1, 3, 3) == DS_OPS_BAD_SIZE);
  CHECK(sort(indices.data(), 1, -3, 3) == DS_OPS_BAD_SIZE);
  CHECK(sort(indices.data(), 1, 3, -3) == DS_OPS_BAD_SIZE);
  CHECK(sort(indices.data(), INT64_MAX / 2, 3, 3) == DS_OPS_BAD_SIZE);
  CHECK(sort(indices.data(), INT64_MAX / 8, 3, 3) == DS_OPS_BAD_SIZE);
  CHECK(sort(nullptr, 1, 3, 3) == DS_OPS_NULL_POINTER);
  CHECK(sort(reinterpret_cast<char*>(indices.data()) + 2, 1, 2, 3) == DS_OPS_MISALIGNED);
  CHECK(sort(nullptr, 0, 3, 3) == DS_OPS_OK);
  CHECK(sort(nullptr, 3, 0, 0) == DS_OPS_OK);
  CHECK(indices == Indices{2, 1, 0});
}
