// SPDX-License-Identifier: Apache-2.0
//
// The host side of a step: checks the arguments, packs tensors and chunks into launches.
#include "ds_ops/check.h"
#include "ds_ops/cuda_exports.h"
#include "fused_adam.h"
#include "kernel.cuh"

namespace {

using ds_ops::cuda_code;
using ds_ops::Decay;
using ds_ops::DeviceGuard;
using ds_ops::Pack;
using ds_ops::StepArguments;

constexpr int32_t default_chunk_size = 65536;

/// The lists as the caller gave them.
struct Lists {
  int64_t count;
  void* const* grads;
  void* const* params;
  void* const* exp_avg;
  void* const* exp_avg_sq;
  const int64_t* sizes;
};

/// Checks sizes and pointers of one tensor; nothing of the device is asked.
int check_tensor(const Lists& lists, int64_t i, int64_t width, int32_t chunk_size) {
  const int64_t size = lists.sizes[i];
  // A chunk's number must fit the 32 bits that a pack holds for it.
  if (size < 0 || size > INT64_MAX / width || (size - 1) / chunk_size > INT32_MAX) {
    return DS_OPS_BAD_SIZE;
  }
  if (size == 0) {
    return DS_OPS_OK;
  }
  const void* pointers[] = {lists.grads[i], lists.params[i], lists.exp_avg[i], lists.exp_avg_sq[i]};
  for (const void* pointer : pointers) {
    int code = ds_ops::check_span({pointer, size, width, true});
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  return DS_OPS_OK;
}

int check_lists(const Lists& lists, int32_t dtype, int32_t chunk_size) {
  const int64_t width = ds_ops::element_size(dtype);
  if (width == 0) {
    return DS_OPS_BAD_DTYPE;
  }
  if (lists.count < 0) {
    return DS_OPS_BAD_SIZE;
  }
  if (lists.count > 0 &&
      (lists.grads == nullptr || lists.params == nullptr || lists.exp_avg == nullptr ||
       lists.exp_avg_sq == nullptr || lists.sizes == nullptr)) {
    return DS_OPS_NULL_POINTER;
  }
  for (int64_t i = 0; i < lists.count; ++i) {
    int code = check_tensor(lists, i, width, chunk_size);
    if (code != DS_OPS_OK) {
      return code;
    }
  }
  return DS_OPS_OK;
}

/// Finds the GPU that owns all pointers.
int find_device(const Lists& lists, int32_t& device) {
  device = -1;
  for (int64_t i = 0; i < lists.count; ++i) {
    if (lists.sizes[i] == 0) {
      continue;
    }
    const void* pointers[] = {lists.grads[i], lists.params[i], lists.exp_avg[i],
                              lists.exp_avg_sq[i]};
    for (const void* pointer : pointers) {
      int32_t owner = -1;
      int code = ds_ops_cuda_pointer_device(pointer, &owner);
      if (code != DS_OPS_OK) {
        return code;
      }
      if (device != -1 && owner != device) {
        return DS_OPS_WRONG_DEVICE;
      }
      device = owner;
    }
  }
  return DS_OPS_OK;
}

template <class Element, class Real>
int launch(const Pack& pack, int blocks, const StepArguments<Real>& arguments,
           cudaStream_t stream) {
  constexpr int threads = ds_ops::threads_per_block;
  switch (arguments.factors.mode) {
    case Decay::none:
      ds_ops::adam_kernel<Decay::none, Element><<<blocks, threads, 0, stream>>>(pack, arguments);
      break;
    case Decay::l2:
      ds_ops::adam_kernel<Decay::l2, Element><<<blocks, threads, 0, stream>>>(pack, arguments);
      break;
    case Decay::decoupled:
      ds_ops::adam_kernel<Decay::decoupled, Element>
          <<<blocks, threads, 0, stream>>>(pack, arguments);
      break;
  }
  return cuda_code(cudaGetLastError());
}

/// Fills packs in the order of the lists and launches each when it is full. A tensor that does not
/// fit goes on in the next pack.
template <class Element, class Real>
int step_all(const Lists& lists, const StepArguments<Real>& arguments, cudaStream_t stream) {
  Pack pack = {};
  int tensors = 0;
  int blocks = 0;
  for (int64_t i = 0; i < lists.count; ++i) {
    const int64_t size = lists.sizes[i];
    const int64_t chunks = size / arguments.chunk_size + (size % arguments.chunk_size != 0);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      if (blocks == ds_ops::pack_blocks || (chunk == 0 && tensors == ds_ops::pack_tensors)) {
        int code = launch<Element>(pack, blocks, arguments, stream);
        if (code != DS_OPS_OK) {
          return code;
        }
        tensors = 0;
        blocks = 0;
      }
      if (chunk == 0 || blocks == 0) {
        pack.grads[tensors] = lists.grads[i];
        pack.params[tensors] = lists.params[i];
        pack.exp_avg[tensors] = lists.exp_avg[i];
        pack.exp_avg_sq[tensors] = lists.exp_avg_sq[i];
        pack.sizes[tensors] = size;
        ++tensors;
      }
      pack.tensor_of_block[blocks] = static_cast<uint8_t>(tensors - 1);
      pack.chunk_of_block[blocks] = static_cast<int32_t>(chunk);
      ++blocks;
    }
  }
  return blocks == 0 ? DS_OPS_OK : launch<Element>(pack, blocks, arguments, stream);
}

}  // namespace

int ds_ops_fused_adam_step(int32_t device, int64_t count, void* const* grads, void* const* params,
                           void* const* exp_avg, void* const* exp_avg_sq, const int64_t* sizes,
                           int32_t dtype, const ds_ops_adam_options* options,
                           const float* inv_scale, const int32_t* noop_flag, int32_t chunk_size,
                           void* stream) {
  if (chunk_size < 0) {
    return DS_OPS_BAD_CHUNK_SIZE;
  }
  chunk_size = chunk_size == 0 ? default_chunk_size : chunk_size;
  int code = ds_ops::check_adam_options(options);
  const Lists lists{count, grads, params, exp_avg, exp_avg_sq, sizes};
  if (code == DS_OPS_OK) {
    code = check_lists(lists, dtype, chunk_size);
  }
  if (code != DS_OPS_OK || count == 0) {
    return code;
  }
  if (device == -1) {
    code = find_device(lists, device);
    if (code != DS_OPS_OK || device == -1) {
      return code;
    }
  }
  DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (dtype == DS_OPS_FLOAT64) {
    StepArguments<double> arguments{ds_ops::make_adam_factors<double>(*options), inv_scale,
                                    noop_flag, chunk_size};
    return step_all<double>(lists, arguments, queue);
  }
  StepArguments<float> arguments{ds_ops::make_adam_factors<float>(*options), inv_scale, noop_flag,
                                 chunk_size};
  switch (dtype) {
    case DS_OPS_FLOAT16:
      return step_all<ds_ops::Float16>(lists, arguments, queue);
    case DS_OPS_BFLOAT16:
      return step_all<ds_ops::BFloat16>(lists, arguments, queue);
    default:
      return step_all<float>(lists, arguments, queue);
  }
}
