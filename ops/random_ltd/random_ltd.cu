// SPDX-License-Identifier: Apache-2.0
//
// The kernels and their launches.
#include "checks.h"
#include "ds_ops/cuda_exports.h"
#include "ds_ops/find_device.h"
#include "move_body.h"
#include "random_ltd.h"
#include "sort_body.h"

namespace {

using ds_ops::GpuBlock;

constexpr int sort_threads = 512;
/// 32 KiB of the 48 that every GPU gives a block without being asked.
constexpr int sort_words = 8192;
constexpr int move_threads = 256;
constexpr int mask_threads = 128;

__global__ void __launch_bounds__(sort_threads)
    sort_kernel(int32_t* indices, int64_t rows, int64_t kept, int64_t tokens, int32_t* status) {
  __shared__ ds_ops::SortMemory<sort_words, sort_threads> memory;
  GpuBlock<sort_threads> block;
  ds_ops::sort_body(block, indices, rows, kept, tokens, status, memory);
}

template <bool scatter, class Unit>
__global__ void __launch_bounds__(move_threads)
    move_kernel(const __grid_constant__ ds_ops::Move<Unit> arguments) {
  GpuBlock<move_threads> block;
  ds_ops::move_body<scatter>(block, arguments);
}

template <class Unit>
__global__ void __launch_bounds__(mask_threads)
    mask_kernel(const __grid_constant__ ds_ops_random_ltd_masks arguments, int32_t* status) {
  GpuBlock<mask_threads> block;
  ds_ops::mask_body<Unit>(block, arguments, status);
}

/// A grid of a block for each of `pieces`, as far as it can be that long: blocks take several then.
unsigned grid(int64_t pieces) {
  return static_cast<unsigned>(pieces < INT32_MAX ? pieces : INT32_MAX);
}

template <bool scatter>
int move(int32_t device, const ds_ops_random_ltd_tokens* call, int32_t* status, void* stream) {
  int code = ds_ops::check(call, scatter, status);
  if (code != DS_OPS_OK || call->batch == 0 || call->kept == 0 || call->channels == 0) {
    return code;
  }
  const void* all = call->tokens == 0 ? nullptr : call->all;
  code = ds_ops::find_device({all, call->part, call->indices, status}, device);
  if (code != DS_OPS_OK) {
    return code;
  }
  DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  return ds_ops::with_unit(ds_ops::unit_size(*call), [&](auto unit) {
    using Unit = decltype(unit);
    const ds_ops::Move<Unit> arguments =
        ds_ops::make_move<scatter, Unit>(*call, move_threads, status);
    constexpr int64_t tile = int64_t{move_threads} * ds_ops::units_in_flight;
    const int64_t tiles = ds_ops::divide_up(arguments.size, tile);
    move_kernel<scatter>
        <<<grid(tiles), move_threads, 0, static_cast<cudaStream_t>(stream)>>>(arguments);
    return ds_ops::cuda_code(cudaGetLastError());
  });
}

}  // namespace

int ds_ops_random_ltd_sort(int32_t device, int32_t* indices, int64_t rows, int64_t kept,
                           int64_t tokens, int32_t* status, void* stream) {
  int code = ds_ops::check_sort(indices, rows, kept, tokens, status);
  if (code != DS_OPS_OK || rows == 0 || kept == 0) {
    return code;
  }
  code = ds_ops::find_device({indices, status}, device);
  if (code != DS_OPS_OK) {
    return code;
  }
  DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  sort_kernel<<<grid(rows), sort_threads, 0, static_cast<cudaStream_t>(stream)>>>(
      indices, rows, kept, tokens, status);
  return ds_ops::cuda_code(cudaGetLastError());
}

int ds_ops_random_ltd_gather(int32_t device, const ds_ops_random_ltd_tokens* tokens,
                             int32_t* status, void* stream) {
  return move<false>(device, tokens, status, stream);
}

int ds_ops_random_ltd_scatter(int32_t device, const ds_ops_random_ltd_tokens* tokens,
                              int32_t* status, void* stream) {
  return move<true>(device, tokens, status, stream);
}

int ds_ops_random_ltd_mask(int32_t device, const ds_ops_random_ltd_masks* mask, int32_t* status,
                           void* stream) {
  int code = ds_ops::check(mask, status);
  if (code != DS_OPS_OK || mask->layers == 0 || mask->batch == 0 || mask->kept == 0) {
    return code;
  }
  const void* from = mask->tokens == 0 ? nullptr : mask->mask;
  code = ds_ops::find_device({mask->out, from, mask->indices, status}, device);
  if (code != DS_OPS_OK) {
    return code;
  }
  DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  return ds_ops::with_unit(static_cast<int>(mask->element_size), [&](auto unit) {
    const unsigned blocks = grid(mask->layers * mask->batch * mask->kept);
    mask_kernel<decltype(unit)>
        <<<blocks, mask_threads, 0, static_cast<cudaStream_t>(stream)>>>(*mask, status);
    return ds_ops::cuda_code(cudaGetLastError());
  });
}
