// SPDX-License-Identifier: Apache-2.0
#include "launch.cuh"

int ds_ops_quantizer_fake(int32_t device, void* values, int32_t dtype,
                          const ds_ops_quantizer_options* options, double eps, void* workspace,
                          void* stream) {
  const ds_ops::FakeCall call{values, dtype, options, eps};
  const void* pointers[1];
  int code = call.check(workspace, pointers);
  code = code == DS_OPS_OK ? ds_ops::find_device(pointers, device) : code;
  if (code != DS_OPS_OK || ds_ops::element_count(*options) == 0) {
    return code;
  }
  ds_ops::DeviceGuard guard(device);
  if (guard.code() != DS_OPS_OK) {
    return guard.code();
  }
  const bool whole = options->group_size % ds_ops::gpu_width == 0 && ds_ops::is_aligned(values, 16);
  return ds_ops::with_element(dtype, [&](auto element) {
    return ds_ops::launch_call(call.source<decltype(element)>(), call.sink<decltype(element)>(),
                               call, whole, workspace, stream);
  });
}
