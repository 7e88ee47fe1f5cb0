// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "body.h"

namespace ds_ops {

constexpr int threads_per_block = 512;
constexpr int pack_tensors =
    pack_capacity(argument_bytes, adam_columns, sizeof(AdamArguments<double>));

using AdamPack = TensorPack<adam_columns, pack_tensors>;

static_assert(sizeof(AdamPack) + sizeof(AdamArguments<double>) <= argument_bytes,
              "the arguments of a kernel");

template <Decay decay, class Element, class Real>
__global__ void __launch_bounds__(threads_per_block)
    adam_kernel(const __grid_constant__ AdamPack pack,
                const __grid_constant__ AdamArguments<Real> arguments) {
  __shared__ AdamFactors<Real> shared;
  GpuBlock<threads_per_block> block;
  adam_body<decay, Element>(block, pack, arguments, shared);
}

}  // namespace ds_ops
