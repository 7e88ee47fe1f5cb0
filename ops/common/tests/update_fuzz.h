// SPDX-License-Identifier: Apache-2.0
//
// Random calls of an optimizer at its C border: buffers of the exact size on the heap, so that the
// address sanitizer sees each byte too many, and now and then one thing that is wrong. The outcome
// must be the code of what is wrong with nothing written, or the right result.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "ds_ops/scalar.h"

namespace ds_ops {

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(engine_); }
  double real(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine_);
  }

 private:
  std::mt19937 engine_;
};

/// Elements of one type in memory of their exact size.
class FuzzArray {
 public:
  FuzzArray(std::int32_t dtype, std::int64_t size, double low, double high, Random& random)
      : dtype_(dtype),
        bytes_(static_cast<std::size_t>(size * element_size(dtype))),
        memory_(std::malloc(bytes_ == 0 ? 1 : bytes_), std::free) {
    for (std::int64_t i = 0; i < size; ++i) {
      set(i, static_cast<float>(random.real(low, high)));
    }
  }

  void* pointer() const { return memory_.get(); }
  std::int32_t dtype() const { return dtype_; }

  double get(std::int64_t i) const {
    if (dtype_ == DS_OPS_FLOAT32) {
      return static_cast<const float*>(pointer())[i];
    }
    const std::uint16_t bits = static_cast<const std::uint16_t*>(pointer())[i];
    return dtype_ == DS_OPS_FLOAT16 ? widen(Float16{bits}) : widen(BFloat16{bits});
  }

  std::vector<char> bytes() const {
    const char* begin = static_cast<const char*>(pointer());
    return {begin, begin + bytes_};
  }

  /// Whether element `i` is what `value` may become by float32 arithmetic, some 16 roundings of the
  /// terms (which are as large as `terms`), and one rounding to the type.
  bool is_close(std::int64_t i, double value, double terms) const {
    const double unit = dtype_ == DS_OPS_FLOAT32   ? 0x1p-24
                        : dtype_ == DS_OPS_FLOAT16 ? 0x1p-11
                                                   : 0x1p-8;
    const double subnormal = dtype_ == DS_OPS_FLOAT16 ? 0x1p-25 : 0x1p-134;
    return std::abs(get(i) - value) <=
           16 * 0x1p-24 * terms + 1.01 * unit * std::abs(value) + subnormal;
  }

 private:
  void set(std::int64_t i, float value) {
    if (dtype_ == DS_OPS_FLOAT32) {
      static_cast<float*>(pointer())[i] = value;
      return;
    }
    Float16 half{};
    BFloat16 brain{};
    narrow(value, half);
    narrow(value, brain);
    static_cast<std::uint16_t*>(pointer())[i] = dtype_ == DS_OPS_FLOAT16 ? half.bits : brain.bits;
  }

  std::int32_t dtype_;
  std::size_t bytes_;
  std::unique_ptr<void, void (*)(void*)> memory_;
};

/// The arrays of one parameter: parameter, gradient, `states`, and perhaps a copy.
struct FuzzTensor {
  FuzzTensor(int states, Random& random) {
    constexpr std::int64_t sizes[] = {0, 1, 7, 33, 1024, 1025, 3000, 40000};
    size = sizes[random.below(random.below(8) == 0 ? 8 : 7)];
    const std::int32_t param = random.below(3);
    const std::int32_t state = random.below(2) == 0 ? param : DS_OPS_FLOAT32;
    arrays.emplace_back(param, size, -2, 2, random);
    arrays.emplace_back(random.below(3), size, -1, 1, random);
    for (int i = 0; i < states; ++i) {
      // The last is a sum of squares.
      arrays.emplace_back(state, size, i + 1 == states ? 1e-3 : -0.1, 0.1, random);
    }
    has_copy = random.below(2) == 0;
    arrays.emplace_back(random.below(3), size, 5, 6, random);
  }

  /// Of every array but the copy, which no step reads.
  std::vector<std::vector<double>> values() const {
    std::vector<std::vector<double>> all(arrays.size() - 1);
    for (std::size_t k = 0; k < all.size(); ++k) {
      for (std::int64_t i = 0; i < size; ++i) {
        all[k].push_back(arrays[k].get(i));
      }
    }
    return all;
  }

  std::vector<std::vector<char>> bytes() const {
    std::vector<std::vector<char>> all;
    for (const FuzzArray& array : arrays) {
      all.push_back(array.bytes());
    }
    return all;
  }

  std::int64_t size = 0;
  std::vector<FuzzArray> arrays;  ///< the copy is the last
  bool has_copy = false;
};

/// Puts one thing that is wrong into `tensor` (any optimizer's struct); `other` is another one of
/// the call. The code that must come of it; DS_OPS_OK: nothing
/// is wrong, as the tensor is empty.
template <class Tensor>
int spoil(Tensor& tensor, const Tensor& other, Random& random) {
  const bool empty = tensor.size == 0;
  switch (random.below(9)) {
    case 0:
      tensor.size = -1 - random.below(1000);
      return DS_OPS_BAD_SIZE;
    case 1:
      tensor.size = INT64_MAX - random.below(1000);
      return DS_OPS_BAD_SIZE;
    case 2:
      tensor.param_dtype = random.below(2) == 0 ? 3 + random.below(100) : -1 - random.below(100);
      return DS_OPS_BAD_DTYPE;
    case 3:
      tensor.grad_dtype = 3 + random.below(100);
      return DS_OPS_BAD_DTYPE;
    case 4:
      tensor.state_dtype = tensor.param_dtype == DS_OPS_FLOAT16 ? DS_OPS_BFLOAT16 : DS_OPS_FLOAT16;
      return DS_OPS_BAD_DTYPE_PAIR;
    case 5:
      tensor.params = nullptr;
      return empty ? DS_OPS_OK : DS_OPS_NULL_POINTER;
    case 6:
      tensor.grads = static_cast<const char*>(tensor.grads) + 1;
      return empty ? DS_OPS_OK : DS_OPS_MISALIGNED;
    case 7:
      tensor.exp_avg_sq = tensor.params;
      return empty ? DS_OPS_OK : DS_OPS_OVERLAP;
    default:
      tensor.param_copy = other.size == 0 ? tensor.params : other.params;
      tensor.copy_dtype = tensor.param_dtype;
      return empty ? DS_OPS_OK : DS_OPS_OVERLAP;
  }
}

/// A call of an optimizer: some tensors, as they are and as its struct `Tensor` describes them.
template <class Tensor>
struct FuzzCall {
  /// `describe` makes a Tensor of a FuzzTensor.
  template <class Describe>
  FuzzCall(int states, std::int32_t best_level, Random& random, Describe describe) {
    const int count = random.below(20) == 0 ? 20 : 2 + random.below(3);
    for (int i = 0; i < count; ++i) {
      tensors.emplace_back(states, random);
      described.push_back(describe(tensors.back()));
    }
    level = random.below(best_level + 1);
    threads = random.below(4);
  }

  std::int64_t count() const { return static_cast<std::int64_t>(described.size()); }

  /// Puts one thing that is wrong into the level, the threads or a tensor; the code that must come
  /// of it.
  int spoil(Random& random) {
    const std::size_t at = static_cast<std::size_t>(random.below(static_cast<int>(tensors.size())));
    switch (random.below(5)) {
      case 0:
        level = random.below(2) == 0 ? 4 + random.below(99) : -1 - random.below(99);
        return DS_OPS_BAD_CPU_LEVEL;
      case 1:
        threads = -1 - random.below(99);
        return DS_OPS_BAD_THREADS;
      default:
        return ds_ops::spoil(described[at], described[at == 0 ? 1 : at - 1], random);
    }
  }

  std::vector<FuzzTensor> tensors;
  std::vector<Tensor> described;
  std::int32_t level = 0;
  std::int32_t threads = 0;
};

/// Steps of random calls are what is_right(now, was, options) says. A Call has run().
template <class Call, class IsRight>
void check_right_calls(IsRight is_right) {
  Random random(1);
  for (int round = 0; round < 150; ++round) {
    Call call(random);
    std::vector<std::vector<std::vector<double>>> before;
    for (const FuzzTensor& tensor : call.tensors) {
      before.push_back(tensor.values());
    }
    CHECK(call.run() == DS_OPS_OK);
    for (std::size_t i = 0; i < call.tensors.size(); ++i) {
      CHECK(is_right(call.tensors[i], before[i], call.options));
    }
  }
}

/// Random wrong calls give their code, and nothing is written. `run` carries a call out.
template <class Call, class Run>
void check_wrong_calls(Run run) {
  Random random(2);
  for (int round = 0; round < 600; ++round) {
    Call call(random);
    const int expected = call.spoil_one(random);
    std::vector<std::vector<std::vector<char>>> before;
    for (const FuzzTensor& tensor : call.tensors) {
      before.push_back(tensor.bytes());
    }
    CAPTURE(round);
    CHECK(run(call, random) == expected);
    for (std::size_t i = 0; expected != DS_OPS_OK && i < call.tensors.size(); ++i) {
      CHECK(call.tensors[i].bytes() == before[i]);
    }
  }
}

}  // namespace ds_ops
