// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "body.h"

namespace ds_ops {

constexpr int threads_per_block = 512;
constexpr int pack_tensors =
    pack_capacity(argument_bytes, lamb_columns, sizeof(LambArguments<double>));

using LambPack = TensorPack<lamb_columns, pack_tensors>;

static_assert(sizeof(LambPack) + sizeof(LambArguments<double>) <= argument_bytes,
              "the arguments of a kernel");

template <class Element, class Grad, class Real>
__global__ void __launch_bounds__(threads_per_block)
    lamb_moments_kernel(const __grid_constant__ LambPack pack,
                        const __grid_constant__ LambArguments<Real> arguments) {
  __shared__ LambFactors<Real> shared;
  GpuBlock<threads_per_block> block;
  lamb_moments_body<Element, Grad>(block, pack, arguments, shared);
}

template <bool copies, class Element, class Copy, class Real>
__global__ void __launch_bounds__(threads_per_block)
    lamb_apply_kernel(const __grid_constant__ LambPack pack,
                      const __grid_constant__ LambArguments<Real> arguments) {
  __shared__ LambFactors<Real> shared;
  GpuBlock<threads_per_block> block;
  lamb_apply_body<copies, Element, Copy>(block, pack, arguments, shared);
}

}  // namespace ds_ops
