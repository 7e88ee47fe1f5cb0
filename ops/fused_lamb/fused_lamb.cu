// SPDX-License-Identifier: Apache-2.0
//
// The host side of a step: checks the arguments, packs tensors and chunks into launches, two for
// each pack.
#include "checks.h"
#include "ds_ops/cuda_exports.h"
#include "ds_ops/multi_tensor_cuda.h"
#include "fused_lamb.h"
#include "kernels.cuh"

namespace {

using ds_ops::BFloat16;
using ds_ops::Float16;
using ds_ops::LambArguments;
using ds_ops::LambLists;
using ds_ops::LambPack;

template <class Real>
using Kernel = void (*)(LambPack, LambArguments<Real>);

/// The kernels of a step.
template <class Real>
struct Kernels {
  Kernel<Real> moments;
  Kernel<Real> apply;
};

template <class Element, class Real>
Kernels<Real> plain_kernels() {
  return {ds_ops::lamb_moments_kernel<Element, Element, Real>,
          ds_ops::lamb_apply_kernel<false, Element, Float16, Real>};
}

/// The element types have been checked.
Kernels<float> float_kernels(const ds_ops_lamb_arrays& arrays) {
  if (arrays.dtype == DS_OPS_FLOAT16) {
    return plain_kernels<Float16, float>();
  }
  if (arrays.dtype == DS_OPS_BFLOAT16) {
    return plain_kernels<BFloat16, float>();
  }
  Kernels<float> kernels = plain_kernels<float, float>();
  if (arrays.grad_dtype == DS_OPS_FLOAT16) {
    kernels.moments = ds_ops::lamb_moments_kernel<float, Float16, float>;
  } else if (arrays.grad_dtype == DS_OPS_BFLOAT16) {
    kernels.moments = ds_ops::lamb_moments_kernel<float, BFloat16, float>;
  }
  if (arrays.params_copy != nullptr) {
    kernels.apply = arrays.copy_dtype == DS_OPS_FLOAT16
                        ? ds_ops::lamb_apply_kernel<true, float, Float16, float>
                        : ds_ops::lamb_apply_kernel<true, float, BFloat16, float>;
  }
  return kernels;
}

template <class Real>
int step_all(const Kernels<Real>& kernels, const LambLists& lists,
             const LambArguments<Real>& arguments, cudaStream_t stream) {
  const auto launch = [&](const LambPack& pack, int64_t blocks) {
    const unsigned grid = static_cast<unsigned>(blocks);
    kernels.moments<<<grid, ds_ops::threads_per_block, 0, stream>>>(pack, arguments);
    int code = cuda_code(cudaGetLastError());
    if (code == DS_OPS_OK) {
      kernels.apply<<<grid, ds_ops::threads_per_block, 0, stream>>>(pack, arguments);
      code = cuda_code(cudaGetLastError());
    }
    return code;
  };
  // A tensor without elements has one chunk, so that it has a trust ratio.
  return ds_ops::for_each_pack<LambPack>(lists, arguments.chunk_size, 1, launch);
}

}  // namespace

int ds_ops_fused_lamb_workspace(int64_t count, const int64_t* sizes, int32_t dtype,
                                int32_t chunk_size, int64_t* bytes) {
  return ds_ops::lamb_workspace_size(count, sizes, dtype, chunk_size, bytes);
}

int ds_ops_fused_lamb_step(int32_t device, const ds_ops_lamb_arrays* arrays,
                           const ds_ops_lamb_options* options, const ds_ops_device_values* values,
                           int32_t chunk_size, void* stream) {
  const ds_ops_device_values given = values == nullptr ? ds_ops_device_values{} : *values;
  int64_t chunk = 0;
  int code = ds_ops::check_lamb_step(arrays, options, given, chunk_size, chunk);
  if (code != DS_OPS_OK || arrays->count == 0) {
    return code;
  }
  const LambLists lists = ds_ops::lamb_lists(*arrays, given);
  code = ds_ops::find_device(lists, device);
  if (code != DS_OPS_OK || device == -1) {
    return code;
  }
  DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  return arrays->dtype == DS_OPS_FLOAT64
             ? step_all(plain_kernels<double, double>(), lists,
                        ds_ops::make_arguments<double>(*arrays, *options, given, chunk), queue)
             : step_all(float_kernels(*arrays), lists,
                        ds_ops::make_arguments<float>(*arrays, *options, given, chunk), queue);
}
