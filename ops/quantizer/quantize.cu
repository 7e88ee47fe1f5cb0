// SPDX-License-Identifier: Apache-2.0
#include "ds_ops/cuda_exports.h"
#include "launch.cuh"

int64_t ds_ops_quantizer_workspace(int64_t groups, int64_t group_size) {
  // No group that a block holds in registers has more than one part.
  return groups > 0 && group_size > 0 && ds_ops::parts_of_group(groups, group_size) > 1
             ? 2 * 4 * groups
             : 0;
}

int ds_ops_quantizer_quantize(int32_t device, const void* values, int32_t dtype,
                              const ds_ops_quantizer_options* options,
                              ds_ops_quantizer_swizzle swizzle, ds_ops_quantizer_feedback feedback,
                              int8_t* codes, float* params, void* workspace, void* stream) {
  const ds_ops::QuantizeCall call{values, dtype, options, swizzle, feedback, codes, params};
  const void* pointers[4];
  int code = call.check(workspace, pointers);
  code = code == DS_OPS_OK ? ds_ops::find_device(pointers, device) : code;
  if (code != DS_OPS_OK) {
    return code;
  }
  DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  const bool whole = ds_ops::are_whole(options->group_size, codes, options->bits) &&
                     ds_ops::is_aligned(values, 16) && ds_ops::is_aligned(feedback.error, 16);
  return ds_ops::with_element(dtype, [&](auto element) {
    return ds_ops::launch_call(call.source<decltype(element)>(), call.sink(), call, whole,
                               workspace, stream);
  });
}
