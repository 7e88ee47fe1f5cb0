// SPDX-License-Identifier: Apache-2.0
//
// The host side of a step: checks the arguments, packs tensors and chunks into launches.
#include "checks.h"
#include "ds_ops/cuda_exports.h"
#include "ds_ops/multi_tensor_cuda.h"
#include "fused_adam.h"
#include "kernel.cuh"

namespace {

using ds_ops::AdamArguments;
using ds_ops::AdamLists;
using ds_ops::AdamPack;
using ds_ops::Decay;

template <class Element, class Real>
int launch(const AdamPack& pack, int64_t blocks, const AdamArguments<Real>& arguments,
           cudaStream_t stream) {
  constexpr int threads = ds_ops::threads_per_block;
  const unsigned grid = static_cast<unsigned>(blocks);
  switch (arguments.factors.mode) {
    case Decay::none:
      ds_ops::adam_kernel<Decay::none, Element><<<grid, threads, 0, stream>>>(pack, arguments);
      break;
    case Decay::l2:
      ds_ops::adam_kernel<Decay::l2, Element><<<grid, threads, 0, stream>>>(pack, arguments);
      break;
    case Decay::decoupled:
      ds_ops::adam_kernel<Decay::decoupled, Element><<<grid, threads, 0, stream>>>(pack, arguments);
      break;
  }
  return cuda_code(cudaGetLastError());
}

template <class Element, class Real>
int step_all(const AdamLists& lists, const AdamArguments<Real>& arguments, cudaStream_t stream) {
  return ds_ops::for_each_pack<AdamPack>(lists, arguments.chunk_size, 0,
                                         [&](const AdamPack& pack, int64_t blocks) {
                                           return launch<Element>(pack, blocks, arguments, stream);
                                         });
}

}  // namespace

int ds_ops_fused_adam_step(int32_t device, int64_t count, void* const* grads, void* const* params,
                           void* const* exp_avg, void* const* exp_avg_sq, const int64_t* sizes,
                           int32_t dtype, const ds_ops_adam_options* options,
                           const ds_ops_device_values* values, int32_t chunk_size, void* stream) {
  const ds_ops_device_values given = values == nullptr ? ds_ops_device_values{} : *values;
  const AdamLists lists{count, {grads, params, exp_avg, exp_avg_sq, given.steps}, sizes};
  int64_t chunk = 0;
  int code = ds_ops::check_adam_step(lists, dtype, options, given, chunk_size, chunk);
  if (code != DS_OPS_OK || count == 0) {
    return code;
  }
  code = ds_ops::find_device(lists, device);
  if (code != DS_OPS_OK || device == -1) {
    return code;
  }
  DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (dtype == DS_OPS_FLOAT64) {
    return step_all<double>(lists, ds_ops::make_arguments<double>(*options, given, chunk), queue);
  }
  const AdamArguments<float> arguments = ds_ops::make_arguments<float>(*options, given, chunk);
  switch (dtype) {
    case DS_OPS_FLOAT16:
      return step_all<ds_ops::Float16>(lists, arguments, queue);
    case DS_OPS_BFLOAT16:
      return step_all<ds_ops::BFloat16>(lists, arguments, queue);
    default:
      return step_all<float>(lists, arguments, queue);
  }
}
