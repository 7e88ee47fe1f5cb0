// SPDX-License-Identifier: Apache-2.0
//
// Runs the body of a kernel on the CPU: ds_ops/block.h says how it is written. A phase is a loop
// over the threads. They run in the order of a permutation that each phase turns round, so that a
// body in which one thread needs what another one of the same phase writes gives wrong results here
// too.
#pragma once

#include <array>
#include <vector>

#include "ds_ops/block.h"

namespace ds_ops {

/// A block of `Threads` threads, a power of two from 32 to 1024.
template <int Threads>
class CpuBlock {
 public:
  static constexpr int threads = Threads;
  static constexpr int warps = Threads / warp_size;

  CpuBlock(long long index, long long count) : index_(index), count_(count) {}

  template <class Value>
  class Each {
   public:
    Each() : values_(Threads) {}
    Value& operator[](int thread) { return values_[static_cast<std::size_t>(thread)]; }

   private:
    std::vector<Value> values_;
  };

  long long index() const { return index_; }
  long long count() const { return count_; }

  template <class Phase>
  void each(Phase phase) {
    backward_ = !backward_;
    for (int i = 0; i < Threads; ++i) {
      phase(backward_ ? Threads - 1 - i : i);
    }
  }
  template <class Phase>
  void each_alone(Phase phase) {
    each(phase);
  }

  /// As the GPU does it: a butterfly over each warp, then one over the warps' results.
  template <class Value, class Operation>
  Value reduce(Each<Value>& values, Operation operation) {
    std::array<Value, warps> of_warp;
    for (int warp = 0; warp < warps; ++warp) {
      std::array<Value, warp_size> lanes;
      for (int lane = 0; lane < warp_size; ++lane) {
        lanes[static_cast<std::size_t>(lane)] = values[warp * warp_size + lane];
      }
      of_warp[static_cast<std::size_t>(warp)] = butterfly(lanes, operation);
    }
    return butterfly(of_warp, operation);
  }

 private:
  template <class Lanes, class Operation>
  static auto butterfly(Lanes lanes, Operation operation) {
    for (std::size_t step = lanes.size() / 2; step > 0; step /= 2) {
      Lanes next = lanes;
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        next[lane] = operation(lanes[lane], lanes[lane ^ step]);
      }
      lanes = next;
    }
    return lanes[0];
  }

  long long index_;
  long long count_;
  bool backward_ = false;
};

/// Runs `kernel(block)` for a grid of `count` blocks.
template <int Threads, class Kernel>
void run_on_cpu(long long count, Kernel kernel) {
  for (long long i = 0; i < count; ++i) {
    CpuBlock<Threads> block(i, count);
    kernel(block);
  }
}

}  // namespace ds_ops
