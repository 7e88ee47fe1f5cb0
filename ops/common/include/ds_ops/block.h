// SPDX-License-Identifier: Apache-2.0
//
// How the body of a kernel is written, once, for the GPU and for the CPU that proves it.
//
// A body is a function template of a block of threads:
//
//   template <class Block>
//   DS_OPS_INLINE void sum_body(Block& block, const float* from, float* to) {
//     typename Block::template Each<float> part;            // one value of every thread
//     block.each([&](int thread) {                          // a phase: all threads, then a barrier
//       part[thread] = from[block.index() * Block::threads + thread];
//     });
//     float total = block.reduce(part, Add());              // the same value for all
//     block.each([&](int thread) { if (thread == 0) to[block.index()] = total; });
//   }
//
// Between phases the control flow is the same for all threads. On the GPU a thread runs the phases
// for itself with __syncthreads() between them; on the CPU a phase is a loop over the threads
// (tests/cpu_block.h). Memory that the threads share belongs to the kernel: it is an argument.
//
// reduce() is a butterfly over each warp of 32 and then one over the warps' results: an order that
// depends on nothing but the number of threads, so sums have the same bits in every run, and on the
// CPU.
#pragma once

#include "ds_ops/inline.h"

namespace ds_ops {

constexpr int warp_size = 32;

struct Add {
  template <class Real>
  DS_OPS_INLINE Real operator()(Real a, Real b) const {
    return a + b;
  }
};
/// The larger one; a NaN wins.
struct Largest {
  DS_OPS_INLINE float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};
/// The smaller one; a NaN wins.
struct Smallest {
  DS_OPS_INLINE float operator()(float a, float b) const { return a < b || a != a ? a : b; }
};

#ifdef __CUDACC__

/// The block of the thread that runs. `Threads` is a power of two from 32 to 1024.
template <int Threads>
class GpuBlock {
 public:
  static constexpr int threads = Threads;
  static constexpr int warps = Threads / warp_size;

  template <class Value>
  class Each {
   public:
    __device__ __forceinline__ Value& operator[](int) { return value_; }

   private:
    Value value_;
  };

  __device__ __forceinline__ long long index() const { return blockIdx.x; }
  __device__ __forceinline__ long long count() const { return gridDim.x; }

  template <class Phase>
  __device__ __forceinline__ void each(Phase phase) {
    phase(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
  /// A phase whose writes no other thread of the block reads.
  template <class Phase>
  __device__ __forceinline__ void each_alone(Phase phase) {
    phase(static_cast<int>(threadIdx.x));
  }

  template <class Value, class Operation>
  __device__ __forceinline__ Value reduce(Each<Value>& values, Operation operation) {
    __shared__ Value of_warp[warps];
    Value value = butterfly<warp_size>(values[0], operation);
    if (warps > 1) {
      if (threadIdx.x % warp_size == 0) {
        of_warp[threadIdx.x / warp_size] = value;
      }
      __syncthreads();
      value = butterfly<warps>(of_warp[threadIdx.x % warps], operation);
      __syncthreads();
    }
    return value;
  }

 private:
  template <int Width, class Value, class Operation>
  static __device__ __forceinline__ Value butterfly(Value value, Operation operation) {
#pragma unroll
    for (int step = Width / 2; step > 0; step /= 2) {
      value = operation(value, __shfl_xor_sync(0xffffffffu, value, step));
    }
    return value;
  }
};

#endif  // __CUDACC__

}  // namespace ds_ops
