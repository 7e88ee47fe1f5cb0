// SPDX-License-Identifier: Apache-2.0
#include "launch.cuh"

int ds_ops_quantizer_reduce(int32_t device, ds_ops_quantizer_shards shards,
                            const ds_ops_quantizer_options* options,
                            ds_ops_quantizer_feedback feedback, int32_t error_dtype, int8_t* codes,
                            float* params, void* workspace, void* stream) {
  const ds_ops::ReduceCall call{shards, options, feedback, error_dtype, codes, params};
  const void* pointers[5];
  int code = call.check(workspace, pointers);
  code = code == DS_OPS_OK ? ds_ops::find_device(pointers, device) : code;
  if (code != DS_OPS_OK) {
    return code;
  }
  ds_ops::DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  const bool whole = ds_ops::are_whole(options->group_size, codes, options->bits) &&
                     ds_ops::are_whole(shards.group_size, shards.codes, options->bits) &&
                     ds_ops::is_aligned(feedback.error, 16);
  return ds_ops::launch_call(call.source(), call.sink(), call, whole, workspace, stream);
}
