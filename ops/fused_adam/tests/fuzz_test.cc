// SPDX-License-Identifier: Apache-2.0
//
// Random arguments, right and wrong, at what stands behind the C border: an error code, or the
// right result on arrays of exactly the size.
#include <doctest/doctest.h>

#include <limits>

#include "adam_case.h"

using ds_ops::AdamCase;
using ds_ops::AdamLists;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Spoils one argument in the way that `kind` says; the code that is due.
int spoil(unsigned kind, std::vector<void*> (&columns)[4], std::vector<std::int64_t>& sizes,
          AdamLists& lists, ds_ops_adam_options& options, std::int32_t& dtype,
          std::int32_t& chunk) {
  char*& some = reinterpret_cast<char*&>(columns[kind % 4][0]);
  switch (kind) {
    case 0:
      some = nullptr;
      return DS_OPS_NULL_POINTER;
    case 1:
      ++some;
      return DS_OPS_MISALIGNED;
    case 2:
      some = static_cast<char*>(columns[3][0]) + 4;
      return DS_OPS_OVERLAP;
    case 3:
      lists.columns[kind % 4] = nullptr;
      return DS_OPS_NULL_POINTER;
    case 4:
      lists.sizes = nullptr;
      return DS_OPS_NULL_POINTER;
    case 5:
      sizes[0] = -sizes[0];
      return DS_OPS_BAD_SIZE;
    case 6:
      sizes[0] = std::numeric_limits<std::int64_t>::max();
      return DS_OPS_BAD_SIZE;
    case 7:
      lists.count = -1;
      return DS_OPS_BAD_SIZE;
    case 8:
      dtype = 4;
      return DS_OPS_BAD_DTYPE;
    case 9:
      chunk = -1;
      return DS_OPS_BAD_CHUNK_SIZE;
    case 10:
      options.step = 0;
      return DS_OPS_BAD_STEP;
    case 11:
      options.lr = nan;
      return DS_OPS_BAD_LR;
    case 12:
      options.beta2 = 1;
      return DS_OPS_BAD_BETAS;
    case 13:
      options.eps = -1;
      return DS_OPS_BAD_EPS;
    case 14:
      options.weight_decay = nan;
      return DS_OPS_BAD_WEIGHT_DECAY;
    case 15:
      options.mode = 2;
      return DS_OPS_BAD_MODE;
    default:
      return DS_OPS_OK;
  }
}

}  // namespace

TEST_CASE("fused_adam: random arguments give an error or the right result") {
  std::mt19937 random(11);
  for (int run = 0; run < 2000; ++run) {
    std::vector<std::size_t> counts(1 + random() % 8);
    for (std::size_t& count : counts) {
      count = random() % 3 == 0 ? random() % 4 : random() % 150;
    }
    counts[0] += 2;
    const std::size_t skip = random() % 5;
    const std::size_t skip_grads = random() % 2 == 0 ? skip : 0;
    const auto seed = static_cast<unsigned>(run);
    AdamCase<float, float> given(counts, skip_grads, skip, seed);
    const AdamCase<float, float> before(counts, skip_grads, skip, seed);
    ds_ops_adam_options options{1e-2,
                                0.9,
                                0.99,
                                1e-8,
                                random() % 2 * 0.1,
                                static_cast<std::int64_t>(1 + random() % 50),
                                static_cast<std::int32_t>(random() % 2),
                                1};
    std::int32_t chunk = static_cast<std::int32_t>(random() % 3 * 24);
    std::int32_t dtype = DS_OPS_FLOAT32;
    std::vector<void*> columns[4] = {given.addresses(given.grads), given.addresses(given.params),
                                     given.addresses(given.exp_avg),
                                     given.addresses(given.exp_avg_sq)};
    std::vector<std::int64_t> sizes = given.sizes;
    AdamLists lists{
        static_cast<std::int64_t>(sizes.size()),
        {columns[0].data(), columns[1].data(), columns[2].data(), columns[3].data(), nullptr},
        sizes.data()};
    const int due = spoil(random() % 24, columns, sizes, lists, options, dtype, chunk);
    const int code = AdamCase<float, float>::run_lists(lists, dtype, &options, {}, chunk);
    CHECK(code == due);
    for (std::size_t tensor = 0; tensor < counts.size(); ++tensor) {
      if (code != DS_OPS_OK) {
        CHECK(given.params[tensor].values() == before.params[tensor].values());
      }
      for (std::size_t i = 0; code == DS_OPS_OK && i < counts[tensor]; ++i) {
        before.check_element(given, tensor, i, options, 1.0);
      }
    }
  }
}
