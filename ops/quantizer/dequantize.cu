// SPDX-License-Identifier: Apache-2.0
#include "dequantize.h"
#include "launch.cuh"

namespace {

using ds_ops::Options;

constexpr int threads = 256;

template <int Width, bool whole, class Work>
__global__ void __launch_bounds__(threads) dequantize_kernel(const __grid_constant__ Work work) {
  ds_ops::GpuBlock<threads> block;
  ds_ops::dequantize_body<Width, whole>(block, work);
}

template <int Width, bool whole, class Work>
int launch(const Work& work, void* stream) {
  const int64_t pieces = ds_ops::divide_up<int64_t>(work.group_size, Width);
  const unsigned blocks = ds_ops::grid_size((pieces * work.groups - 1) / threads + 1);
  dequantize_kernel<Width, whole><<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(work);
  return ds_ops::cuda_code(cudaGetLastError());
}

template <class Call>
int run(int32_t device, const Call& call, void* stream) {
  const void* pointers[4];
  int code = call.check(pointers);
  code = code == DS_OPS_OK ? ds_ops::find_device(pointers, device) : code;
  if (code != DS_OPS_OK || ds_ops::element_count(*call.options) == 0) {
    return code;
  }
  ds_ops::DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  const Options& options = *call.options;
  const auto can = [&](int width) {
    return ds_ops::are_whole(options.group_size, call.codes, options.bits, width) &&
           ds_ops::is_aligned(call.values, 16);
  };
  return ds_ops::with_element(call.dtype, [&](auto element) {
    const auto work = call.template work<decltype(element)>();
    return can(ds_ops::widest_on_gpu) ? launch<ds_ops::widest_on_gpu, true>(work, stream)
           : can(ds_ops::gpu_width)   ? launch<ds_ops::gpu_width, true>(work, stream)
                                      : launch<2, false>(work, stream);
  });
}

}  // namespace

int ds_ops_quantizer_dequantize(int32_t device, const int8_t* codes, const float* params,
                                const ds_ops_quantizer_options* options, void* values,
                                int32_t dtype, void* stream) {
  return run(device, ds_ops::DequantizeCall{codes, params, options, values, dtype}, stream);
}

int ds_ops_quantizer_dequantize_unsigned(int32_t device, const uint8_t* codes, const void* scales,
                                         const void* least, const ds_ops_quantizer_options* options,
                                         void* values, int32_t dtype, void* stream) {
  return run(device, ds_ops::UnsignedCall{codes, scales, least, options, values, dtype}, stream);
}
