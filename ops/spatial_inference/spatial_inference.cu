// SPDX-License-Identifier: Apache-2.0
//
// The kernel and its launch.
#include "body.h"
#include "ds_ops/cuda_exports.h"
#include "ds_ops/find_device.h"
#include "spatial_inference.h"

namespace {

using ds_ops::Access;
using ds_ops::Addition;
using ds_ops::BiasAdd;

constexpr int threads_per_block = 256;

template <Addition addition, Access access, class Element>
__global__ void __launch_bounds__(threads_per_block)
    bias_add_kernel(const __grid_constant__ BiasAdd<Element> arguments) {
  ds_ops::GpuBlock<threads_per_block> block;
  ds_ops::bias_add_body<addition, access>(block, arguments);
}

template <Addition addition, Access access, class Element>
int launch(const BiasAdd<Element>& arguments, cudaStream_t stream) {
  const int64_t blocks = ds_ops::block_count<Element, access, threads_per_block>(arguments.size);
  bias_add_kernel<addition, access>
      <<<static_cast<unsigned>(blocks), threads_per_block, 0, stream>>>(arguments);
  return ds_ops::cuda_code(cudaGetLastError());
}

template <Addition addition, class Element>
int launch(const BiasAdd<Element>& arguments, cudaStream_t stream) {
  switch (ds_ops::access_of(arguments)) {
    case Access::vectors:
      return launch<addition, Access::vectors>(arguments, stream);
    case Access::vectors_of_map:
      return launch<addition, Access::vectors_of_map>(arguments, stream);
    default:
      return launch<addition, Access::elements>(arguments, stream);
  }
}

}  // namespace

int ds_ops_spatial_inference_bias_add(int32_t device, void* out, const void* activation,
                                      const void* bias, const void* other, const void* other_bias,
                                      int64_t rows, int64_t channels, int32_t dtype, void* stream) {
  const ds_ops::BiasAddCall call{out, activation, bias, other, other_bias, rows, channels, dtype};
  int code = ds_ops::check(call);
  if (code != DS_OPS_OK || rows == 0 || channels == 0) {
    return code;
  }
  code = ds_ops::find_device({out, activation, bias, other, other_bias}, device);
  if (code != DS_OPS_OK) {
    return code;
  }
  DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  return ds_ops::with_types(call, [stream](const auto& arguments, auto addition) {
    return launch<decltype(addition)::value>(arguments, static_cast<cudaStream_t>(stream));
  });
}
