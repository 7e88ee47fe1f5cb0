// SPDX-License-Identifier: Apache-2.0
//
// Random arguments, right and wrong, at what stands behind the C border: an error code, or the
// right result on arrays of exactly the size.
#include <doctest/doctest.h>

#include <limits>

#include "lamb_case.h"

namespace {

using Case = ds_ops::LambCase<float, ds_ops::Float16, float, true>;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// Spoils one array in the way that `kind` says; the code that is due.
int spoil_arrays(unsigned kind, Case& given, ds_ops_lamb_arrays& arrays) {
  switch (kind) {
    case 0:
      given.columns[4][0] = nullptr;
      return DS_OPS_NULL_POINTER;
    case 1:
      given.columns[0][0] = static_cast<char*>(given.columns[0][0]) + 1;
      return DS_OPS_MISALIGNED;
    case 2:
      given.columns[2][0] = static_cast<char*>(given.columns[3][0]) + 4;
      return DS_OPS_OVERLAP;
    case 3:
      arrays.exp_avg = nullptr;
      return DS_OPS_NULL_POINTER;
    case 4:
      arrays.sizes = nullptr;
      return DS_OPS_NULL_POINTER;
    case 5:
      given.sizes[0] = -given.sizes[0];
      return DS_OPS_BAD_SIZE;
    case 6:
      given.sizes[0] = std::numeric_limits<std::int64_t>::max();
      return DS_OPS_BAD_SIZE;
    case 7:
      arrays.count = -1;
      return DS_OPS_BAD_SIZE;
    case 8:
      arrays.grad_dtype = 4;
      return DS_OPS_BAD_DTYPE;
    case 9:
      arrays.grad_dtype = DS_OPS_FLOAT64;
      return DS_OPS_BAD_DTYPE_PAIR;
    case 10:
      arrays.copy_dtype = DS_OPS_FLOAT32;
      return DS_OPS_BAD_DTYPE_PAIR;
    case 11:
      --arrays.workspace_bytes;
      return DS_OPS_SMALL_WORKSPACE;
    case 12:
      arrays.workspace = nullptr;
      return DS_OPS_NULL_POINTER;
    case 13:
      arrays.workspace = given.params[0].data();
      return DS_OPS_OVERLAP;
    case 14:
      arrays.trust_ratios = static_cast<float*>(arrays.workspace);
      return DS_OPS_OVERLAP;
    case 15:
      arrays.trust_ratios = reinterpret_cast<float*>(given.copy[0].data());
      return DS_OPS_OVERLAP;
    default:
      return DS_OPS_OK;
  }
}

int spoil_options(unsigned kind, ds_ops_lamb_options& options) {
  switch (kind) {
    case 16:
      options.step = 0;
      return DS_OPS_BAD_STEP;
    case 17:
      options.lr = nan;
      return DS_OPS_BAD_LR;
    case 18:
      options.beta1 = -0.1;
      return DS_OPS_BAD_BETAS;
    case 19:
      options.max_coeff = options.min_coeff / 2;
      return DS_OPS_BAD_COEFFICIENTS;
    case 20:
      options.min_coeff = nan;
      return DS_OPS_BAD_COEFFICIENTS;
    case 21:
      options.grad_scale = 0;
      return DS_OPS_BAD_GRAD_SCALE;
    case 22:
      options.correction = 3;
      return DS_OPS_BAD_CORRECTION;
    default:
      return DS_OPS_OK;
  }
}

}  // namespace

TEST_CASE("fused_lamb: random arguments give an error or the right result") {
  std::mt19937 random(11);
  for (int run = 0; run < 2000; ++run) {
    std::vector<std::size_t> counts(1 + random() % 8);
    for (std::size_t& count : counts) {
      count = random() % 3 == 0 ? random() % 4 : random() % 150;
    }
    counts[0] += 2;
    const std::size_t skip = random() % 3 * 2;  // the copy, made float, is aligned
    const std::size_t skip_grads = random() % 2 == 0 ? skip : 0;
    const auto seed = static_cast<unsigned>(run);
    Case given(counts, skip_grads, skip, seed);
    const Case before(counts, skip_grads, skip, seed);
    ds_ops_lamb_options options{1e-2,
                                0.9,
                                0.99,
                                1e-8,
                                random() % 2 * 0.1,
                                0.01,
                                10,
                                1.0,
                                static_cast<std::int64_t>(1 + random() % 50),
                                static_cast<std::int32_t>(random() % 3),
                                static_cast<std::int32_t>(random() % 2)};
    const std::int32_t chunk = static_cast<std::int32_t>(random() % 3 * 32);
    ds_ops_lamb_arrays arrays = given.arrays(chunk);
    const unsigned kind = random() % 32;
    const int due = kind < 16 ? spoil_arrays(kind, given, arrays) : spoil_options(kind, options);
    const int code = Case::run_arrays(&arrays, &options, {}, chunk);
    CHECK(code == due);
    for (std::size_t tensor = 0; tensor < counts.size(); ++tensor) {
      if (code != DS_OPS_OK) {
        CHECK(given.params[tensor].values() == before.params[tensor].values());
      } else {
        before.check_tensor(given, tensor, options, 1.0,
                            chunk == 0 ? ds_ops::smallest_chunk : chunk);
      }
    }
  }
}

TEST_CASE("fused_lamb: the workspace") {
  const std::vector<std::int64_t> sizes{0, 1, 4097, std::int64_t{1} << 40};
  std::int64_t bytes = -1;
  CHECK(ds_ops::lamb_workspace_size(3, sizes.data(), DS_OPS_FLOAT32, 0, &bytes) == DS_OPS_OK);
  CHECK(bytes == 4 * 8);
  CHECK(ds_ops::lamb_workspace_size(3, sizes.data(), DS_OPS_FLOAT64, 16, &bytes) == DS_OPS_OK);
  CHECK(bytes == (1 + 1 + 257) * 16);
  CHECK(ds_ops::lamb_workspace_size(4, sizes.data(), DS_OPS_BFLOAT16, 0, &bytes) == DS_OPS_OK);
  CHECK(bytes <= (3 + 2048) * 8);
  CHECK(ds_ops::lamb_workspace_size(0, nullptr, DS_OPS_FLOAT32, 0, &bytes) == DS_OPS_OK);
  CHECK(bytes == 0);
  CHECK(ds_ops::lamb_workspace_size(4, sizes.data(), DS_OPS_FLOAT32, 16, &bytes) ==
        DS_OPS_BAD_SIZE);
  CHECK(ds_ops::lamb_workspace_size(-1, sizes.data(), 0, 0, &bytes) == DS_OPS_BAD_SIZE);
  CHECK(ds_ops::lamb_workspace_size(1, nullptr, 0, 0, &bytes) == DS_OPS_NULL_POINTER);
  CHECK(ds_ops::lamb_workspace_size(1, sizes.data(), 0, 0, nullptr) == DS_OPS_NULL_POINTER);
  CHECK(ds_ops::lamb_workspace_size(1, sizes.data(), 9, 0, &bytes) == DS_OPS_BAD_DTYPE);
  CHECK(ds_ops::lamb_workspace_size(1, sizes.data(), 0, -1, &bytes) == DS_OPS_BAD_CHUNK_SIZE);
}
