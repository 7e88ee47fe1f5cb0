// SPDX-License-Identifier: Apache-2.0
//
// The kernel. A launch takes its list of work by value in the kernel's arguments: no copy to the
// device, no memory to keep alive. Each block works on one chunk of one tensor.
#pragma once

#include "ds_ops/adam_math.h"
#include "ds_ops/scalar.h"

namespace ds_ops {

constexpr int threads_per_block = 512;
constexpr int elements_in_flight = 4;  ///< per thread, to hide the latency of memory
constexpr int pack_tensors = 36;
constexpr int pack_blocks = 320;

/// One launch: the tensors, and for each block which chunk of which of them is its work. The
/// numbers above fill the 4 KiB of arguments that every GPU takes.
struct Pack {
  void* grads[pack_tensors];
  void* params[pack_tensors];
  void* exp_avg[pack_tensors];
  void* exp_avg_sq[pack_tensors];
  int64_t sizes[pack_tensors];
  int32_t chunk_of_block[pack_blocks];
  uint8_t tensor_of_block[pack_blocks];
};

/// What all launches of a step share.
template <class Real>
struct StepArguments {
  AdamFactors<Real> factors;
  const float* inv_scale;
  const int32_t* noop_flag;
  int32_t chunk_size;
};

static_assert(sizeof(Pack) + sizeof(StepArguments<double>) <= 4096, "kernel arguments are 4 KiB");

template <Decay decay, class Element, class Real>
__global__ void __launch_bounds__(threads_per_block)
    adam_kernel(const __grid_constant__ Pack pack,
                const __grid_constant__ StepArguments<Real> arguments) {
  if (arguments.noop_flag != nullptr && *arguments.noop_flag != 0) {
    return;
  }
  const Real scale = arguments.inv_scale == nullptr ? Real(1) : Real(*arguments.inv_scale);
  const int tensor = pack.tensor_of_block[blockIdx.x];
  // 64 bits for where the chunk begins; inside it 32 bits are enough.
  const int64_t begin =
      static_cast<int64_t>(pack.chunk_of_block[blockIdx.x]) * arguments.chunk_size;
  const int64_t left = pack.sizes[tensor] - begin;
  const int n = left < arguments.chunk_size ? static_cast<int>(left) : arguments.chunk_size;
  const Element* __restrict__ grads = static_cast<const Element*>(pack.grads[tensor]) + begin;
  Element* __restrict__ params = static_cast<Element*>(pack.params[tensor]) + begin;
  Element* __restrict__ exp_avg = static_cast<Element*>(pack.exp_avg[tensor]) + begin;
  Element* __restrict__ exp_avg_sq = static_cast<Element*>(pack.exp_avg_sq[tensor]) + begin;

  // `first` is unsigned: with a chunk close to 2^31 the last increment passes INT_MAX.
  constexpr unsigned stride = threads_per_block * elements_in_flight;
  for (unsigned first = threadIdx.x; first < static_cast<unsigned>(n); first += stride) {
    Real g[elements_in_flight], p[elements_in_flight], m[elements_in_flight], v[elements_in_flight];
#pragma unroll
    for (int k = 0; k < elements_in_flight; ++k) {
      const unsigned i = first + k * threads_per_block;
      const bool inside = i < static_cast<unsigned>(n);
      g[k] = inside ? widen(grads[i]) : Real(0);
      p[k] = inside ? widen(params[i]) : Real(0);
      m[k] = inside ? widen(exp_avg[i]) : Real(0);
      v[k] = inside ? widen(exp_avg_sq[i]) : Real(0);
    }
#pragma unroll
    for (int k = 0; k < elements_in_flight; ++k) {
      adam_element<decay>(p[k], g[k] * scale, m[k], v[k], arguments.factors);
    }
#pragma unroll
    for (int k = 0; k < elements_in_flight; ++k) {
      const unsigned i = first + k * threads_per_block;
      if (i < static_cast<unsigned>(n)) {
        narrow(p[k], params[i]);
        narrow(m[k], exp_avg[i]);
        narrow(v[k], exp_avg_sq[i]);
      }
    }
  }
}

}  // namespace ds_ops
